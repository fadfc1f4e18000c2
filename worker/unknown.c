/* unknown.c - tasks that no app of this worker has. A message of one goes back to its queue, for a
 * neighbour or the next version of this worker: ten rounds, after 1, 2, 4, 8, 16 and then 32 s
 * each. The message spends the delay in the broker's delay queues, so no number of them keeps other
 * tasks waiting. Its caller is told in the first round.
 *
 * Without delay queues HELD_MAX messages wait here for the end of their delay. The others go back
 * after a second, and their round does not count. */
#include "wire/starmap.h"
#include "worker/worker.h"

#include <stdio.h>

#define ROUNDS 10
#define DOUBLINGS 5 /* of the delay, which is a second in the first round */
#define HELD_MAX (WAITING_MAX / 10)
#define HELD_SHORT CLOCK_SECOND
#define OFFERS 160 /* bytes for the names of this worker's tasks */

struct offers {
    struct bytes wanted;
    const struct ctask_task *nearest; /* it may be what was meant: named first */
    size_t alike;
    char text[OFFERS + 8];
    size_t used;
};

/* How many bytes two names share at their front and at their end. */
static size_t likeness(struct bytes a, struct bytes b)
{
    size_t least = a.n < b.n ? a.n : b.n, front = 0, end = 0;
    while (front < least && a.p[front] == b.p[front]) front++;
    while (end < least - front && a.p[a.n - 1 - end] == b.p[b.n - 1 - end]) end++;
    return front + end;
}

static void offer_compare(void *ctx, const struct ctask_app *app, const struct ctask_task *t)
{
    struct offers *o = ctx;
    (void)app;
    size_t alike = likeness(o->wanted, bytes_text(t->name));
    if (alike <= o->alike || alike <= o->wanted.n / 2) return;
    o->nearest = t;
    o->alike = alike;
}

static void offer_print(struct offers *o, const struct ctask_task *t)
{
    const char *comma = o->used ? ", " : "";
    size_t n = strlen(comma) + strlen(t->name);
    if (o->used >= OFFERS) return;
    bool fits = o->used + n < OFFERS;
    snprintf(o->text + o->used, sizeof o->text - o->used, "%s%s", comma, fits ? t->name : "...");
    o->used = fits ? o->used + n : OFFERS;
}

static void offer_add(void *ctx, const struct ctask_app *app, const struct ctask_task *t)
{
    struct offers *o = ctx;
    (void)app;
    if (t != o->nearest) offer_print(o, t);
}

static void fault_of(struct worker *w, const struct request *r, const struct message *m,
                     struct fault *why)
{
    struct offers offers = {.wanted = starmap_itemized(m) ? m->item_task : m->task,
                            .text = "nothing"};
    registry_each(&w->registry, offer_compare, &offers);
    if (offers.nearest) offer_print(&offers, offers.nearest);
    registry_each(&w->registry, offer_add, &offers);
    fault_set(why, "NotRegistered", "no worker of queue %s knows task %.*s (a worker offers: %s)",
              r->source->name, BYTES_ARG(offers.wanted), offers.text);
}

void unknown_accept(struct worker *w, struct request *r, const struct message *m)
{
    struct fault why;
    bool last = w->options->fail_unknown || m->unknown >= ROUNDS;
    if (!last && m->unknown > 0) {
        unknown_pass_on(w, r);
        return;
    }
    fault_of(w, r, m, &why);
    request_bury(w, r, last ? STATE_FAILURE : STATE_RETRY, &why);
    r->burial->pass_on = !last;
}

/* Seconds. */
static uint32_t delay_of(const struct request *r)
{
    int64_t rounds = message_peek(r->m->props).unknown;
    return UINT32_C(1) << (rounds < DOUBLINGS ? rounds : DOUBLINGS);
}

void unknown_pass_on(struct worker *w, struct request *r)
{
    if (delay_ready(w, r->source))
        finish_pass_on(w, r, true, delay_of(r));
    else
        unknown_hold(w, r);
}

static size_t held(const struct worker *w)
{
    struct request *r;
    size_t n = 0;
    list_each(r, &w->requests[REQUEST_WAITING], struct request, link)
        if (r->then == THEN_PASS_ON) n++;
    return n;
}

void unknown_hold(struct worker *w, struct request *r)
{
    if (held(w) < HELD_MAX)
        request_wait(w, r, w->now + delay_of(r) * CLOCK_SECOND, THEN_PASS_ON);
    else
        request_wait(w, r, w->now + HELD_SHORT, THEN_GO_BACK);
}
