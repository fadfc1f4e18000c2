/* consumers.c - see consumers.h. */
#include "amqp/consumers.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (10 * CLOCK_SECOND)
#define DOUBLINGS_MAX 2           /* of ANSWER_LIMIT: the broker may only be slow */
#define ANSWER_USUAL CLOCK_SECOND /* what a broker without trouble takes at most */

struct consumer {
    struct list link;
    struct queue *queue; /* NULL: deleted since */
    uint32_t window;     /* its number among the queue's */
    unsigned prefetch;
    enum { WANTED, STARTING, RUNNING, ENDING } state;
    bool cancelled;      /* by its owner; */
    int64_t end_at;      /* the broker is told then */
    int64_t waits_since; /* STARTING: for consume-ok */
    bool hurried;        /* STARTING: its time is over, see consumers_hurry */
    char tag[24];
};

void consumers_init(struct consumers *c)
{
    *c = (struct consumers){0};
    list_init(&c->all);
}

static void consumer_free(struct consumer *k)
{
    list_remove(&k->link);
    free(k);
}

void consumers_done(struct consumers *c)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link) consumer_free(k);
}

bool consumers_add(struct consumers *c, struct queue *q, unsigned prefetch)
{
    struct consumer *k = calloc(1, sizeof *k);
    if (!k) return false;
    k->queue = q;
    k->window = ++q->window;
    k->prefetch = prefetch;
    q->consume_at = 0;
    list_append(&c->all, &k->link);
    return true;
}

static void consumer_cancel(struct consumer *k, int64_t at)
{
    if (!k->cancelled || at < k->end_at) k->end_at = at;
    k->cancelled = true;
    if (k->state == WANTED) consumer_free(k);
}

void consumers_cancel(struct consumers *c, const struct queue *q, uint32_t window, int64_t at)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->queue == q && (window == 0 || k->window == window)) consumer_cancel(k, at);
}

bool consumers_hold_acks(const struct consumers *c, int64_t now)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->cancelled && k->state == RUNNING && now < k->end_at) return true;
    return false;
}

void consumers_forget(struct consumers *c, struct queue *q)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link) {
        if (k->queue != q) continue;
        k->queue = NULL;
        consumer_cancel(k, 0);
    }
}

unsigned consumers_count(const struct consumers *c, const struct queue *q)
{
    unsigned n = 0;
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link) n += k->queue == q && k->state != WANTED;
    return n;
}

bool consumers_take_tasks(const struct consumers *c)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->state != WANTED && (!k->queue || k->queue->kind == QUEUE_TASK)) return true;
    return false;
}

static bool start_due(const struct consumer *k)
{
    return k->state == WANTED && k->queue->state == QUEUE_KNOWN;
}

static bool end_due(const struct consumer *k, int64_t now)
{
    return k->cancelled && k->state == RUNNING && now >= k->end_at;
}

bool consumers_pending(const struct consumers *c, int64_t now)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (end_due(k, now) || (start_due(k) && k->queue->consume_at <= now)) return true;
    return false;
}

bool consumers_awaited(const struct consumers *c, int64_t now)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->state == WANTED && k->queue->kind == QUEUE_REPLY &&
            k->queue->state != QUEUE_REFUSED && k->queue->consume_at <= now)
            return true;
    return false;
}

int64_t consumers_wake(const struct consumers *c)
{
    int64_t at = CLOCK_NEVER;
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link) {
        if (start_due(k) && k->queue->consume_at < at) at = k->queue->consume_at;
        if (k->cancelled && k->state == RUNNING && k->end_at < at) at = k->end_at;
    }
    return at;
}

static bool start(struct consumers *c, struct consumer *k, struct buf *out, uint16_t channel,
                  int64_t now)
{
    const struct queue *q = k->queue;
    k->state = STARTING;
    k->waits_since = now;
    k->hurried = false;
    snprintf(k->tag, sizeof k->tag, "ctask.%" PRIu32, ++c->serial);
    amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)k->prefetch};
    /* A consumer of a connection that we know to be gone, and the broker does not yet, must not get
     * replies any more: the newest goes first. */
    amqp_table_entry_t priority = {
        amqp_text("x-priority"),
        {.kind = AMQP_FIELD_KIND_I32, .value.i32 = (int32_t)(c->serial & INT32_MAX)}};
    amqp_basic_consume_t consume = {.queue = amqp_text(q->name), .consumer_tag = amqp_text(k->tag)};
    if (q->kind == QUEUE_REPLY || q->kind == QUEUE_FOREIGN)
        consume.arguments = (amqp_table_t){1, &priority};
    return frame_method(out, channel, AMQP_BASIC_QOS_METHOD, &qos) &&
           frame_method(out, channel, AMQP_BASIC_CONSUME_METHOD, &consume);
}

