/* run.c - one job from its bytes to the end of its function; see run.h. Whatever keeps a message
 * from running is found here, before its task is called. */
#include "task/run.h"

#include "base/clock.h"
#include "task/after.h"
#include "task/builtin.h"
#include "task/chunk.h"
#include "task/relay.h"
#include "wire/embed.h"
#include "wire/text.h"

/* Canvas comes in a later version. What follows a task must not be lost, so the task is kept
 * before it has run. */
static bool embed_check(const struct ctask_call *t, struct fault *f)
{
    const char *what = embed_after_success(t->body.embed);
    if (!what) return true;
    return fault_set(f, "NotImplementedError",
                     "%s was sent with %s, which this version cannot continue: it was not run",
                     t->task->name, what);
}

/* From bytes to a task and its arguments. False with t->fault set. */
static bool call_open(struct ctask_call *t)
{
    if (!message_read(t->job->props, &t->m, &t->fault)) return false;
    text_copy(t->id, sizeof t->id, t->m.id);
    text_copy(t->root_id, sizeof t->root_id, t->m.root_id.n ? t->m.root_id : t->m.id);
    t->task = task_of(t->registry, &t->m);
    if (!t->task)
        return fault_set(&t->fault, "NotRegistered", "%.*s",
                         BYTES_ARG(starmap_itemized(&t->m) ? t->m.item_task : t->m.task));
    if (chunk_is_text(t)) return true;
    return message_body_read(t->job->body, &t->body, &t->fault) && embed_check(t, &t->fault);
}

bool task_run(const struct registry *g, struct line *up, const struct job *j, struct buf *out,
              const struct ctask_task **task)
{
    struct ctask_call t = {.registry = g, .job = j, .line = up, .begun = clock_now()};
    bool ok = true, chunk = false;
    if (!call_open(&t)) {
        call_end(&t, CALL_REFUSED);
    } else if (starmap_itemized(&t.m)) {
        chunk = chunk_run(&t, out, &ok);
    } else if ((ok = relay_enter(&t))) {
        call_run(&t, clock_now());
        relay_leave();
    }
    if (!chunk) ok = ok && after_call(&t, out);
    *task = t.task;
    call_done(&t);
    return ok;
}
