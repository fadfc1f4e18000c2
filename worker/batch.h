/* batch.h - who runs first where there are more to run than processors. As SCHED_BATCH a process
 * that wakes up does not push aside what runs: on a machine with the broker, the broker, and by the
 * time that sleeps there is more to do at once. Children are always so, since tasks are batch work;
 * their parent is while it has many short tasks, and otherwise not, since a child waits for it. See
 * sched(7). A policy of another kind, that somebody has chosen, stays. */
#ifndef WORKER_BATCH_H
#define WORKER_BATCH_H

#include <stdbool.h>

/* False: as it was when first asked. */
void batch_set(bool batch);

#endif
