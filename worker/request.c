/* request.c - see request.h. Knows states, not what they are for. */
#include "worker/report.h"
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const state_names[REQUEST_STATES] = {
    [REQUEST_NEW] = "new",           [REQUEST_WAITING] = "waiting", [REQUEST_SKIPPED] = "skipped",
    [REQUEST_READY] = "ready",       [REQUEST_BURIAL] = "burial",   [REQUEST_RUNNING] = "running",
    [REQUEST_SETTLING] = "settling", [REQUEST_REFUSED] = "refused", [REQUEST_MOVING] = "moving",
};

struct request *request_new(struct worker *w, struct envelope *m, struct source *s)
{
    struct request *r = spares_take(&w->spares);
    if (!r) abort();
    *r = (struct request){0};
    list_init(&r->link);
    list_init(&r->turn);
    list_init(&r->refused);
    r->m = m;
    r->source = s;
    r->window = m->window;
    s->held++;
    s->answered = w->now;
    idle_delivered(w, s);
    struct window *window = window_find(s, r->window);
    if (window) window->taken++;
    r->arrived = r->since = w->now;
    memory_take(w, m);
    list_append(&w->requests[REQUEST_NEW], &r->link);
    w->count[REQUEST_NEW]++;
    return r;
}

/* In line for a child. What one had and did not begin is first. What the broker has handed out
 * before was first in its queue, so it goes before all that it has not, behind its own kind. */
static void line_up(struct worker *w, struct request *r, bool unbegun)
{
    struct list *ready = &w->requests[REQUEST_READY], *at = unbegun ? ready : ready->prev;
    if (!unbegun && r->m->redelivered)
        while (at != ready && !container_of(at, struct request, link)->m->redelivered)
            at = at->prev;
    list_prepend(at, &r->link);
}

/* Occupies no child and will not soon. */
static bool is_for_later(enum request_state state)
{
    return state == REQUEST_WAITING || state == REQUEST_SKIPPED || state == REQUEST_MOVING ||
           state == REQUEST_REFUSED;
}

static void later_count(const struct request *r, enum request_state to)
{
    if (is_for_later(to) == is_for_later(r->state)) return;
    struct window *window = window_find(r->source, r->window);
    if (window) window->later += is_for_later(to) ? 1 : -1u;
}

void request_move(struct worker *w, struct request *r, enum request_state to)
{
    bool unbegun = r->state == REQUEST_RUNNING;
    later_count(r, to);
    log_trace("task id=%.*s %s -> %s", BYTES_ARG(r->id), state_names[r->state], state_names[to]);
    heap_remove(&w->due, &r->due);
    list_remove(&r->link);
    w->count[r->state]--;
    r->state = to;
    r->since = w->now;
    if (to == REQUEST_READY)
        line_up(w, r, unbegun);
    else
        list_append(&w->requests[to], &r->link);
    w->count[to]++;
}

void request_wait(struct worker *w, struct request *r, int64_t at, enum request_then then)
{
    request_move(w, r, REQUEST_WAITING);
    r->then = then;
    r->due.at = at;
    if (!heap_add(&w->due, &r->due)) abort();
}

static void burial_free(struct burial *b)
{
    if (b) free(b->output);
    free(b);
}

/* Anybody can send any number of them. One that is kept as a dead letter has a line for that. */
static void tell_buried(struct worker *w, const struct request *r, const struct fault *why)
{
    unsigned more;
    char topic[300], rest[THROTTLE_OTHERS];
    snprintf(topic, sizeof topic, "%s %.*s", why->type, BYTES_ARG(report_name(r)));
    if (throttle_pass(&w->burials, topic, w->now, &more))
        log_warn(TASK_FMT " from %s does not run: %s: %s%s", TASK_ARG(r), r->m->queue, why->type,
                 why->text, throttle_others(more, rest));
}

void request_bury(struct worker *w, struct request *r, const char *state, const struct fault *why)
{
    tell_buried(w, r, why);
    burial_free(r->burial); /* of an unknown task that could not be passed on */
    r->burial = calloc(1, sizeof *r->burial);
    if (!r->burial) abort();
    r->burial->state = state;
    r->burial->fault = *why;
    request_move(w, r, REQUEST_BURIAL);
}

void request_leave_window(struct worker *w, struct request *r)
{
    struct window *window = window_find(r->source, r->window);
    if (window) window->taken--;
    if (window && is_for_later(r->state)) window->later--;
    if (r->window == 0) return;
    r->window = 0;
    r->source->held--;
    idle_room(w, r->source);
}

void request_drop(struct worker *w, struct request *r)
{
    heap_remove(&w->due, &r->due);
    list_remove(&r->link);
    w->count[r->state]--;
    request_leave_window(w, r);
    if (r->unconfirmed > 0) finish_forget(w, r);
    lease_drop(w, r);
    memory_leave(w, r->m);
    broker_recycle(w->in, r->m);
    burial_free(r->burial);
    spares_give(&w->spares, r);
}

void request_ack(struct worker *w, struct request *r)
{
    broker_ack(w->in, r->m->delivery);
    r->m->delivery.generation = 0; /* settling it again is a no-op */
}

bool request_is_acked(const struct request *r)
{
    return r->m->delivery.generation == 0;
}

bool request_is_orphan(const struct request *r)
{
    return (r->window == 0 && !request_is_acked(r)) || lease_is_over(r);
}

void request_give_back(struct worker *w, struct request *r)
{
    w->counters.given_back++;
    if (request_is_acked(r) && !lease_is_over(r)) {
        if (r->burial) r->burial->pass_on = false;
        finish_give_back(w, r);
        return;
    }
    broker_give_back(w->in, r->m->delivery);
    request_drop(w, r);
}

void request_settle(struct worker *w, struct request *r)
{
    if (!r->finished || r->unconfirmed > 0) return;
    if (r->burial && r->burial->pass_on && !request_is_orphan(r)) {
        if (w->drain > DRAIN_RUN) {
            request_give_back(w, r);
            return;
        }
        /* Its caller has been told. */
        r->burial->pass_on = false;
        r->finished = false;
        unknown_pass_on(w, r);
        return;
    }
    if (r->task && r->state == REQUEST_SETTLING)
        window_settled(w, clock_seconds(w->now - r->since));
    broker_ack(w->in, r->m->delivery);
    request_drop(w, r);
}

bool requests_none(const struct worker *w)
{
    for (int i = 0; i < REQUEST_STATES; i++)
        if (w->count[i] > 0) return false;
    return true;
}
