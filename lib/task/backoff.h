/* backoff.h - when a task that may be tried again is: how long it waits, and whether its failures
 * ask for it by themselves. Private to this room. */
#ifndef TASK_BACKOFF_H
#define TASK_BACKOFF_H

#include <ctask/task.h>

/* Seconds until the next run, after so many retries: random between 0 and what has doubled with
 * each, so that tasks which failed together do not come back together. */
double backoff_wait(const struct ctask_task *t, int64_t retries);
/* True if a failure of this type is a retry (.autoretry). */
bool backoff_wanted(const struct ctask_task *t, const char *type);
/* NULL, or what is wrong with the table entry; static. */
const char *backoff_check(const struct ctask_task *t);

#endif
