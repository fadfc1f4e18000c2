/* strangers.h - processes that tasks left behind. A child inherits the orphans of its task's
 * processes, and the parent inherits those of a child that is gone: whoever is ours and was not
 * started by us is one of them, and is killed. What was there before the worker, as `helper & exec
 * ctask-worker` leaves it, is let live, and so is everything where the worker is process 1, to whom
 * all orphans of a container come. */
#ifndef WORKER_STRANGERS_H
#define WORKER_STRANGERS_H

#include <stdbool.h>

struct worker;

/* At the start, before any child. */
void strangers_init(void);
/* After a SIGCHLD: takes over the exits of strangers, kills those that live. True if there were any
 * of these: what they leave behind in turn is seen when they are gone. */
bool strangers_end(struct worker *w);

#endif
