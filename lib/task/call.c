/* call.c - what a running task can ask and say: the functions of ctask/task.h. It only notes what
 * the task says; what follows from it is after.c's. The one thing that leaves at once is progress.
 */
#include "task/call.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/process.h"
#include "task/backoff.h"
#include "task/params.h"
#include "task/run.h"
#include "transport/uplink.h"
#include "wire/outcome.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t cancelled;

void task_cancel(void)
{
    cancelled = 1;
}

ctask_outcome call_end(struct ctask_call *t, enum call_end end)
{
    t->end = end;
    return (ctask_outcome){end};
}

int64_t call_run(struct ctask_call *t, int64_t start)
{
    pid_t self = process_id();
    ctask_outcome outcome = t->task->run(t);
    if (process_id() != self) _exit(0); /* forked by the task, which answers for itself */
    int64_t end = clock_now();
    t->runtime = clock_seconds(end - start);
    if (outcome.code == CALL_OPEN || outcome.code != (int)t->end) {
        fault_set(&t->fault, "SystemError",
                  "%s() did not end with task_return, task_fail or task_retry", t->task->name);
        call_end(t, CALL_FAILED);
    }
    return end;
}

void call_done(struct ctask_call *t)
{
    json_decref(t->value);
    t->value = NULL;
    message_body_done(&t->body);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

bool ctask_call_args(struct ctask_call *t, size_t n, const struct ctask_out *out)
{
    if (params_store(t->task->name, t->task->params, t->body.args, t->body.kwargs, n, out,
                     &t->fault))
        return true;
    call_end(t, CALL_REFUSED);
    return false;
}

const json_t *ctask_call_argv(const struct ctask_call *t)
{
    return t->body.args;
}

const json_t *ctask_call_kwargs(const struct ctask_call *t)
{
    return t->body.kwargs;
}

/* ---- Ends ------------------------------------------------------------------------------------ */

ctask_outcome ctask_call_return(struct ctask_call *t, struct ctask_arg value)
{
    const char *why = "out of memory";
    json_t *j = ctask_arg_to_json(value, &why);
    json_decref(t->value);
    t->value = j;
    if (!j) return ctask_call_fail(t, "EncodeError", "%s() returned %s", t->task->name, why);
    return call_end(t, CALL_RETURNED);
}

static CTASK_PRINTF(3, 0) void note(struct fault *f, const char *type, const char *fmt, va_list ap)
{
    char text[sizeof f->text];
    vsnprintf(text, sizeof text, fmt, ap);
    fault_set(f, type && *type ? type : "RuntimeError", "%s", text);
}

ctask_outcome ctask_call_fail(struct ctask_call *t, const char *type, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(&t->fault, type, fmt, ap);
    va_end(ap);
    return call_end(t, CALL_FAILED);
}

ctask_outcome ctask_failed(struct ctask_call *t)
{
    if (t->end == CALL_REFUSED) return call_end(t, CALL_REFUSED);
    return ctask_call_fail(t, "SystemError", "%s() calls ctask_failed after arguments that fitted",
                           t->task->name);
}

ctask_outcome ctask_call_retry(struct ctask_call *t, double seconds)
{
    if (!(seconds <= MESSAGE_DELAY_MAX))
        return ctask_call_fail(t, "ValueError", "%s() asks for a retry in %g s; %d is the most",
                               t->task->name, seconds, MESSAGE_DELAY_MAX);
    t->delay = seconds < 0 ? backoff_wait(t->task, t->m.retries) : seconds;
    return call_end(t, CALL_RETRY);
}

void ctask_call_because(struct ctask_call *t, const char *type, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(&t->because, type, fmt, ap);
    va_end(ap);
}

/* ---- On the way ------------------------------------------------------------------------------ */

static int progress_send(struct ctask_call *t, json_t *report, struct ctask_error *e)
{
    struct buf props = {0}, body = {0}, frame = {0};
    struct outcome o = {.state = STATE_PROGRESS, .result = report};
    int rc = CTASK_OK;
    struct posted p = {.kind = POSTED_RESULT, .routing_key = t->m.reply_to};
    if (!outcome_write(&t->m, &o, &props, &body)) {
        const char *why = json_unfit(report);
        rc = error_set(e, why ? CTASK_EINVAL : CTASK_ETOOBIG, "the progress %s",
                       why ? why : "is over 15 MiB");
        goto done;
    }
    p.props = buf_bytes(&props);
    p.body = buf_bytes(&body);
    if (!publish_write(&frame, &p))
        rc = error_set(e, CTASK_ENOMEM, "out of memory");
    else if (!uplink_send(t->line, &frame))
        rc = error_set(e, CTASK_ECONN, "the worker is gone");
done:
    buf_done(&props);
    buf_done(&body);
    buf_done(&frame);
    return rc;
}

int ctask_call_progress(struct ctask_call *t, struct ctask_arg value)
{
    const char *why = "out of memory";
    json_t *report = ctask_arg_to_json(value, &why);
    struct ctask_error e = {0};
    if (!report)
        error_set(&e, CTASK_EINVAL, "the progress cannot be sent: %s", why);
    else if (outcome_wanted(&t->m))
        progress_send(t, report, &e);
    json_decref(report);
    return e.code == CTASK_OK ? CTASK_OK : error_raise(&e);
}

bool ctask_call_cancelled(const struct ctask_call *t)
{
    (void)t;
    return cancelled;
}

/* ---- Who it is ------------------------------------------------------------------------------- */

const char *ctask_call_id(const struct ctask_call *t)
{
    return t->id;
}

const char *ctask_call_name(const struct ctask_call *t)
{
    return t->task->name;
}

int64_t ctask_call_retries(const struct ctask_call *t)
{
    return t->m.retries;
}

bool ctask_call_redelivered(const struct ctask_call *t)
{
    return message_started(&t->m, t->job->redelivered);
}
