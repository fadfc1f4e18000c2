/* registry.h - the tasks that this process can run, by name. */
#ifndef TASK_REGISTRY_H
#define TASK_REGISTRY_H

#include "base/map.h"

#include <ctask/task.h>

struct registry {
    struct map by_name;
    size_t count;
};

/* Adds all tasks of an app after comparing its ABI and sizes. CTASK_EINVAL with a sentence on a
 * mismatch, an empty or bad name, or a name that is there already. */
int registry_add(struct registry *g, const struct ctask_app *app, struct ctask_error *e);
const struct ctask_task *registry_find(const struct registry *g, struct bytes name);
/* Calls f for every task, in order of names. */
void registry_each(const struct registry *g,
                   void (*f)(void *ctx, const struct ctask_app *app, const struct ctask_task *t),
                   void *ctx);
void registry_done(struct registry *g);

/* loader.c: finds app `name`: in `linked` (NULL-terminated array), else name.so or libname.so in
 * $CTASK_PATH (colon-separated) and in lib/ctask beside the running program (<dir of
 * /proc/self/exe>/../lib/ctask); a name with a slash is a path. The current directory is never
 * searched by itself. CTASK_OK or CTASK_EINVAL with a sentence that says where it looked. */
int loader_find(const char *name, const struct ctask_app *const *linked,
                const struct ctask_app **out, struct ctask_error *e);

#endif
