/* topology.c - see topology.h. */
#include "amqp/topology.h"
#include "amqp/arguments.h"
#include "amqp/refusal.h"
#include "base/clock.h"

#include <ctask.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (15 * CLOCK_SECOND)

void topology_init(struct topology *t)
{
    *t = (struct topology){0};
    list_init(&t->todo);
    list_init(&t->known);
    list_init(&t->refused);
    list_init(&t->asking);
    list_init(&t->askers);
    list_init(&t->deletes);
    t->first = t->last = 1; /* until a broker has said more */
}

void topology_done(struct topology *t)
{
    struct question *k;
    struct asker *a;
    struct map_node *n;
    list_each(a, &t->askers, struct asker, link) asker_free(a);
    list_each(k, &t->deletes, struct question, link) question_free(k);
    while ((n = map_any(&t->by_name))) {
        struct queue *q = container_of(n, struct queue, node);
        map_remove(&t->by_name, n);
        free(q);
    }
    map_done(&t->by_name);
}

static void queue_suspect(struct topology *t, struct queue *q, bool suspect)
{
    if (q->suspect != suspect) t->suspects += suspect ? 1 : -1U;
    q->suspect = suspect;
}

static void queue_move(struct topology *t, struct queue *q, enum queue_state to)
{
    if (to == QUEUE_KNOWN || to == QUEUE_REFUSED) queue_suspect(t, q, false);
    if (to == QUEUE_KNOWN) q->closes = q->refusals = 0;
    struct list *lists[] = {
        [QUEUE_UNKNOWN] = &t->todo, [QUEUE_MISSING] = &t->todo, [QUEUE_FOUND] = &t->todo,
        [QUEUE_ASKED] = &t->asking, [QUEUE_KNOWN] = &t->known,  [QUEUE_REFUSED] = &t->refused};
    list_remove(&q->link);
    q->state = to;
    list_append(lists[to], &q->link);
}

struct queue *topology_find(struct topology *t, const char *name)
{
    struct map_node *n = map_find(&t->by_name, bytes_text(name));
    return n ? container_of(n, struct queue, node) : NULL;
}

static struct queue *queue_add(struct topology *t, const char *name, enum queue_kind kind,
                               const char *key)
{
    size_t n = strlen(name), rest = key ? strlen(key) + 1 : 0;
    struct queue *q = calloc(1, sizeof *q + n + 1 + rest);
    if (!q) return NULL;
    memcpy(q->name, name, n + 1);
    if (key) q->home_key = memcpy(q->name + n + 1, key, rest);
    q->node.key = bytes_of(q->name, n);
    q->kind = kind;
    q->type = t->type;
    q->arguments = t->arguments;
    list_init(&q->link);
    list_init(&q->waiting);
    if (!map_add(&t->by_name, &q->node)) {
        free(q);
        return NULL;
    }
    queue_move(t, q, QUEUE_UNKNOWN);
    return q;
}

struct queue *topology_add(struct topology *t, const char *name, enum queue_kind kind)
{
    return queue_add(t, name, kind, NULL);
}

struct queue *topology_add_lease(struct topology *t, const char *name, const char *exchange,
                                 const char *key, unsigned ttl)
{
    struct queue *q = queue_add(t, name, QUEUE_LEASE, key);
    if (!q) return NULL;
    q->home_exchange = exchange;
    q->ttl = ttl;
    return q;
}

void topology_doubt(struct topology *t, struct queue *q)
{
    if (q->state == QUEUE_KNOWN || q->state == QUEUE_REFUSED) queue_move(t, q, QUEUE_UNKNOWN);
}

/* Nobody waits for what is asked about q any more. */
static void queue_unask(struct topology *t, const struct queue *q)
{
    struct asker *a;
    struct question *k;
    list_each(a, &t->askers, struct asker, link)
        list_each(k, &a->asked, struct question, link)
            if (k->queue == q) k->queue = NULL;
}

void topology_forget(struct topology *t, struct queue *q)
{
    queue_unask(t, q);
    queue_suspect(t, q, false);
    map_remove(&t->by_name, &q->node);
    list_remove(&q->link);
    free(q);
}

