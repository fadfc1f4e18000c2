/* watch.h - children that get nowhere, found long before any limit.
 *
 * While a job runs for over a second its child is looked at once a second, all of them in one turn;
 * a worker that is idle or whose tasks are short never wakes for it. One that is stopped, or does
 * not read its job, is reported once, and once when it goes on. The child keeps a job that it has
 * begun: it may be in a debugger, and the job may be half done. Only a child whose main thread has
 * ended while other threads live is killed with its job, after two looks. A job that it has not
 * begun after some seconds goes to another child, and this one is killed, since it would hold up
 * the next job, too. A child that was told to leave and does not is killed as well.
 *
 * When for a second no child can take a job (none can be started, or they die at once, or all of
 * them get nowhere), this worker takes no more tasks, and those that have not started go back if
 * others consume their queue; it goes on trying, and consumes again when a child lives. */
#ifndef WORKER_WATCH_H
#define WORKER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct worker;

void watch_turn(struct worker *w);
int64_t watch_next(const struct worker *w);
/* True while no child can take a job. */
bool watch_is_barren(const struct worker *w);

#endif
