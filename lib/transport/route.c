/* route.c - brings each frame to the room that it is for, by its channel, and tells the owner what
 * came of it. A frame that fits nowhere ends the connection: its meaning is unknown. */
#include "base/clock.h"
#include "base/err.h"
#include "transport/session.h"

#include <stdlib.h>
#include <string.h>

struct broker_event *news_add(struct broker *b, enum broker_event_kind kind,
                              const struct queue *queue)
{
    struct news *n = calloc(1, sizeof *n);
    if (!n && kind == BROKER_DOWN && list_empty(&b->reserve.link)) n = &b->reserve;
    if (!n) {
        if (b->phase == PHASE_CONNECTED) link_fail(&b->link, CTASK_ENOMEM, "out of memory");
        return NULL;
    }
    n->ev = (struct broker_event){.kind = kind};
    if (queue) n->ev.queue = queue->name;
    list_append(&b->news, &n->link);
    return &n->ev;
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/* Its queue is there. */
static void post_ready(struct broker *b, struct post *p, const struct queue *q)
{
    p->empty = q && q->empty;
    if (p->what.delay > 0)
        delays_post(b, p);
    else
        outbox_ready(&b->out, p);
}

static unsigned consumers_of(const struct broker *b, const struct queue *q)
{
    unsigned n = 0;
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) n += consumers_count(&in->consumers, q);
    return n;
}

/* RabbitMQ says "no messages, no consumers" when it cannot ask the leader of a quorum queue. */
static bool denies_our_consumer(const struct broker *b, const struct queue *q)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (strcmp(in->queue, q->name) == 0 && consumers_running(&in->consumers))
            return q->consumers == 0 && q->messages == 0;
    return false;
}

static void post_refuse(struct broker *b, struct post *p, const struct queue *q)
{
    p->hopeless = q->retry_at == CLOCK_NEVER;
    outbox_end(&b->out, p, q->code, bytes_text(q->why));
}

static void tell_difference(struct broker *b, struct queue *q)
{
    struct broker_event *ev = q->differs ? news_add(b, BROKER_DIFFERS, q) : NULL;
    q->differs = false;
    if (ev)
        error_set(&ev->error, CTASK_EREFUSED,
                  "queue \"%s\" exists and is used as it is, without the arguments asked for: %s; "
                  "ask for those that it has, or delete it when it is empty",
                  q->name, q->why);
}

void route_verdict(struct broker *b, struct queue *q)
{
    if (!q) return;
    tell_difference(b, q);
    ladder_forget(&b->ladder, q->name); /* it may be a new one */
    while (!list_empty(&q->waiting)) {
        struct post *p = list_first(&q->waiting, struct post, link);
        if (q->state == QUEUE_KNOWN)
            post_ready(b, p, q);
        else
            post_refuse(b, p, q);
    }
    struct broker_event *ev = q->wanted ? news_add(b, BROKER_QUEUE, q) : NULL;
    if (q->kind == QUEUE_FOREIGN && !q->wanted && q->state == QUEUE_KNOWN)
        topology_forget(&b->topology, q); /* it was looked at for these */
    if (!ev) return;
    if (q->state == QUEUE_REFUSED)
        error_set(&ev->error, q->code,
                  q->code == CTASK_EUNAVAILABLE ? "queue \"%s\" is not available: %s"
                                                : "the broker refused queue \"%s\": %s",
                  q->name, q->why);
    ev->created = q->created && q->state == QUEUE_KNOWN;
    q->created = false; /* told once */
    ev->messages = q->messages;
    unsigned ours = consumers_of(b, q);
    ev->consumers = q->consumers > ours ? q->consumers - ours : 0;
    ev->leaderless = denies_our_consumer(b, q);
}

/* The queue that p needs to know of; NULL: none. */
static const char *post_queue(const struct post *p)
{
    if (p->what.ensure) return p->what.ensure;
    return p->what.look && p->looked_again ? p->what.routing_key : NULL;
}

bool route_post(struct broker *b, struct post *p)
{
    const char *name = post_queue(p);
    struct queue *q = name ? topology_find(&b->topology, name) : NULL;
    enum queue_kind kind = p->what.ensure ? QUEUE_TASK : QUEUE_FOREIGN;
    if (name && !q && !(q = topology_add(&b->topology, name, kind))) return false;
    if (!q || q->state == QUEUE_KNOWN) {
        post_ready(b, p, q);
    } else if (q->state == QUEUE_REFUSED) {
        post_refuse(b, p, q);
    } else {
        list_remove(&p->link);
        list_append(&q->waiting, &p->link);
    }
    return true;
}

