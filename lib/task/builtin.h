/* builtin.h - the tasks that every worker knows: Celery's celery.starmap and celery.map, as a
 * producer in Python sends them. Private to this room but for task_of. */
#ifndef TASK_BUILTIN_H
#define TASK_BUILTIN_H

#include "task/registry.h"
#include "wire/starmap.h"

/* The task that runs m: of a message with items theirs. NULL if it is not known. */
const struct ctask_task *task_of(const struct registry *g, const struct message *m);

#endif
