/* delay.c - tasks whose time has not come yet. A worker does not hold them: a message with an eta
 * of more than MESSAGE_DELAY_MIN seconds is moved into the broker's delay queues, a copy confirmed
 * before the delivery is acknowledged, and comes back to the queue that it was consumed from. Only
 * the last seconds are waited here; and all of it where the broker has no delay queues for it, as
 * before bounded by WAITING_MAX. */
#include "worker/worker.h"

void delay_bind(struct worker *w, const struct source *s)
{
    broker_delays(w->out, s->name, true);
}

/* Once, not for each task. */
static void held_tell(struct source *s, const char *why)
{
    if (!s->held_told)
        log_warn("queue %s: tasks that are to run later wait in this worker, since the broker "
                 "cannot delay them: %s",
                 s->name, why);
    s->held_told = true;
}

bool delay_ready(struct worker *w, struct source *s)
{
    const char *unfit = broker_undelayable(s->name);
    if (unfit) held_tell(s, unfit);
    return broker_delays(w->out, s->name, false);
}

void delay_until(struct worker *w, struct request *r, double seconds)
{
    uint32_t delay = message_delay(seconds);
    if (delay > 0 && delay_ready(w, r->source))
        finish_delay(w, r, delay);
    else
        request_wait(w, r, clock_in(seconds), THEN_RUN);
}

/* The delay queues are there now: what waits here for its time moves there. */
static void held_move(struct worker *w, const struct source *s)
{
    struct request *r;
    list_each(r, &w->requests[REQUEST_WAITING], struct request, link) {
        if (r->source != s || r->then != THEN_RUN) continue;
        uint32_t delay = message_delay(clock_seconds(r->due.at - w->now));
        if (delay > 0) finish_delay(w, r, delay);
    }
}

/* The queue is shared by all who delay. Its growth is logged, each time that it has doubled. */
static void undelivered_tell(struct worker *w, uint32_t messages)
{
    bool doubled = messages > 0 && messages / 2 >= w->undelivered;
    if (doubled)
        log_warn(
            "queue %s holds %u tasks that came due and found no queue: it had been deleted, or "
            "has a routing key that is not its name; look at them, and purge it or run them "
            "with a worker of queue %s (-Q)",
            QUEUE_UNDELIVERED, messages, QUEUE_UNDELIVERED);
    if (doubled || messages < w->undelivered) w->undelivered = messages;
}

void delay_seen(struct worker *w, const struct broker_event *ev)
{
    struct source *s = consumer_source(w, ev->queue);
    if (!s) return;
    if (ev->error.code != CTASK_OK) {
        held_tell(s, ev->error.text);
        return;
    }
    s->held_told = false;
    undelivered_tell(w, ev->messages);
    policy_look(w);
    held_move(w, s);
}

void delay_failed(struct worker *w, struct request *r, const struct ctask_error *why)
{
    held_tell(r->source, why->text);
    if (w->drain > DRAIN_RUN)
        request_give_back(w, r);
    else if (!r->task)
        unknown_hold(w, r);
    else
        request_wait(w, r, clock_in(message_peek(r->m->props).eta - clock_wall()), THEN_RUN);
}
