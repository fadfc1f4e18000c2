/* repost.c - messages that the broker did not take: each is sent again after a while, which doubles
 * from a second to a minute. Meanwhile they count as unconfirmed, so the delivery that they follow
 * from stays unsettled. Its request is REFUSED, and a further consumer takes others (window.c).
 *
 * A result is not tried for ever: when it was refused twice and its queue is there and has
 * messages, it is counted and dropped. A caller whose queue is full has more results than it reads.
 * A quorum queue that chooses a new leader refuses messages too, and seems to be empty: then a
 * result is tried for about half a minute. While the node of its queue is down it is sent again
 * for as long as a reply queue may be there; when the worker is full of such messages, only for a
 * little longer than a client tries a queue whose node is down. */
#include "wire/child.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WAIT_FIRST CLOCK_SECOND
#define WAIT_MOST (60 * CLOCK_SECOND)
#define WAIT_FOR_NODE (4 * CLOCK_SECOND) /* its queue is there again as soon as the node is */
#define RESULT_TRIES 2
#define RESULT_TRIES_EMPTY 10
#define RESULT_TIME (30 * 60 * CLOCK_SECOND) /* then a reply queue has expired */
/* Then a client has given its queue up: 60 s after it has noticed that the queue's node is down. */
#define RESULT_TIME_FULL (90 * CLOCK_SECOND)

struct repost {
    struct heap_node due; /* in worker.reposts */
    struct list link;     /* of its request */
    struct publish p;
    struct buf bytes; /* what p points to, but for a body that its request has */
};

/* Half of the wait is random, so that not all of them come at once. */
static int64_t wait_after(unsigned tries, int64_t most)
{
    uint16_t random = 0;
    int64_t wait = tries < 7 ? WAIT_FIRST << (tries - 1) : most;
    if (wait > most) wait = most;
    (void)!getrandom(&random, sizeof random, 0);
    return wait / 2 + wait / 2 * random / UINT16_MAX;
}

/* ---- One of them ----------------------------------------------------------------------------- */

/* Appends n bytes and returns where they will be, as an offset: the buffer may still move. */
static size_t keep(struct buf *b, const void *p, size_t n)
{
    size_t at = b->len;
    if (!buf_append(b, p, n)) abort();
    return at;
}

static size_t keep_text(struct buf *b, const char *s)
{
    return s ? keep(b, s, strlen(s) + 1) : 0;
}

/* A dead letter or a copy: its body is the delivery's own. */
static bool shares_body(const struct publish *p, const struct request *r)
{
    return (p->kind == POSTED_DEAD || p->kind == POSTED_COPY) && bytes_equal(p->body, r->m->body);
}

static void copy(struct repost *again, const struct publish *p)
{
    const struct request *r = p->cookie;
    struct buf *b = &again->bytes;
    bool shared = shares_body(p, r);
    size_t exchange = keep_text(b, p->exchange), key = keep_text(b, p->routing_key);
    size_t ensure = keep_text(b, p->ensure);
    size_t props = keep(b, p->props.p, p->props.n);
    size_t body = shared ? 0 : keep(b, p->body.p, p->body.n);
    const uint8_t *at = buf_head(b);
    again->p = *p;
    again->p.exchange = (const char *)at + exchange;
    again->p.routing_key = (const char *)at + key;
    if (p->ensure) again->p.ensure = (const char *)at + ensure;
    again->p.props = bytes_of(at + props, p->props.n);
    again->p.body = shared ? r->m->body : bytes_of(at + body, p->body.n);
}

static size_t weight(const struct publish *p)
{
    return p->props.n + p->body.n;
}

static void repost_add(struct worker *w, const struct publish *p, int64_t most)
{
    struct request *r = p->cookie;
    struct repost *again = calloc(1, sizeof *again);
    if (!again) abort();
    copy(again, p);
    if (again->p.tries < UINT8_MAX) again->p.tries++;
    again->due.at = w->now + wait_after(again->p.tries, most);
    if (!heap_add(&w->reposts, &again->due)) abort();
    list_append(&r->refused, &again->link);
    w->unconfirmed_bytes -= p->body.n; /* it is not under way: others may leave */
    w->refused_bytes += weight(p);
}

/* It waits no more; its bytes live on. */
static void repost_take(struct worker *w, struct repost *again)
{
    heap_remove(&w->reposts, &again->due);
    list_remove(&again->link);
    w->refused_bytes -= weight(&again->p);
    w->unconfirmed_bytes += again->p.body.n;
}