static bool end(struct consumer *k, struct buf *out, uint16_t channel)
{
    amqp_basic_cancel_t cancel = {.consumer_tag = amqp_text(k->tag)};
    k->state = ENDING;
    return frame_method(out, channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

bool consumers_ask(struct consumers *c, struct buf *out, uint16_t channel, int64_t now)
{
    struct consumer *k;
    bool ok = true;
    list_each(k, &c->all, struct consumer, link) {
        if (ok && start_due(k) && k->queue->consume_at <= now) ok = start(c, k, out, channel, now);
        if (ok && end_due(k, now)) ok = end(k, out, channel);
    }
    return ok;
}

bool consumers_running(const struct consumers *c)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->state == RUNNING || k->state == ENDING) return true;
    return false;
}

static int64_t answer_due(const struct consumers *c, const struct consumer *k)
{
    unsigned doublings = c->moves < DOUBLINGS_MAX ? c->moves : DOUBLINGS_MAX;
    return k->waits_since + (k->hurried ? 0 : ANSWER_LIMIT << doublings);
}

int64_t consumers_deadline(const struct consumers *c)
{
    int64_t at = CLOCK_NEVER;
    struct consumer *k;
    if (consumers_running(c)) return CLOCK_NEVER;
    list_each(k, &c->all, struct consumer, link)
        if (k->state == STARTING && !k->cancelled) at = clock_earlier(at, answer_due(c, k));
    return at;
}

void consumers_hurry(struct consumers *c, int64_t now)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->state == STARTING && now - k->waits_since > ANSWER_USUAL) k->hurried = true;
}

void consumers_wait_anew(struct consumers *c, int64_t now)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link) {
        k->waits_since = now;
        k->hurried = false;
    }
}

void consumers_move(struct consumers *to, struct consumers *from, int64_t now)
{
    struct consumer *k;
    to->serial = from->serial;
    to->moves = from->moves + 1;
    consumers_reset(from, false, now);
    list_each(k, &from->all, struct consumer, link) {
        list_remove(&k->link);
        list_append(&to->all, &k->link);
    }
}

static struct consumer *consumer_find(const struct consumers *c, struct bytes tag)
{
    struct consumer *k;
    list_each(k, &c->all, struct consumer, link)
        if (k->state != WANTED && bytes_is(tag, k->tag)) return k;
    return NULL;
}

struct queue *consumers_find(const struct consumers *c, struct bytes tag, uint32_t *window)
{
    struct consumer *k = consumer_find(c, tag);
    *window = k ? k->window : 0;
    return k ? k->queue : NULL;
}

struct queue *consumers_started(struct consumers *c, struct bytes tag)
{
    struct consumer *k = consumer_find(c, tag);
    if (!k || k->state != STARTING) return NULL;
    k->state = RUNNING;
    c->moves = 0;
    if (k->queue) k->queue->consume_refusals = 0;
    return k->queue;
}

/* The broker has no such consumer any more. */
static void consumer_ended(struct consumer *k)
{
    if (k->cancelled)
        consumer_free(k);
    else
        k->state = WANTED;
}

struct queue *consumers_ended(struct consumers *c, struct bytes tag)
{
    struct consumer *k = consumer_find(c, tag);
    if (!k) return NULL;
    struct queue *q = k->state == ENDING ? NULL : k->queue;
    consumer_ended(k);
    return q;
}

struct queue *consumers_reset(struct consumers *c, bool refused, int64_t now)
{
    struct queue *culprit = NULL;
    struct consumer *k;
    c->moves = 0;
    list_each(k, &c->all, struct consumer, link) {
        if (refused && !culprit && k->state == STARTING) culprit = k->queue;
        consumer_ended(k);
    }
    if (culprit) {
        unsigned n = culprit->consume_refusals++;
        culprit->consume_at = now + (CLOCK_SECOND << (n < 6 ? n : 6));
    }
    return culprit;
}
