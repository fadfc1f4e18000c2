/* reply_queue.c - the queue that results come to. A client has one, under one name, so results that
 * come while the connection is away wait in it. If the connection is up but the queue does not
 * answer, or the broker says that its node is down, later sends get a new queue. The old one is
 * consumed as well, and looked at until it is back or REPLY_WAIT is over; then the handles whose
 * results it keeps end.
 *
 * A handle knows its queue by the number of its slot. */
#include "client/inside.h"

#include "base/log.h"

#include <stdio.h>

#define REPLY_WINDOW 4000 /* replies on their way to us; acknowledged a batch at a time */
#define REPLY_PATIENCE (3 * CLOCK_SECOND) /* less than a send waits */
#define REPLY_WAIT_S 60
#define REPLY_WAIT (REPLY_WAIT_S * CLOCK_SECOND)

static struct reply_queue *current(struct ctask_client *c)
{
    return &c->replies[c->reply_at];
}

/* NULL: it is none of ours. */
static struct reply_queue *queue_find(struct ctask_client *c, const char *name)
{
    for (size_t i = 0; i < REPLY_QUEUES; i++)
        if (c->replies[i].asked && strcmp(c->replies[i].name, name) == 0) return &c->replies[i];
    return NULL;
}

/* ---- The handles of one ---------------------------------------------------------------------- */

struct slot_handles {
    unsigned slot;
    size_t count;
    const struct ctask_error *why; /* they end with it; NULL: they are counted */
};

static void slot_handle(struct ctask_result *r, void *ctx)
{
    struct slot_handles *t = ctx;
    if (!r->sent || r->reply_at != t->slot) return;
    t->count++;
    if (t->why) result_fail(r, t->why, NULL, 0);
}

/* How many handles wait for results in q; with `why` they end. Also those of tasks that the broker
 * has not confirmed: a quick worker may have answered them. */
static size_t handles(struct ctask_client *c, const struct reply_queue *q,
                      const struct ctask_error *why)
{
    struct slot_handles t = {.slot = (unsigned)(q - c->replies), .why = why};
    if (c->pending.count > 0) pending_walk(&c->pending, slot_handle, &t);
    return t.count;
}

static void results_lost(struct ctask_client *c, const struct reply_queue *q,
                         const struct ctask_error *e)
{
    struct ctask_error why = *e;
    size_t n = handles(c, q, &why);
    if (n > 0) log_warn("%zu results are given up: %s", n, why.text);
}

/* ---- The current one ------------------------------------------------------------------------- */

static void ready_set(struct ctask_client *c, struct reply_queue *q, bool ready)
{
    q->ready = ready;
    q->used |= ready;
    if (q == current(c)) c->reply_since = ready || !c->up ? CLOCK_NEVER : clock_now();
}

static void ask(struct ctask_client *c, struct reply_queue *q)
{
    if (broker_queue(c->x->broker, q->name, QUEUE_REPLY) == CTASK_OK)
        q->asked = broker_consume(c->x->broker, q->name, REPLY_WINDOW) == CTASK_OK;
}

static void queue_new(struct ctask_client *c, struct reply_queue *q)
{
    char id[ID_SIZE];
    id_new(id);
    *q = (struct reply_queue){.until = CLOCK_NEVER};
    snprintf(q->name, sizeof q->name, REPLY_PREFIX "%s", id);
    c->reply_at = (unsigned)(q - c->replies);
    c->reply_since = CLOCK_NEVER;
}

static void drop(struct ctask_client *c, struct reply_queue *q)
{
    if (q->asked) broker_delete_queue(c->x->broker, q->name);
    *q = (struct reply_queue){.until = CLOCK_NEVER};
}

static void give_up(struct ctask_client *c, struct reply_queue *q)
{
    struct ctask_error e;
    error_set(&e, CTASK_ELOST,
              "the result was to come to a queue on a node that is gone and did not come back "
              "within %d s: the task may have run",
              REPLY_WAIT_S);
    results_lost(c, q, &e);
    drop(c, q);
}

/* The node of the current one is gone: later sends get a new queue. */
static void move_on(struct ctask_client *c)
{
    struct reply_queue *q = current(c), *next = q;
    if (handles(c, q, NULL) > 0) {
        log_info("the node of the reply queue is gone: results of new tasks go to another queue");
        ready_set(c, q, false);
        q->until = clock_now() + REPLY_WAIT;
        broker_queue(c->x->broker, q->name, QUEUE_FOREIGN); /* not to be declared again */
        next = &c->replies[(c->reply_at + 1) % REPLY_QUEUES];
        if (next->asked) give_up(c, next);
    } else {
        drop(c, q);
    }
    queue_new(c, next);
    ask(c, next);
}

