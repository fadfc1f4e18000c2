/* after.c - see after.h. It decides what the asker hears and whether the message is kept; it sends
 * nothing, the worker's parent does that and acknowledges when all of it is confirmed. */
#include "task/after.h"

#include "base/clock.h"
#include "base/log.h"
#include "task/backoff.h"
#include "task/run.h"
#include "wire/embed.h"

#define RETRIES_DEFAULT 3
#define STEPS_TOLD (DONE_MESSAGES_MAX / 2) /* of a chain */

static struct outcome outcome_of(const struct ctask_call *t, const char *state)
{
    return (struct outcome){
        .state = state, .runtime = t->runtime, .redelivered = ctask_call_redelivered(t)};
}

bool after_result(struct buf *posted, const struct message *m, const struct outcome *o)
{
    if (!outcome_wanted(m)) return true;
    struct buf props = {0}, body = {0};
    bool ok = outcome_write(m, o, &props, &body) &&
              posted_append(posted, &(struct posted){.kind = POSTED_RESULT,
                                                     .routing_key = m->reply_to,
                                                     .props = buf_bytes(&props),
                                                     .body = buf_bytes(&body)});
    buf_done(&props);
    buf_done(&body);
    return ok;
}

/* Adds the message that will run the task again. */
static bool copy_add(struct buf *posted, const struct ctask_call *t)
{
    struct buf props = {0};
    struct copy c = {
        .retry = true,
        .again = ctask_call_redelivered(t),
        .eta = t->delay > 0 ? clock_wall() + t->delay : 0,
    };
    bool ok = message_copy(t->job->props, &c, &props) &&
              posted_append(posted, &(struct posted){.kind = POSTED_COPY,
                                                     .routing_key = t->job->queue,
                                                     .ensure = t->job->queue,
                                                     .props = buf_bytes(&props),
                                                     .delay = message_delay(t->delay)});
    buf_done(&props);
    return ok;
}

/* Turns a failure that its table entry has tried again into a retry. */
static void retry_by_itself(struct ctask_call *t)
{
    if (!backoff_wanted(t->task, t->fault.type)) return;
    t->because = t->fault;
    t->delay = backoff_wait(t->task, t->m.retries);
    call_end(t, CALL_RETRY);
}

/* Turns a retry that is one too many into the failure it is. */
static void retry_limit(struct ctask_call *t)
{
    int64_t max = t->task->max_retries ? t->task->max_retries : RETRIES_DEFAULT;
    if (max < 0 || t->m.retries < max) return;
    if (t->because.type[0])
        t->fault = t->because;
    else
        fault_set(&t->fault, "MaxRetriesExceededError",
                  "Can't retry %s[%s]: it has run again %" PRId64 " times", t->task->name, t->id,
                  t->m.retries);
    call_end(t, CALL_FAILED);
}

void after_tries(struct ctask_call *t)
{
    if (t->end == CALL_FAILED) retry_by_itself(t);
    if (t->end == CALL_RETRY) retry_limit(t);
}

void after_unfit(const struct ctask_call *t, struct fault *f)
{
    const char *why = json_unfit(t->value);
    fault_set(f, "EncodeError", "%s() returned a value that %s", t->task->name,
              why ? why : "is over 15 MiB");
}

/* A returned value that cannot travel is a failure, not silence. */
static bool value_add(struct buf *posted, struct ctask_call *t)
{
    struct outcome o = outcome_of(t, STATE_SUCCESS);
    o.result = t->value;
    if (after_result(posted, &t->m, &o)) return true;
    buf_clear(posted);
    after_unfit(t, &t->fault);
    call_end(t, CALL_FAILED);
    return false;
}

/* The later steps of its chain fail with it: no worker will ever answer for them. */
static bool fault_add(struct buf *posted, const struct ctask_call *t)
{
    struct outcome o = outcome_of(t, STATE_FAILURE);
    struct message step;
    o.fault = t->fault;
    bool ok = after_result(posted, &t->m, &o);
    for (size_t i = 0; ok && i < STEPS_TOLD && embed_step(t->body.embed, i, &step); i++)
        ok = after_result(posted, &step, &o);
    return ok;
}

static bool retry_add(struct buf *posted, const struct ctask_call *t)
{
    struct outcome o = outcome_of(t, STATE_RETRY);
    o.fault = t->because;
    return copy_add(posted, t) && after_result(posted, &t->m, &o);
}

/* Errbacks are not run yet, so a failure that has some is kept. */
static enum done_state failure_state(const struct ctask_call *t)
{
    if (t->end == CALL_REFUSED) return DONE_DEAD;
    if (!embed_after_failure(t->body.embed)) return DONE_FAILURE;
    log_warn("task %s[%s] failed and is kept: its error callbacks are not run in this version",
             t->task->name, t->id);
    return DONE_DEAD;
}

bool after_call(struct ctask_call *t, struct buf *out)
{
    struct buf posted = {0};
    struct done d = {.state = DONE_SUCCESS, .runtime = t->runtime};
    bool ok = true;
    after_tries(t);
    if (t->end == CALL_RETRY) {
        d.state = DONE_RETRY;
        d.fault = t->because;
        ok = retry_add(&posted, t);
    } else if (t->end != CALL_RETURNED || !value_add(&posted, t)) {
        d.state = failure_state(t);
        d.fault = t->fault;
        ok = fault_add(&posted, t);
    }
    d.posted = buf_bytes(&posted);
    d.cost = clock_seconds(clock_now() - t->begun);
    ok = ok && done_write(out, &d);
    buf_done(&posted);
    return ok;
}

/* Its asker is told as far as the head can be read; one that is unsound still names an asker. */
bool task_bury(const struct job *j, struct buf *out)
{
    struct message m = message_peek(j->props);
    struct buf posted = {0};
    struct done d = {.state = DONE_DEAD, .fault = j->fault};
    struct outcome o = {
        .state = j->state, .fault = j->fault, .redelivered = message_started(&m, j->redelivered)};
    bool ok = !j->state || after_result(&posted, &m, &o);
    if (j->state && strcmp(j->state, STATE_REVOKED) == 0) d.state = DONE_FAILURE;
    if (j->state && strcmp(j->state, STATE_RETRY) == 0) d.state = DONE_RETRY;
    d.posted = buf_bytes(&posted);
    ok = ok && done_write(out, &d);
    buf_done(&posted);
    return ok;
}
