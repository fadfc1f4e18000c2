/* registry.h - the tasks that this process can run, by name: one array in order of names, since it
 * is filled at start and only read from then on. `= {0}` is an empty one. */
#ifndef TASK_REGISTRY_H
#define TASK_REGISTRY_H

#include "base/bytes.h"

#include <ctask/task.h>

struct registered {
    const struct ctask_app *app;
    const struct ctask_task *task;
};

struct registry {
    struct registered *tasks; /* in order of names */
    size_t count;
};

/* Compares ABI number and struct sizes; `what` names the app in the sentence. CTASK_OK or
 * CTASK_EINVAL. Nothing else of an app is read before this. */
int app_check(const struct ctask_app *app, const char *what, struct ctask_error *e);

/* Adds all tasks of an app (borrowed) after app_check, or none: CTASK_EINVAL with a sentence on a
 * mismatch, a bad name or parameter list, or a name that is there already; CTASK_ENOMEM. */
int registry_add(struct registry *g, const struct ctask_app *app, struct ctask_error *e);
/* NULL if there is none. */
const struct ctask_task *registry_find(const struct registry *g, struct bytes name);
/* Calls f for every task, in order of names. */
void registry_each(const struct registry *g,
                   void (*f)(void *ctx, const struct ctask_app *app, const struct ctask_task *t),
                   void *ctx);
void registry_done(struct registry *g);

#endif
