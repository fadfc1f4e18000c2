/* bare.h - the roles of the bare pair and what they can be told. */
#ifndef BARE_BARE_H
#define BARE_BARE_H

#include "sample.h"

struct options {
    const char *url, *queue, *from, *bytes;
    uint32_t prefetch, window;
    uint32_t unconfirmed; /* produce: so many tasks at most; the rest of the window waits here */
    uint32_t pause_us;    /* after each read while more than LOAD are under way */
    double seconds;       /* produce: how long is measured, after `warm` results */
    uint64_t warm, count; /* count > 0: so many tasks, all of it measured */
    double rate;          /* > 0: an open loop of so many a second */
    bool latency, no_results;
    /* The guarantees, one at a time. */
    bool transient_tasks, transient_results, no_confirms_tasks, no_confirms_results, early_ack,
        not_mandatory;
};

#define LOAD 32 /* in flight: with less nobody pauses */

void bare_produce(const struct options *o);
void bare_work(const struct options *o);
/* Writes down what ctask sent: the task that waits in o->from, and a worker's result for it. */
void bare_capture(const struct options *o);

int64_t clock_ns(void);
void pause_us(uint32_t us);

#endif