void replies_init(struct ctask_client *c)
{
    queue_new(c, &c->replies[0]);
    memcpy(c->reply_queue, c->replies[0].name, sizeof c->reply_queue);
}

bool replies_ready(struct ctask_client *c)
{
    struct reply_queue *q = current(c);
    if (!q->asked) ask(c, q);
    return q->ready;
}

/* ---- What the broker says -------------------------------------------------------------------- */

void replies_connection(struct ctask_client *c)
{
    for (size_t i = 0; i < REPLY_QUEUES; i++) c->replies[i].ready = false;
    c->reply_since = c->up && current(c)->asked ? clock_now() : CLOCK_NEVER;
}

static void current_seen(struct ctask_client *c, struct reply_queue *q,
                         const struct broker_event *ev)
{
    struct ctask_error e;
    if (ev->error.code == CTASK_EUNAVAILABLE) {
        move_on(c);
        return;
    }
    c->reply_error = ev->error;
    if (ev->error.code != CTASK_OK) ready_set(c, q, false);
    if (ev->error.code != CTASK_OK || !ev->created) return;
    error_set(&e, CTASK_ELOST, "the reply queue was deleted, so the result may be lost");
    results_lost(c, q, &e);
}

/* If it was being declared anew when it became an old one, it is `created` and empty. */
static void old_seen(struct ctask_client *c, struct reply_queue *q, const struct broker_event *ev)
{
    struct ctask_error e;
    if (ev->error.code == CTASK_OK && !ev->created) return;
    q->ready = false;
    if (ev->error.code == CTASK_EUNAVAILABLE) return; /* it is looked at again */
    if (ev->created)
        error_set(&e, CTASK_ELOST, "the reply queue was deleted, so the result may be lost");
    else
        error_set(&e, CTASK_ELOST, "the reply queue is gone, so the result may be lost: %s",
                  ev->error.text);
    results_lost(c, q, &e);
    drop(c, q);
}

bool replies_queue_event(struct ctask_client *c, const struct broker_event *ev)
{
    struct reply_queue *q = queue_find(c, ev->queue);
    if (!q) return false;
    if (q == current(c))
        current_seen(c, q, ev);
    else
        old_seen(c, q, ev);
    return true;
}

void replies_consuming(struct ctask_client *c, const struct broker_event *ev)
{
    struct reply_queue *q = queue_find(c, ev->queue);
    bool is = ev->kind == BROKER_CONSUMING;
    if (!q) return;
    ready_set(c, q, is);
    if (!is && !ev->refused) return; /* it comes back, or is looked at */
    if (q == current(c)) c->reply_error = ev->error;
    if (!is) results_lost(c, q, &ev->error); /* we may not read it */
}

/* ---- Time ------------------------------------------------------------------------------------ */

/* One that was never ready keeps no results, and a broker in alarm cannot answer. */
static int64_t current_deadline(struct ctask_client *c)
{
    if (c->reply_since == CLOCK_NEVER || !current(c)->used || broker_blocked(c->x->broker))
        return CLOCK_NEVER;
    return (c->reply_since > c->flowing_since ? c->reply_since : c->flowing_since) + REPLY_PATIENCE;
}

int64_t replies_deadline(struct ctask_client *c)
{
    int64_t at = current_deadline(c);
    for (size_t i = 0; i < REPLY_QUEUES; i++)
        if (c->replies[i].asked) at = clock_earlier(at, c->replies[i].until);
    return at;
}

void replies_expire(struct ctask_client *c, int64_t now)
{
    if (replies_deadline(c) > now) return;
    if (current_deadline(c) <= now) move_on(c);
    for (size_t i = 0; i < REPLY_QUEUES; i++) {
        struct reply_queue *q = &c->replies[i];
        if (!q->asked || q->until > now) continue;
        if (!q->ready)
            give_up(c, q);
        else if (handles(c, q, NULL) > 0)
            q->until = now + REPLY_WAIT;
        else
            drop(c, q);
    }
    c->happened++;
}

void replies_done(struct ctask_client *c)
{
    for (size_t i = 0; i < REPLY_QUEUES; i++) drop(c, &c->replies[i]);
}