static void repost_free(struct repost *again)
{
    buf_done(&again->bytes);
    free(again);
}

/* ---- What is said of them -------------------------------------------------------------------- */

static void tell_refused(struct worker *w, const struct publish *p, const struct ctask_error *why)
{
    const struct request *r = p->cookie;
    unsigned more;
    char rest[THROTTLE_OTHERS];
    if (throttle_pass(&w->refusals, p->routing_key, w->now, &more))
        log_warn(TASK_FMT ": %s; trying again%s", TASK_ARG(r), why->text,
                 throttle_others(more, rest));
}

static void tell_full(struct worker *w)
{
    unsigned more;
    if (!repost_full(w)) return;
    if (throttle_pass(&w->refusals, "full", w->now, &more))
        log_error("%zu tasks wait for messages that the broker does not take (%zu KiB): no more "
                  "tasks are taken until it does",
                  w->count[REQUEST_REFUSED], w->refused_bytes >> 10);
}

static void tell_dropped(struct worker *w, const struct publish *p, const char *why)
{
    const struct request *r = p->cookie;
    unsigned more;
    char topic[300], rest[THROTTLE_OTHERS];
    snprintf(topic, sizeof topic, "result %s", p->routing_key);
    if (throttle_pass(&w->refusals, topic, w->now, &more))
        log_warn(TASK_FMT ": its result is dropped: %s%s", TASK_ARG(r), why,
                 throttle_others(more, rest));
}

/* ---- All of them ----------------------------------------------------------------------------- */

static bool past_limits(const struct worker *w, size_t more)
{
    return w->count[REQUEST_REFUSED] >= REFUSED_MAX || w->refused_bytes + more >= REFUSED_BYTES_MAX;
}

bool repost_full(const struct worker *w)
{
    return past_limits(w, 0);
}

/* A result that nobody will take. One with `look` that was not accepted had its queue looked at: it
 * is there. */
static bool is_unwanted(const struct worker *w, const struct broker_event *ev)
{
    const struct publish *p = ev->publish;
    const struct request *r = p->cookie;
    int tries = ev->empty ? RESULT_TRIES_EMPTY : RESULT_TRIES;
    bool full = p->look && ev->error.code == CTASK_ENACK && p->tries + 1 >= tries;
    bool crowded = r->state == REQUEST_REFUSED && past_limits(w, weight(p));
    int64_t most = crowded ? RESULT_TIME_FULL : RESULT_TIME;
    return p->kind == POSTED_RESULT && (full || w->now - r->since > most);
}

bool repost_later(struct worker *w, const struct broker_event *ev)
{
    const struct publish *p = ev->publish;
    const struct ctask_error *why = &ev->error;
    struct request *r = p->cookie;
    if (is_unwanted(w, ev)) {
        tell_dropped(w, p, why->text);
        w->counters.results_dropped++;
        return false;
    }
    tell_refused(w, p, why);
    bool soon = why->code == CTASK_EUNAVAILABLE || (p->look && ev->empty);
    repost_add(w, p, soon ? WAIT_FOR_NODE : WAIT_MOST);
    bool done = r->state == REQUEST_SETTLING;
    /* An orphan's delivery is back in its queue, and another run answers for it. */
    bool leaves = w->drain > DRAIN_RUN || request_is_orphan(r);
    if (leaves && !request_is_acked(r) && (done || r->state == REQUEST_MOVING)) {
        request_give_back(w, r);
    } else if (done) {
        request_move(w, r, REQUEST_REFUSED);
        tell_full(w);
    }
    return true;
}

int64_t repost_next(const struct worker *w)
{
    const struct heap_node *n = heap_first(&w->reposts);
    return n ? n->at : CLOCK_NEVER;
}

void repost_due(struct worker *w)
{
    struct heap_node *n;
    while ((n = heap_first(&w->reposts)) && n->at <= w->now) {
        struct repost *again = container_of(n, struct repost, due);
        repost_take(w, again);
        finish_repost(w, &again->p);
        repost_free(again);
    }
}

void repost_forget(struct worker *w, struct request *r)
{
    struct repost *again;
    list_each(again, &r->refused, struct repost, link) {
        repost_take(w, again);
        repost_free(again);
    }
}
