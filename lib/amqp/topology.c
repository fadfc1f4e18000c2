/* topology.c - see topology.h. */
#include "amqp/topology.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (15 * CLOCK_SECOND)
#define REPLY_EXPIRES_MS (30 * 60 * 1000)
#define FIRST_CHANNEL 2
#define SPARE_CHANNEL 4 /* 3 consumes */

struct question {
    struct list link;
    enum { ASK_LOOK, ASK_EXCHANGE, ASK_QUEUE, ASK_BIND, ASK_DELETE } what;
    struct queue *queue; /* NULL: forgotten since, or ASK_DELETE */
    int64_t deadline;
    char name[];
};

void topology_init(struct topology *t)
{
    *t = (struct topology){.channel = FIRST_CHANNEL};
    list_init(&t->todo);
    list_init(&t->known);
    list_init(&t->refused);
    list_init(&t->asking);
    list_init(&t->asked);
    list_init(&t->deletes);
}

static void question_free(struct question *k)
{
    list_remove(&k->link);
    free(k);
}

void topology_done(struct topology *t)
{
    struct question *k;
    struct map_node *n;
    list_each(k, &t->asked, struct question, link) question_free(k);
    list_each(k, &t->deletes, struct question, link) question_free(k);
    while ((n = map_any(&t->by_name))) {
        struct queue *q = container_of(n, struct queue, node);
        map_remove(&t->by_name, n);
        free(q);
    }
    map_done(&t->by_name);
}

static void queue_move(struct topology *t, struct queue *q, enum queue_state to)
{
    struct list *lists[] = {[QUEUE_UNKNOWN] = &t->todo,
                            [QUEUE_MISSING] = &t->todo,
                            [QUEUE_ASKED] = &t->asking,
                            [QUEUE_KNOWN] = &t->known,
                            [QUEUE_REFUSED] = &t->refused};
    list_remove(&q->link);
    q->state = to;
    list_append(lists[to], &q->link);
}

struct queue *topology_find(const struct topology *t, const char *name)
{
    struct map_node *n = map_find(&t->by_name, bytes_text(name));
    return n ? container_of(n, struct queue, node) : NULL;
}

struct queue *topology_add(struct topology *t, const char *name, enum queue_kind kind)
{
    size_t n = strlen(name);
    struct queue *q = calloc(1, sizeof *q + n + 1);
    if (!q) return NULL;
    memcpy(q->name, name, n + 1);
    q->node.key = bytes_of(q->name, n);
    q->kind = kind;
    list_init(&q->link);
    list_init(&q->waiting);
    list_init(&q->consumed);
    if (!map_add(&t->by_name, &q->node)) {
        free(q);
        return NULL;
    }
    queue_move(t, q, QUEUE_UNKNOWN);
    return q;
}

void topology_doubt(struct topology *t, struct queue *q)
{
    if (q->state == QUEUE_KNOWN || q->state == QUEUE_REFUSED) queue_move(t, q, QUEUE_UNKNOWN);
}

static struct question *question_new(const char *name, struct queue *q)
{
    size_t n = strlen(name);
    struct question *k = calloc(1, sizeof *k + n + 1);
    if (!k) return NULL;
    memcpy(k->name, name, n + 1);
    k->queue = q;
    list_init(&k->link);
    return k;
}

void topology_delete(struct topology *t, struct queue *q)
{
    struct question *k;
    list_each(k, &t->asked, struct question, link)
        if (k->queue == q) k->queue = NULL;
    k = question_new(q->name, NULL);
    if (k) {
        k->what = ASK_DELETE;
        list_append(&t->deletes, &k->link);
    }
    map_remove(&t->by_name, &q->node);
    list_remove(&q->link);
    list_remove(&q->consumed);
    free(q);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

bool topology_pending(const struct topology *t, int64_t now)
{
    return !list_empty(&t->todo) || !list_empty(&t->deletes) || topology_wake(t) <= now;
}

int64_t topology_wake(const struct topology *t)
{
    int64_t at = CLOCK_NEVER;
    struct queue *q;
    list_each(q, &t->refused, struct queue, link)
        if (q->retry_at < at) at = q->retry_at;
    if (!list_empty(&t->asked)) {
        int64_t due = list_first(&t->asked, struct question, link)->deadline;
        if (due < at) at = due;
    }
    return at;
}

static bool question_write(const struct question *k, struct buf *out, uint16_t channel)
{
    amqp_table_entry_t expires = {amqp_text("x-expires"),
                                  {.kind = AMQP_FIELD_KIND_I32, .value.i32 = REPLY_EXPIRES_MS}};
    bool reply = k->queue && k->queue->kind == QUEUE_REPLY;
    amqp_bytes_t name = amqp_text(k->name);
    amqp_queue_declare_t look = {.queue = name, .passive = 1};
    amqp_queue_declare_t queue = {
        .queue = name, .durable = 1, .arguments = {reply ? 1 : 0, reply ? &expires : NULL}};
    amqp_exchange_declare_t exchange = {
        .exchange = name, .type = amqp_text("direct"), .durable = 1};
    amqp_queue_bind_t bind = {.queue = name, .exchange = name, .routing_key = name};
    amqp_queue_delete_t delete = {.queue = name};
    switch (k->what) {
    case ASK_LOOK: return frame_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &look);
    case ASK_EXCHANGE: return frame_method(out, channel, AMQP_EXCHANGE_DECLARE_METHOD, &exchange);
    case ASK_QUEUE: return frame_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &queue);
    case ASK_BIND: return frame_method(out, channel, AMQP_QUEUE_BIND_METHOD, &bind);
    case ASK_DELETE: return frame_method(out, channel, AMQP_QUEUE_DELETE_METHOD, &delete);
    }
    return false;
}