void route_unroutable(struct broker *b)
{
    struct post *p;
    list_each(p, &b->out.unroutable, struct post, link) {
        struct queue *q = topology_find(&b->topology, post_queue(p));
        /* What was said of somebody else's is believed for a while: its results are many. */
        bool believed = q && q->kind == QUEUE_FOREIGN && q->state == QUEUE_REFUSED;
        if (q && !believed) topology_doubt(&b->topology, q);
        if (p->what.delay > 0) delays_doubt(b, p);
        if (!route_post(b, p)) outbox_end(&b->out, p, CTASK_EROUTE, bytes_text(NULL));
    }
}

/* ---- Channels closed by the broker ----------------------------------------------------------- */

void route_stale(struct broker *b, struct intake *in)
{
    for (struct list *at = b->arrived.next, *next; at != &b->arrived; at = next) {
        struct envelope *m = envelope_of(at);
        next = at->next;
        if (m->delivery.generation == in->settle.generation) envelope_free(m);
    }
    settle_begin(&in->settle, ++b->generation);
    inbox_reset(&in->deliveries);
}

struct intake *route_intake(const struct broker *b, struct delivery d)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (in->settle.generation == d.generation) return in;
    return NULL;
}

static bool close_blames(const amqp_channel_close_t *close, amqp_method_number_t id)
{
    return ((amqp_method_number_t)close->class_id << 16 | close->method_id) == id;
}

static void publish_closed(struct broker *b, const amqp_channel_close_t *close)
{
    inbox_reset(&b->returns);
    b->renewal.confirms_by = 0; /* the channel is new already */
    if (close_blames(close, AMQP_BASIC_PUBLISH_METHOD)) {
        outbox_refused(&b->out, b->link.sent, close->reply_code, bytes_amqp(close->reply_text));
        b->publish.retry_at = 0; /* each close of this kind brings us nearer to the culprit */
    } else {
        outbox_reset(&b->out, b->link.sent);
    }
    route_unroutable(b);
}

static void consume_closed(struct broker *b, struct intake *in, const amqp_channel_close_t *close,
                           int64_t now)
{
    bool refused = close_blames(close, AMQP_BASIC_CONSUME_METHOD);
    struct queue *culprit = consumers_reset(&in->consumers, refused, now);
    struct queue *q = topology_find(&b->topology, in->queue);
    if (culprit && close->reply_code == AMQP_NOT_FOUND) topology_doubt(&b->topology, culprit);
    route_stale(b, in);
    struct broker_event *ev = q ? news_add(b, BROKER_STALE, q) : NULL;
    if (!ev) return;
    ev->refused = culprit && close->reply_code != AMQP_NOT_FOUND; /* else it is looked at */
    error_set(&ev->error, CTASK_EREFUSED, "the broker closed the channel that consumes %s: %.*s",
              in->queue, BYTES_ARG(bytes_amqp(close->reply_text)));
}

static const char malformed[] = "an unknown or malformed method";

/* ---- Methods by channel ---------------------------------------------------------------------- */

static const char *publish_method(struct broker *b, amqp_method_number_t id, const void *m,
                                  int64_t now)
{
    const amqp_basic_return_t *returned = m;
    switch (id) {
    case AMQP_CHANNEL_OPEN_OK_METHOD:
    case AMQP_CONFIRM_SELECT_OK_METHOD: return NULL;
    case AMQP_BASIC_RETURN_METHOD:
        return inbox_method(&b->returns,
                            &(struct inbox_head){.exchange = bytes_amqp(returned->exchange),
                                                 .routing_key = bytes_amqp(returned->routing_key)});
    case AMQP_CHANNEL_CLOSE_METHOD:
        if (!lane_closed(b, &b->publish, now)) return "out of memory";
        publish_closed(b, m);
        return NULL;
    default: return "an unexpected method on the publishing channel";
    }
}

static const char *confirmed(struct broker *b, struct bytes payload, bool taken)
{
    struct confirm c;
    if (!confirm_read(payload, &c)) return malformed;
    outbox_confirm(&b->out, c.tag, c.multiple, taken);
    route_unroutable(b);
    return NULL;
}

static const char *look_method(struct broker *b, uint16_t channel, amqp_method_number_t id,
                               const void *m, int64_t now)
{
    struct queue *verdict;
    const char *wrong = topology_answer(&b->topology, channel, id, m, &b->link.out, now, &verdict);
    route_verdict(b, verdict);
    return wrong;
}

static bool spool_free(const struct broker *b)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (inbox_spools(&in->deliveries)) return false;
    in = route_intake(b, b->spooled);
    return !in || !settle_is_open(&in->settle, b->spooled);
}

int64_t broker_spool_free_at(const struct broker *b)
{
    return spool_free(b) ? b->spool_kept : CLOCK_NEVER;
}

