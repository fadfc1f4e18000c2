/* consumers.c - see consumers.h. */
#include "amqp/consumers.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct consumer {
    struct list link;
    struct queue *queue; /* NULL: deleted since */
    uint32_t window;     /* the number of the queue's window that it was started for */
    enum { STARTING, RUNNING, ENDING } state;
    char tag[24];
};

void consumers_init(struct consumers *c)
{
    *c = (struct consumers){0};
    list_init(&c->running);
    list_init(&c->wanted);
}

static void consumer_free(struct consumer *k)
{
    list_remove(&k->link);
    free(k);
}

void consumers_done(struct consumers *c)
{
    struct consumer *k;
    list_each(k, &c->running, struct consumer, link) consumer_free(k);
}

void consumers_want(struct consumers *c, struct queue *q, unsigned prefetch)
{
    q->prefetch = prefetch;
    q->window++;
    q->consume_at = 0;
    list_remove(&q->consumed);
    list_append(&c->wanted, &q->consumed);
}

void consumers_forget(struct consumers *c, struct queue *q)
{
    struct consumer *k;
    list_remove(&q->consumed);
    list_each(k, &c->running, struct consumer, link)
        if (k->queue == q) k->queue = NULL;
}

/* The newest that is not ending; the older ones only wait to be cancelled. */
static struct consumer *newest(const struct consumers *c, const struct queue *q)
{
    struct consumer *k, *found = NULL;
    list_each(k, &c->running, struct consumer, link) {
        if (k->queue == q && k->state != ENDING) found = k;
    }
    return found;
}

static bool start_due(const struct consumers *c, const struct queue *q)
{
    if (q->prefetch == 0 || q->state != QUEUE_KNOWN) return false;
    const struct consumer *k = newest(c, q);
    return !k || (k->state == RUNNING && k->window != q->window);
}

/* One that runs is to end when its queue is not wanted any more or a newer one runs. */
static bool end_due(const struct consumers *c, const struct consumer *k)
{
    if (k->state != RUNNING) return false;
    if (!k->queue || k->queue->prefetch == 0) return true;
    const struct consumer *last = newest(c, k->queue);
    return last != k && last->state == RUNNING;
}

bool consumers_pending(const struct consumers *c, int64_t now)
{
    struct queue *q;
    struct consumer *k;
    list_each(q, &c->wanted, struct queue, consumed)
        if (start_due(c, q) && q->consume_at <= now) return true;
    list_each(k, &c->running, struct consumer, link)
        if (end_due(c, k)) return true;
    return false;
}

bool consumers_awaited(const struct consumers *c, int64_t now)
{
    struct queue *q;
    list_each(q, &c->wanted, struct queue, consumed)
        if (q->kind == QUEUE_REPLY && q->prefetch > 0 && q->state != QUEUE_REFUSED &&
            q->consume_at <= now && !newest(c, q))
            return true;
    return false;
}

int64_t consumers_wake(const struct consumers *c)
{
    int64_t at = CLOCK_NEVER;
    struct queue *q;
    list_each(q, &c->wanted, struct queue, consumed)
        if (start_due(c, q) && q->consume_at < at) at = q->consume_at;
    return at;
}

static bool start(struct consumers *c, struct queue *q, struct buf *out, uint16_t channel)
{
    struct consumer *k = calloc(1, sizeof *k);
    if (!k) return false;
    k->queue = q;
    k->window = q->window;
    snprintf(k->tag, sizeof k->tag, "ctask.%" PRIu32, ++c->serial);
    list_append(&c->running, &k->link);
    amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)q->prefetch};
    /* A consumer of a connection that we know to be gone, and the broker does not yet, must not get
     * replies any more: the newest goes first. */
    amqp_table_entry_t priority = {
        amqp_text("x-priority"),
        {.kind = AMQP_FIELD_KIND_I32, .value.i32 = (int32_t)(c->serial & INT32_MAX)}};
    amqp_basic_consume_t consume = {.queue = amqp_text(q->name), .consumer_tag = amqp_text(k->tag)};
    if (q->kind == QUEUE_REPLY) consume.arguments = (amqp_table_t){1, &priority};
    return frame_method(out, channel, AMQP_BASIC_QOS_METHOD, &qos) &&
           frame_method(out, channel, AMQP_BASIC_CONSUME_METHOD, &consume);
}

bool consumers_ask(struct consumers *c, struct buf *out, uint16_t channel, int64_t now)
{
    struct queue *q;
    struct consumer *k;
    bool ok = true;
    list_each(q, &c->wanted, struct queue, consumed) {
        if (ok && start_due(c, q) && q->consume_at <= now) ok = start(c, q, out, channel);
    }
    list_each(k, &c->running, struct consumer, link) {
        if (!ok || !end_due(c, k)) continue;
        amqp_basic_cancel_t cancel = {.consumer_tag = amqp_text(k->tag)};
        ok = frame_method(out, channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
        k->state = ENDING;
    }
    return ok;
}

static struct consumer *consumer_find(const struct consumers *c, struct bytes tag)
{
    struct consumer *k;
    list_each(k, &c->running, struct consumer, link)
        if (bytes_is(tag, k->tag)) return k;
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
    if (k->queue) k->queue->consume_refusals = 0;
    return k->queue;
}

struct queue *consumers_ended(struct consumers *c, struct bytes tag)
{
    struct consumer *k = consumer_find(c, tag);
    if (!k) return NULL;
    struct queue *q = k->state == ENDING ? NULL : k->queue;
    consumer_free(k);
    return q;
}

struct queue *consumers_reset(struct consumers *c, bool refused, int64_t now)
{
    struct queue *culprit = NULL;
    struct consumer *k;
    list_each(k, &c->running, struct consumer, link) {
        if (refused && !culprit && k->state == STARTING) culprit = k->queue;
        consumer_free(k);
    }
    if (culprit) {
        unsigned n = culprit->consume_refusals++;
        culprit->consume_at = now + (CLOCK_SECOND << (n < 6 ? n : 6));
    }
    return culprit;
}
