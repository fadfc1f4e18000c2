/* run.c - one job from its bytes to the end of its function; see run.h. Whatever keeps a message
 * from running is found here, before its task is called. */
#include "task/run.h"

#include "base/clock.h"
#include "task/after.h"
#include "task/relay.h"
#include "wire/embed.h"
#include "wire/text.h"

#include <unistd.h>

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
static bool call_open(struct ctask_call *t, const struct registry *g)
{
    if (!message_read(t->job->props, &t->m, &t->fault)) return false;
    text_copy(t->id, sizeof t->id, t->m.id);
    text_copy(t->root_id, sizeof t->root_id, t->m.root_id.n ? t->m.root_id : t->m.id);
    t->task = registry_find(g, t->m.task);
    if (!t->task) return fault_set(&t->fault, "NotRegistered", "%.*s", BYTES_ARG(t->m.task));
    return message_body_read(t->job->body, &t->body, &t->fault) && embed_check(t, &t->fault);
}

static void call_run(struct ctask_call *t)
{
    pid_t self = getpid();
    int64_t start = clock_now();
    ctask_outcome outcome = t->task->run(t);
    if (getpid() != self) _exit(0); /* forked by the task, which answers for itself */
    t->runtime = clock_seconds(clock_now() - start);
    if (outcome.code == CALL_OPEN || outcome.code != (int)t->end) {
        fault_set(&t->fault, "SystemError",
                  "%s() did not end with task_return, task_fail or task_retry", t->task->name);
        call_end(t, CALL_FAILED);
    }
}

bool task_run(const struct registry *g, struct line *up, const struct job *j, struct buf *out)
{
    struct ctask_call t = {.job = j, .line = up, .begun = clock_now()};
    if (!call_open(&t, g)) {
        call_end(&t, CALL_REFUSED);
    } else if (relay_enter(&t)) {
        call_run(&t);
        relay_leave();
    } else {
        call_done(&t);
        return false;
    }
    bool ok = after_call(&t, out);
    call_done(&t);
    return ok;
}
