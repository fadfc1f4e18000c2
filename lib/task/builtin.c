/* builtin.c - see builtin.h. What they return is one result for all: a list of values, or the first
 * failure, behind which nothing runs any more. So it is in Celery, where the items are plain calls
 * within one task: a retry is a failure there, and has its reason. */
#include "task/builtin.h"

#include "base/clock.h"
#include "task/call.h"

/* Runs one call; its value goes to the list. False, with t told, if there is none. */
static bool item_run(struct ctask_call *t, struct ctask_call *item, json_t *args, json_t *values)
{
    item->end = CALL_OPEN;
    item->body.args = args;
    call_run(item, clock_now());
    if (item->end == CALL_RETURNED) {
        bool kept = json_array_append_new(values, item->value) == 0;
        item->value = NULL;
        if (!kept) fault_set(&t->fault, "MemoryError", "out of memory");
        return kept;
    }
    json_decref(item->value);
    item->value = NULL;
    if (item->end == CALL_RETRY && !item->because.type[0])
        fault_set(&item->because, "Retry", "%s() asks for a retry", item->task->name);
    t->fault = item->end == CALL_RETRY ? item->because : item->fault;
    return false;
}

static ctask_outcome items_run(struct ctask_call *t, const struct starmap *s, bool star)
{
    struct ctask_call item = {.registry = t->registry, .job = t->job, .line = t->line, .m = t->m};
    enum call_end end = CALL_RETURNED;
    json_t *values = json_array(), *args;
    item.task = registry_find(t->registry, s->task);
    item.m.reply_to = bytes_of(NULL, 0); /* no progress: the result is the list's */
    item.body.kwargs = json_object();
    memcpy(item.id, t->id, sizeof item.id);
    if (!item.task) {
        fault_set(&t->fault, "NotRegistered", "%.*s", BYTES_ARG(s->task));
        end = CALL_REFUSED;
    }
    for (size_t i = 0; end == CALL_RETURNED && i < json_array_size(s->items); i++) {
        json_t *one = json_array_get(s->items, i);
        if (star && !json_is_array(one)) {
            fault_set(&t->fault, "TypeError", "item %zu of %s is no list of arguments", i,
                      t->task->name);
            end = CALL_REFUSED;
            break;
        }
        args = star ? json_incref(one) : json_pack("[O]", one);
        if (!item_run(t, &item, args, values))
            end = item.end == CALL_REFUSED ? CALL_REFUSED : CALL_FAILED;
        json_decref(args);
    }
    json_decref(item.body.kwargs);
    t->value = values;
    return call_end(t, end);
}

static ctask_outcome map_run(struct ctask_call *t, bool star)
{
    struct starmap s;
    if (!starmap_read(&t->body, &s, &t->fault)) return call_end(t, CALL_REFUSED);
    return items_run(t, &s, star);
}

static ctask_outcome run_starmap(struct ctask_call *t)
{
    return map_run(t, true);
}

static ctask_outcome run_map(struct ctask_call *t)
{
    return map_run(t, false);
}

static const struct ctask_task builtins[] = {
    {.name = TASK_STARMAP, .run = run_starmap, .params = "task, it"},
    {.name = TASK_MAP, .run = run_map, .params = "task, it"},
};

const struct ctask_task *task_of(const struct registry *g, const struct message *m)
{
    if (starmap_itemized(m)) return registry_find(g, m->item_task);
    const struct ctask_task *t = registry_find(g, m->task);
    for (size_t i = 0; !t && i < sizeof builtins / sizeof builtins[0]; i++)
        if (bytes_is(m->task, builtins[i].name)) t = &builtins[i];
    return t;
}
