/* throttle.h - at most one log line a minute about one topic. Lines that are left out are counted,
 * so that the next one can say how many there were. */
#ifndef BASE_THROTTLE_H
#define BASE_THROTTLE_H

#include "base/list.h"

#include <stdint.h>

struct throttle {
    struct list topics; /* the one that was passed last is at the end */
    unsigned count;
};

void throttle_init(struct throttle *t);
void throttle_done(struct throttle *t);
/* True if a line about this topic may be written now. *left_out: how many were not since the last
 * one. Topics have a ceiling in number; those beyond share one. */
bool throttle_pass(struct throttle *t, const char *topic, int64_t now, unsigned *left_out);
/* ", and N others" for the end of that line, or nothing. Returns what is to be shown. */
#define THROTTLE_OTHERS 32
const char *throttle_others(unsigned left_out, char out[THROTTLE_OTHERS]);

#endif
