/* relay.h - the default client of a pool child: what a running task sends goes up to its parent.
 * The one place where tasks meet the client. Private to this room. */
#ifndef TASK_RELAY_H
#define TASK_RELAY_H

#include "task/call.h"

/* Makes the process's default client the relay over t->line, with the ids of t for what it sends.
 * False when out of memory. */
bool relay_enter(const struct ctask_call *t);
/* All that the task has sent is on its way. */
void relay_leave(void);

#endif
