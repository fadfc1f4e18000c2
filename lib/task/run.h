/* run.h - what happens in a child between a JOB frame and its DONE frame. */
#ifndef TASK_RUN_H
#define TASK_RUN_H

#include "base/line.h"
#include "task/registry.h"
#include "wire/child.h"

/* Decodes the job, runs its task and appends one whole DONE frame to *out: the result, and what
 * follows from it. What the task sends while it runs goes up `up` as PUBLISH frames. Total: bytes
 * that are no task end in DONE_DEAD. *task is the one that ran, or NULL. False only when out of
 * memory. */
bool task_run(const struct registry *g, struct line *up, const struct job *j, struct buf *out,
              const struct ctask_task **task);
/* The DONE frame of a BURY: the last result of a message that does not run. */
bool task_bury(const struct job *j, struct buf *out);
/* Tells the task that runs, and those that come, to end early (task_cancelled). For a signal
 * handler of the child; a cancelled process stays so. */
void task_cancel(void);

#endif
