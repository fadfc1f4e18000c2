/* registry.c - see registry.h. It refuses tables that could not work as their author meant them, so
 * that a mistake ends the start of a worker and not its first task. */
#include "task/registry.h"

#include "base/err.h"
#include "task/backoff.h"
#include "task/params.h"

#include <stdlib.h>

int app_check(const struct ctask_app *app, const char *what, struct ctask_error *e)
{
    if (app->abi != CTASK_ABI)
        return error_set(e, CTASK_EINVAL,
                         "%s was compiled for ctask ABI %" PRIu32 " and this worker has ABI %d: "
                         "compile it again with this version's headers",
                         what, app->abi, CTASK_ABI);
    if (app->app_size != sizeof(struct ctask_app) || app->task_size != sizeof(struct ctask_task))
        return error_set(e, CTASK_EINVAL,
                         "%s has tables of another layout than this worker (%" PRIu32
                         " and %" PRIu32
                         " bytes, not %zu and %zu): compile it again with this version's headers",
                         what, app->app_size, app->task_size, sizeof(struct ctask_app),
                         sizeof(struct ctask_task));
    return CTASK_OK;
}

static int compare_names(const char *a, struct bytes b)
{
    size_t n = strlen(a), least = n < b.n ? n : b.n;
    int order = least ? memcmp(a, b.p, least) : 0;
    if (order != 0) return order;
    return (n > b.n) - (n < b.n);
}

static int compare_registered(const void *a, const void *b)
{
    const struct registered *x = a, *y = b;
    return strcmp(x->task->name, y->task->name);
}

/* NULL, or what is wrong with it. UTF-8 is not looked at: a name that is none matches no message.
 */
static const char *name_fault(const char *name)
{
    if (!name || !*name) return "has no name";
    if (strlen(name) > 255) return "has a name of over 255 bytes";
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        if (*p <= ' ' || *p == 0x7f) return "has a name with a space or control character";
    return NULL;
}

/* Checks entry i of an app against those before it and those of other apps. */
static int task_check(const struct registry *g, const struct ctask_app *app, uint32_t i,
                      struct ctask_error *e)
{
    const struct ctask_task *t = &app->tasks[i];
    const char *why = name_fault(t->name);
    if (why)
        return error_set(e, CTASK_EINVAL, "entry %" PRIu32 " of app %s %s", i + 1, app->name, why);
    if (!t->run)
        return error_set(e, CTASK_EINVAL, "task %s of app %s has no function (.run)", t->name,
                         app->name);
    why = backoff_check(t);
    if (why) return error_set(e, CTASK_EINVAL, "task %s of app %s %s", t->name, app->name, why);
    why = params_check(t->params);
    if (why)
        return error_set(e, CTASK_EINVAL, "task %s of app %s has .params \"%s\": %s", t->name,
                         app->name, t->params, why);
    const struct ctask_app *other = NULL;
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(app->tasks[k].name, t->name) == 0) other = app;
    for (size_t k = 0; k < g->count; k++)
        if (strcmp(g->tasks[k].task->name, t->name) == 0) other = g->tasks[k].app;
    if (other)
        return error_set(e, CTASK_EINVAL, "task %s of app %s is there already, in app %s", t->name,
                         app->name, other->name);
    return CTASK_OK;
}

int registry_add(struct registry *g, const struct ctask_app *app, struct ctask_error *e)
{
    int rc = app_check(app, "an app", e);
    if (rc != CTASK_OK) return rc;
    if (!app->name || (app->count > 0 && !app->tasks))
        return error_set(e, CTASK_EINVAL, "an app has no name or no table: use CTASK_APP");
    for (uint32_t i = 0; i < app->count; i++) {
        rc = task_check(g, app, i, e);
        if (rc != CTASK_OK) return rc;
    }
    if (app->count == 0) return CTASK_OK;
    struct registered *tasks = realloc(g->tasks, (g->count + app->count) * sizeof *tasks);
    if (!tasks) return error_set(e, CTASK_ENOMEM, "out of memory");
    g->tasks = tasks;
    for (uint32_t i = 0; i < app->count; i++)
        tasks[g->count++] = (struct registered){app, &app->tasks[i]};
    qsort(tasks, g->count, sizeof *tasks, compare_registered);
    return CTASK_OK;
}

const struct ctask_task *registry_find(const struct registry *g, struct bytes name)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = compare_names(g->tasks[mid].task->name, name);
        if (order == 0) return g->tasks[mid].task;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

void registry_each(const struct registry *g,
                   void (*f)(void *ctx, const struct ctask_app *app, const struct ctask_task *t),
                   void *ctx)
{
    for (size_t i = 0; i < g->count; i++) f(ctx, g->tasks[i].app, g->tasks[i].task);
}

void registry_done(struct registry *g)
{
    free(g->tasks);
    *g = (struct registry){0};
}
