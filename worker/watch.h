/* watch.h - children that get nowhere, found long before any limit.
 *
 * While a job runs for over a second its child is looked at once a second, all of them in one turn;
 * a worker that is idle or whose tasks are short never wakes for it. One that is stopped, or does
 * not read its job, is reported once, and once when it goes on. It keeps its job: it may be in a
 * debugger, and what it holds may have been done half. A child that was told to leave and does not
 * is killed. */
#ifndef WORKER_WATCH_H
#define WORKER_WATCH_H

#include <stdint.h>

struct worker;

void watch_turn(struct worker *w);
int64_t watch_next(const struct worker *w);

#endif
