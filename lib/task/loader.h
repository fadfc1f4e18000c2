/* loader.h - apps by name or path, for the command line: nothing that comes from the broker gets
 * here. */
#ifndef TASK_LOADER_H
#define TASK_LOADER_H

#include <ctask/task.h>

/* Finds app `name`: in `linked` (NULL-terminated array, or NULL), else name.so or libname.so in
 * $CTASK_PATH (colon-separated) and in lib/ctask beside the running program (<dir of
 * /proc/self/exe>/../lib/ctask); a name with a slash is a path. The current directory is never
 * searched by itself. CTASK_OK, or a code with a sentence: CTASK_EINVAL says where it looked or why
 * the app does not fit (app_check), CTASK_ENOMEM. What is loaded stays until the process ends. */
int loader_find(const char *name, const struct ctask_app *const *linked,
                const struct ctask_app **out, struct ctask_error *e);

#endif
