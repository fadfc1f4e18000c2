/* hygiene.h - what a task may not leave changed in its process, since the next task would find it
 * so: docs/hygiene.md has the list. A process that is not as it was is replaced, not mended; but
 * timers that a task left are stopped, since they could kill it before its result is out.
 *
 * What costs no system call (memstate.h) is looked at after each task. The rest (procstate.h) costs
 * 11 us, too much for each of many short tasks. It is looked at after the first runs of each task
 * in this process, after a task that ends 2 ms or more after the one before it, and else every
 * 10 ms. What seldom changes is looked at after the first runs, and else every 100 ms. */
#ifndef WORKER_HYGIENE_H
#define WORKER_HYGIENE_H

#include <stdbool.h>
#include <stddef.h>

struct ctask_task;

/* Before the first task. */
void hygiene_note(void);
/* After t (NULL: no task) has run. False if the process is not as it was before its first task: why
 * says what was changed, and by which of the last tasks. */
bool hygiene_is_kept(const struct ctask_task *t, char *why, size_t size);

#endif