void topology_delete(struct topology *t, struct queue *q)
{
    struct question *k = question_new(ASK_DELETE, q->name, NULL);
    if (k) list_append(&t->deletes, &k->link);
    topology_forget(t, q);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

bool topology_owns(const struct topology *t, uint16_t channel)
{
    struct asker *a;
    list_each(a, &t->askers, struct asker, link)
        if (a->channel == channel) return true;
    return false;
}

/* The highest, or 0. */
static uint16_t channel_free(const struct topology *t)
{
    for (uint16_t n = t->last; n >= t->first && n > 0; n--)
        if (!topology_owns(t, n)) return n;
    return 0;
}

static int64_t asker_wake(const struct topology *t, const struct asker *a)
{
    const struct question *first = asker_first(a);
    if (!first) return CLOCK_NEVER;
    bool others = asker_holds_up(a) || (first->queue && first->queue->suspect);
    return others && channel_free(t) > 0 ? asker_slow_at(a) : first->asked_at + ANSWER_LIMIT;
}

int64_t topology_wake(const struct topology *t)
{
    int64_t at = CLOCK_NEVER;
    struct queue *q;
    struct asker *a;
    list_each(q, &t->refused, struct queue, link)
        if (q->retry_at < at) at = q->retry_at;
    list_each(a, &t->askers, struct asker, link)
        if (asker_wake(t, a) < at) at = asker_wake(t, a);
    return at;
}

size_t topology_asked(const struct topology *t, int64_t now)
{
    size_t n = 0;
    struct asker *a;
    struct question *k;
    list_each(a, &t->askers, struct asker, link) {
        if (asker_slow(a, now)) continue;
        list_each(k, &a->asked, struct question, link) n += k->queue != NULL;
    }
    return n;
}

/* The queue to ask about next, or NULL. While there are suspects that do not wait only one question
 * is under way at a time, and queues that are none come first. */
static struct queue *queue_next(const struct topology *t, int64_t now)
{
    struct queue *q;
    bool alone = t->suspects > 0 && !t->suspects_wait;
    if (list_empty(&t->todo) || (alone && topology_asked(t, now) > 0)) return NULL;
    list_each(q, &t->todo, struct queue, link)
        if (!q->suspect) return q;
    return t->suspects_wait ? NULL : list_first(&t->todo, struct queue, link);
}

/* False while each of the channels waits for its close-ok. */
static bool asker_there(const struct topology *t)
{
    struct asker *a;
    list_each(a, &t->askers, struct asker, link)
        if (!a->closing) return true;
    return channel_free(t) > 0;
}

static bool questions_due(const struct topology *t, int64_t now)
{
    return (queue_next(t, now) || !list_empty(&t->deletes)) && asker_there(t);
}

/* Called at each turn. Nearly always nothing is to be asked and no answer is awaited: `quiet`. */
bool topology_pending(const struct topology *t, int64_t now)
{
    struct asker *a;
    bool quiet = list_empty(&t->todo) && list_empty(&t->deletes) && list_empty(&t->refused);
    list_each(a, &t->askers, struct asker, link) quiet = quiet && !asker_first(a);
    return !quiet && (questions_due(t, now) || topology_wake(t) <= now);
}

/* One that answers, else a new one, else, where the broker allows few channels, a slow one. */
static struct asker *asker_for(struct topology *t, int64_t now)
{
    struct asker *a, *slow = NULL;
    list_each(a, &t->askers, struct asker, link) {
        if (a->closing) continue;
        if (!asker_slow(a, now)) return a;
        slow = a;
    }
    uint16_t channel = channel_free(t);
    if (channel == 0) return slow;
    a = asker_new(channel);
    if (a) list_append(&t->askers, &a->link);
    return a;
}

/* What stands behind a slow question is to be asked elsewhere. */
static void askers_relieve(struct topology *t, int64_t now)
{
    struct asker *a;
    struct question *k;
    list_each(a, &t->askers, struct asker, link) {
        if (!asker_slow(a, now)) continue;
        struct queue *culprit = asker_first(a)->queue;
        if (culprit) queue_suspect(t, culprit, false); /* its close would have come by now */
        list_each(k, &a->asked, struct question, link) {
            if (!k->queue || k->queue == culprit) continue;
            queue_move(t, k->queue, QUEUE_UNKNOWN);
            queue_unask(t, k->queue);
        }
    }
}

static bool is_ours(const struct queue *q)
{
    return q->kind == QUEUE_REPLY || q->kind == QUEUE_LEASE;
}

static bool queue_ask(struct topology *t, struct asker *a, struct queue *q, struct buf *out,
                      int64_t now)
{
    enum ask what = q->state == QUEUE_MISSING || (is_ours(q) && !q->declared) ? ASK_QUEUE
                    : q->state == QUEUE_FOUND                                 ? ASK_COMPARE
                                                                              : ASK_LOOK;
    queue_move(t, q, QUEUE_ASKED);
    q->created = what == ASK_QUEUE;
    q->declared |= what != ASK_LOOK;
    return asker_queue(a, what, q, out, now);
}

bool topology_ask(struct topology *t, struct buf *out, int64_t now)
{
    struct queue *q;
    struct question *k;
    list_each(q, &t->refused, struct queue, link) {
        if (q->retry_at > now) continue;
        if (q->kind == QUEUE_FOREIGN && !q->wanted)
            topology_forget(t, q); /* nobody asks any more */
        else
            queue_move(t, q, QUEUE_UNKNOWN);
    }
    if (channel_free(t) > 0) askers_relieve(t, now);
    if (!questions_due(t, now)) return true;
    struct asker *a = asker_for(t, now);
    bool ok = a != NULL;
    while (ok && (q = queue_next(t, now))) ok = queue_ask(t, a, q, out, now);
    list_each(k, &t->deletes, struct question, link) {
        amqp_queue_delete_t delete = {.queue = amqp_text(k->name)};
        ok = ok && asker_ask(a, k, AMQP_QUEUE_DELETE_METHOD, &delete, out, now);
    }
    return ok;
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void queue_differs(struct queue *q, struct bytes why)
{
    q->differs = true;
    snprintf(q->why, sizeof q->why, "%.*s", BYTES_ARG(why));
}

static void queue_refuse(struct topology *t, struct queue *q, int code, struct bytes why,
                         int64_t now)
{
    int64_t wait = code == CTASK_EROUTE ? REFUSAL_WAIT_MOST
                                        : refusal_wait(q->refusals, code == CTASK_EUNAVAILABLE);
    q->refusals++;
    q->retry_at = q->closes < CLOSES_MAX ? now + wait : CLOCK_NEVER;
    q->code = code;
    q->differs = false;
    snprintf(q->why, sizeof q->why, "%.*s", BYTES_ARG(why));
    queue_move(t, q, QUEUE_REFUSED);
}

/* Nothing that a asked will be answered. */
static void asker_drop(struct topology *t, struct asker *a)
{
    struct question *k;
    list_each(k, &a->asked, struct question, link) {
        if (k->queue && k->queue->state == QUEUE_ASKED) queue_move(t, k->queue, QUEUE_UNKNOWN);
        if (k->what != ASK_DELETE) {
            question_free(k);
            continue;
        }
        list_remove(&k->link);
        list_append(&t->deletes, &k->link);
    }
}

static const char *asker_answer(struct topology *t, struct asker *a, amqp_method_number_t id,
                                const void *method, struct queue **verdict)
{
    static const amqp_method_number_t answers[] = {
        [ASK_LOOK] = AMQP_QUEUE_DECLARE_OK_METHOD,  [ASK_COMPARE] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [ASK_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD, [ASK_BIND] = AMQP_QUEUE_BIND_OK_METHOD,
        [ASK_DELETE] = AMQP_QUEUE_DELETE_OK_METHOD,
    };
    struct question *k = asker_first(a);
    if (!k) return "it answers what was not asked";
    if (id != answers[k->what]) return "it answers something else than was asked";
    struct queue *q = k->queue;
    bool last = k->what != ASK_QUEUE || (q && q->kind != QUEUE_TASK);
    bool compare = k->what == ASK_LOOK && q && queue_to_compare(q);
    if (q && id == AMQP_QUEUE_DECLARE_OK_METHOD) {
        const amqp_queue_declare_ok_t *ok = method;
        q->messages = ok->message_count;
        q->empty = ok->message_count == 0;
        q->consumers = ok->consumer_count;
    }
    question_free(k);
    if (!q || !last) return NULL;
    queue_move(t, q, compare ? QUEUE_FOUND : QUEUE_KNOWN);
    if (!compare) *verdict = q;
    return NULL;
}

/* The broker closed the channel: that is the answer to the first question. */
static void asker_closed(struct topology *t, struct asker *a, const amqp_channel_close_t *close,
                         int64_t now, struct queue **verdict)
{
    struct bytes why = bytes_amqp(close->reply_text);
    struct question *k = asker_first(a);
    struct queue *q = k ? k->queue : NULL;
    enum queue_state to = q ? refusal_state(q, k->what, close->reply_code, why) : QUEUE_UNKNOWN;
    if (q && to == QUEUE_UNKNOWN) queue_differs(q, why);
    if (k) question_free(k);
    if (q && to == QUEUE_REFUSED)
        queue_refuse(t, q, refusal_code(q, close->reply_code, why), why, now);
    else if (q)
        queue_move(t, q, to);
    if (to == QUEUE_KNOWN || to == QUEUE_REFUSED) *verdict = q;
    asker_drop(t, a);
    a->open = false;
}

const char *topology_answer(struct topology *t, uint16_t channel, amqp_method_number_t id,
                            const void *method, struct buf *out, int64_t now,
                            struct queue **verdict)
{
    amqp_channel_close_ok_t ok = {0};
    struct asker *a;
    *verdict = NULL;
    list_each(a, &t->askers, struct asker, link) {
        if (a->channel != channel) continue;
        if (id == AMQP_CHANNEL_OPEN_OK_METHOD) return NULL;
        if (id == AMQP_CHANNEL_CLOSE_METHOD) {
            asker_closed(t, a, method, now, verdict);
            return frame_method(out, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) ? NULL
                                                                                 : "out of memory";
        }
        if (!a->closing) return asker_answer(t, a, id, method, verdict);
        if (id == AMQP_CHANNEL_CLOSE_OK_METHOD) asker_free(a); /* what comes before is late */
        return NULL;
    }
    return "it answers where nothing was asked";
}

bool topology_overdue(struct topology *t, struct buf *out, int64_t now, struct queue **verdict)
{
    struct asker *a;
    *verdict = NULL;
    list_each(a, &t->askers, struct asker, link) {
        struct question *k = asker_first(a);
        if (!k || now - k->asked_at < ANSWER_LIMIT) continue;
        *verdict = k->queue;
        queue_unask(t, k->queue);
        question_free(k);
        asker_drop(t, a);
        if (*verdict)
            queue_refuse(t, *verdict, CTASK_EUNAVAILABLE,
                         bytes_text("the broker does not answer for it"), now);
        asker_close(a, out);
        return true;
    }
    return false;
}

void topology_wait_anew(struct topology *t, int64_t now)
{
    struct asker *a;
    struct question *k;
    list_each(a, &t->askers, struct asker, link)
        list_each(k, &a->asked, struct question, link) k->asked_at = now;
}

struct queue *topology_blamed(struct topology *t, bool alone, struct bytes why, int64_t now)
{
    struct queue *q;
    list_each(q, &t->asking, struct queue, link) queue_suspect(t, q, true);
    if (!alone || topology_asked(t, now) != 1) return NULL;
    q = list_last(&t->asking, struct queue, link);
    if (++q->closes < CLOSES_MAX) return NULL;
    queue_unask(t, q);
    queue_refuse(t, q, CTASK_EREFUSED, why, now);
    return q;
}

void topology_reset(struct topology *t)
{
    struct queue *q;
    struct asker *a;
    list_each(a, &t->askers, struct asker, link) {
        asker_drop(t, a);
        asker_free(a);
    }
    /* Whose question could not be put together for want of memory. */
    list_each(q, &t->asking, struct queue, link) queue_move(t, q, QUEUE_UNKNOWN);
    list_each(q, &t->known, struct queue, link) queue_move(t, q, QUEUE_UNKNOWN);
    list_each(q, &t->refused, struct queue, link) {
        if (q->closes < CLOSES_MAX) queue_move(t, q, QUEUE_UNKNOWN);
    }
}