static bool ask(struct topology *t, struct queue *q, int what, struct buf *out, int64_t now)
{
    struct question *k = question_new(q->name, q);
    if (!k) return false;
    k->what = what;
    k->deadline = now + ANSWER_LIMIT;
    list_append(&t->asked, &k->link);
    return question_write(k, out, t->channel);
}

static bool queue_ask(struct topology *t, struct queue *q, struct buf *out, int64_t now)
{
    bool declare = q->state == QUEUE_MISSING || (q->kind == QUEUE_REPLY && !q->declared);
    queue_move(t, q, QUEUE_ASKED);
    q->created = declare;
    q->declared |= declare;
    if (!declare) return ask(t, q, ASK_LOOK, out, now);
    if (q->kind != QUEUE_TASK) return ask(t, q, ASK_QUEUE, out, now);
    return ask(t, q, ASK_EXCHANGE, out, now) && ask(t, q, ASK_QUEUE, out, now) &&
           ask(t, q, ASK_BIND, out, now);
}

bool topology_ask(struct topology *t, struct buf *out, int64_t now)
{
    struct queue *q;
    struct question *k;
    bool ok = true;
    list_each(q, &t->refused, struct queue, link) {
        if (q->retry_at <= now) queue_move(t, q, QUEUE_UNKNOWN);
    }
    list_each(q, &t->todo, struct queue, link) {
        ok = ok && queue_ask(t, q, out, now);
    }
    list_each(k, &t->deletes, struct question, link) {
        list_remove(&k->link);
        list_append(&t->asked, &k->link);
        k->deadline = now + ANSWER_LIMIT;
        ok = ok && question_write(k, out, t->channel);
    }
    return ok;
}

/* ---- Answers --------------------------------------------------------------------------------- */

const char *topology_answer(struct topology *t, amqp_method_number_t id, const void *method,
                            struct queue **verdict)
{
    static const amqp_method_number_t answers[] = {
        [ASK_LOOK] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [ASK_EXCHANGE] = AMQP_EXCHANGE_DECLARE_OK_METHOD,
        [ASK_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [ASK_BIND] = AMQP_QUEUE_BIND_OK_METHOD,
        [ASK_DELETE] = AMQP_QUEUE_DELETE_OK_METHOD,
    };
    *verdict = NULL;
    if (list_empty(&t->asked)) return "it answers what was not asked";
    struct question *k = list_first(&t->asked, struct question, link);
    if (id != answers[k->what]) return "it answers something else than was asked";
    struct queue *q = k->queue;
    bool last = k->what == ASK_LOOK || k->what == ASK_BIND ||
                (k->what == ASK_QUEUE && q && q->kind != QUEUE_TASK);
    if (q && id == AMQP_QUEUE_DECLARE_OK_METHOD) {
        const amqp_queue_declare_ok_t *ok = method;
        q->messages = ok->message_count;
        q->consumers = ok->consumer_count;
    }
    question_free(k);
    if (!q || !last) return NULL;
    q->refusals = 0;
    queue_move(t, q, QUEUE_KNOWN);
    *verdict = q;
    return NULL;
}

static void queue_refuse(struct topology *t, struct queue *q, struct bytes why, int64_t now)
{
    int64_t wait = CLOCK_SECOND << (q->refusals < 5 ? q->refusals : 5);
    if (wait > 30 * CLOCK_SECOND) wait = 30 * CLOCK_SECOND;
    q->refusals++;
    q->retry_at = now + wait;
    snprintf(q->why, sizeof q->why, "%.*s", BYTES_ARG(why));
    queue_move(t, q, QUEUE_REFUSED);
}

/* Nothing that was asked will be answered. */
static void questions_drop(struct topology *t)
{
    struct question *k;
    struct queue *q;
    list_each(k, &t->asked, struct question, link) {
        if (k->what != ASK_DELETE) {
            question_free(k);
            continue;
        }
        list_remove(&k->link);
        list_append(&t->deletes, &k->link);
    }
    list_each(q, &t->asking, struct queue, link) queue_move(t, q, QUEUE_UNKNOWN);
}

void topology_closed(struct topology *t, unsigned code, struct bytes text, int64_t now,
                     struct queue **verdict)
{
    *verdict = NULL;
    if (!list_empty(&t->asked)) {
        struct question *k = list_first(&t->asked, struct question, link);
        struct queue *q = k->queue;
        bool look = k->what == ASK_LOOK;
        question_free(k);
        if (q && look && code == AMQP_NOT_FOUND) {
            queue_move(t, q, QUEUE_MISSING);
        } else if (q) {
            queue_refuse(t, q, text, now);
            *verdict = q;
        }
    }
    questions_drop(t);
}

bool topology_overdue(struct topology *t, uint16_t channel_max, int64_t now, struct queue **verdict)
{
    *verdict = NULL;
    if (list_empty(&t->asked)) return false;
    struct question *k = list_first(&t->asked, struct question, link);
    if (k->deadline > now) return false;
    struct queue *q = k->queue;
    question_free(k);
    if (q) {
        queue_refuse(t, q, bytes_text("the broker does not answer for it"), now);
        *verdict = q;
    }
    questions_drop(t);
    t->channel = t->channel == FIRST_CHANNEL ? SPARE_CHANNEL : (uint16_t)(t->channel + 1);
    if (t->channel > channel_max) t->channel = 0;
    return true;
}

void topology_reset(struct topology *t)
{
    struct queue *q;
    questions_drop(t);
    list_each(q, &t->known, struct queue, link) queue_move(t, q, QUEUE_UNKNOWN);
    list_each(q, &t->refused, struct queue, link) queue_move(t, q, QUEUE_UNKNOWN);
    t->channel = FIRST_CHANNEL;
}