static const char *delivered(struct intake *in, struct bytes payload)
{
    uint32_t window;
    struct deliver d;
    if (!deliver_read(payload, &d)) return malformed;
    struct queue *q = consumers_find(&in->consumers, d.consumer_tag, &window);
    if (window == 0) return "a delivery for a consumer that we do not have";
    const char *wrong = settle_add(&in->settle, d.tag);
    if (wrong) return wrong;
    struct inbox_head head = {
        .delivery = {d.tag, in->settle.generation},
        .redelivered = d.redelivered,
        .window = window,
        .exchange = d.exchange,
        .routing_key = d.routing_key,
        .queue = bytes_text(q ? q->name : ""),
    };
    return inbox_method(&in->deliveries, &head);
}

/* A consumer that ended without our asking: its queue was deleted, or moved. */
static void consumer_ended(struct broker *b, struct intake *in, struct bytes tag)
{
    struct queue *q = consumers_ended(&in->consumers, tag);
    if (!q) return;
    topology_doubt(&b->topology, q);
    news_add(b, BROKER_CANCELLED, q);
}

static const char *consume_method(struct broker *b, struct intake *in, amqp_method_number_t id,
                                  const void *m, int64_t now)
{
    const amqp_basic_consume_ok_t *started = m;
    const amqp_basic_cancel_t *cancel = m;
    const amqp_basic_cancel_ok_t *cancelled = m;
    struct queue *q;
    switch (id) {
    case AMQP_CHANNEL_OPEN_OK_METHOD:
    case AMQP_BASIC_QOS_OK_METHOD: return NULL;
    case AMQP_BASIC_CONSUME_OK_METHOD:
        q = consumers_started(&in->consumers, bytes_amqp(started->consumer_tag));
        if (q) news_add(b, BROKER_CONSUMING, q);
        intakes_hurry(b, now);
        return NULL;
    case AMQP_BASIC_CANCEL_METHOD:
        consumer_ended(b, in, bytes_amqp(cancel->consumer_tag));
        return NULL;
    case AMQP_BASIC_CANCEL_OK_METHOD:
        consumers_ended(&in->consumers, bytes_amqp(cancelled->consumer_tag));
        return NULL;
    case AMQP_CHANNEL_CLOSE_METHOD:
        if (!lane_closed(b, &in->lane, now)) return "out of memory";
        consume_closed(b, in, m, now);
        return NULL;
    default: return "an unexpected method on a consuming channel";
    }
}

/* ---- Contents -------------------------------------------------------------------------------- */

static const char *return_content(struct broker *b, const struct frame *f)
{
    struct envelope *m;
    const char *wrong = inbox_content(&b->returns, f, &m);
    if (m) outbox_return(&b->out, m);
    envelope_free(m);
    return wrong;
}

static const char *delivery_content(struct broker *b, struct intake *in, const struct frame *f,
                                    int64_t now)
{
    struct envelope *m;
    struct inbox *box = &in->deliveries;
    if (f->type == AMQP_FRAME_HEADER)
        box->spool = spool_free(b) && (box->head.redelivered || now >= b->spool_kept);
    const char *wrong = inbox_content(box, f, &m);
    if (!m) return wrong;
    if (m->spool >= 0) b->spooled = m->delivery;
    if (m->spool >= 0 || m->spool_error) b->spool_kept = 0;
    if (*m->queue) {
        list_append(&b->arrived, envelope_link(m));
        return NULL;
    }
    broker_give_back(b, m->delivery); /* from a queue that we deleted meanwhile */
    envelope_free(m);
    return NULL;
}

static struct intake *intake_at(const struct broker *b, uint16_t channel)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (in->lane.number == channel && in->lane.open) return in;
    return NULL;
}

const char *route_frame(struct broker *b, const struct frame *f, int64_t now)
{
    bool publish = f->channel == CHANNEL_PUBLISH && b->publish.open;
    struct intake *in = intake_at(b, f->channel);
    bool delays = f->channel == b->delays.number && b->delays.open;
    if (!publish && !in && !delays && !topology_owns(&b->topology, f->channel)) {
        struct lane *closing = lane_closing(b, f->channel);
        return closing ? lane_late(b, closing, f) : "a frame of no channel";
    }
    if (f->type != AMQP_FRAME_METHOD)
        return publish ? return_content(b, f)
               : in    ? delivery_content(b, in, f, now)
                       : "a message on a channel for questions";
    if ((publish && inbox_busy(&b->returns)) || (in && inbox_busy(&in->deliveries)))
        return "a message was cut short by a method";
    amqp_method_number_t id = method_number(f->payload);
    if (in && id == AMQP_BASIC_DELIVER_METHOD) return delivered(in, f->payload);
    if (publish && (id == AMQP_BASIC_ACK_METHOD || id == AMQP_BASIC_NACK_METHOD))
        return confirmed(b, f->payload, id == AMQP_BASIC_ACK_METHOD);
    const void *m = method_read(&b->link.pool, f->payload, &id);
    if (!m) return malformed;
    return publish  ? publish_method(b, id, m, now)
           : in     ? consume_method(b, in, id, m, now)
           : delays ? delays_method(b, id, m, now)
                    : look_method(b, f->channel, id, m, now);
}
