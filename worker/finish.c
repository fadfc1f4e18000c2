/* finish.c - what a child has done becomes messages; when the broker has confirmed all of them, the
 * delivery is acknowledged (design decision 4). Nothing here looks into a body. */
#include "task/run.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

#define REPOST_AFTER CLOCK_SECOND
#define FULL 1000 /* of one task */
#define FULL_BYTES ((size_t)16 << 20)

/* ---- Publishing ------------------------------------------------------------------------------ */

/* A message that the broker did not take; r waits for it. */
struct repost {
    struct list link;
    int64_t due;
    struct publish p;
    struct buf bytes; /* what p points to */
};

static void publish(struct worker *w, struct request *r, const struct publish *p)
{
    int rc = broker_publish(w->out, p);
    if (rc == CTASK_ENOMEM) abort();
    if (rc != CTASK_OK) {
        /* Names and properties were checked before; what is left is a bug, and silence is worse. */
        log_error("task id=%.*s: a message to %s cannot be sent: %s", BYTES_ARG(r->id),
                  p->routing_key, ctask_strerror(rc));
        return;
    }
    r->unconfirmed++;
    r->unconfirmed_bytes += p->body.n;
    w->unconfirmed_bytes += p->body.n;
}

/* p, as it was given to publish, is not under way any more. */
static void arrived(struct worker *w, struct request *r, const struct publish *p)
{
    r->unconfirmed--;
    r->unconfirmed_bytes -= p->body.n;
    w->unconfirmed_bytes -= p->body.n;
}

bool finish_is_full(const struct request *r)
{
    return r->unconfirmed >= FULL || r->unconfirmed_bytes >= FULL_BYTES;
}

/* Borrowed bytes as a string; "" for what is none, which the broker would refuse anyway. */
static const char *name_of(struct bytes b, char out[256])
{
    size_t n = b.n < 256 && (b.n == 0 || !memchr(b.p, 0, b.n)) ? b.n : 0;
    if (n) memcpy(out, b.p, n);
    out[n] = 0;
    return out;
}

static bool posted_sound(const struct posted *m)
{
    struct props ignored;
    return m->exchange.n < 256 && m->routing_key.n < 256 && m->ensure.n < 256 &&
           props_read(m->props, &ignored) == NULL;
}

/* True if the task of r may have been started before: what it sends may have been sent before. */
static bool is_flagged(const struct request *r)
{
    struct message m = message_peek(r->m->props);
    return message_started(&m, r->m->redelivered);
}

static void post(struct worker *w, struct request *r, const struct posted *m)
{
    char exchange[256], routing_key[256], ensure[256];
    name_of(m->routing_key, routing_key);
    if (m->kind == POSTED_RESULT && consumer_owns(w, routing_key)) {
        log_warn("task id=%.*s: its reply address %s is a queue of tasks, no result is sent",
                 BYTES_ARG(r->id), routing_key);
        w->counters.results_refused++;
        return;
    }
    bool copy = m->kind == POSTED_COPY;
    struct buf flagged = {0};
    struct bytes props = m->props;
    if (m->kind == POSTED_TASK && is_flagged(r)) {
        if (!message_copy(m->props, &(struct copy){.again = true}, &flagged)) abort();
        props = buf_bytes(&flagged);
    }
    publish(w, r,
            &(struct publish){
                .exchange = name_of(m->exchange, exchange),
                .routing_key = routing_key,
                .ensure = m->ensure.n ? name_of(m->ensure, ensure) : NULL,
                .props = props,
                .body = copy ? r->m->body : m->body,
                .spool = copy ? r->m->spool : -1,
                .spool_size = r->m->body_size,
                .cookie = r,
            });
    buf_done(&flagged);
}

/* A copy of the delivery itself, changed as `how` says, to `queue`. */
static void post_copy(struct worker *w, struct request *r, const struct copy *how,
                      const char *queue)
{
    struct buf props = {0};
    if (!message_copy(r->m->props, how, &props)) abort();
    post(w, r,
         &(struct posted){.kind = POSTED_COPY,
                          .exchange = bytes_text(""),
                          .routing_key = bytes_text(queue),
                          .ensure = bytes_text(queue),
                          .props = buf_bytes(&props)});
    buf_done(&props);
}

static void keep_dead(struct worker *w, struct request *r, const struct fault *why)
{
    w->counters.buried++;
    log_warn("task id=%.*s is kept in %s: %s: %s", BYTES_ARG(r->id), r->source->dead, why->type,
             why->text);
    post_copy(w, r, &(struct copy){.dead = why, .dead_by = w->node, .dead_queue = r->source->name},
              r->source->dead);
}

/* ---- The end of a job ------------------------------------------------------------------------ */

static void settling(struct worker *w, struct request *r)
{
    r->finished = true;
    request_move(w, r, REQUEST_SETTLING);
    request_settle(w, r);
}

static void count(struct worker *w, const struct done *d)
{
    switch (d->state) {
    case DONE_SUCCESS: w->counters.succeeded++; break;
    case DONE_RETRY: w->counters.retried++; break;
    case DONE_FAILURE:
    case DONE_DEAD: w->counters.failed++; break;
    }
}

bool finish_done(struct worker *w, struct request *r, struct bytes payload)
{
    struct done d;
    struct posted m;
    if (!done_read(payload, &d)) return false;
    struct bytes all = d.posted;
    int rc;
    while ((rc = posted_next(&all, &m)) == 1)
        if (!posted_sound(&m)) return false;
    if (rc < 0) return false; /* nothing of it was published yet */

    while (posted_next(&d.posted, &m) == 1) post(w, r, &m);
    if (d.state == DONE_DEAD) keep_dead(w, r, &d.fault);
    count(w, &d);
    if (!r->burial) {
        window_ran(w, d.runtime);
        log_debug("task id=%.*s %s in %.6f s", BYTES_ARG(r->id), r->task->name, d.runtime);
    }
    settling(w, r);
    return true;
}

bool finish_publish(struct worker *w, struct request *r, struct bytes payload)
{
    struct posted m;
    if (!publish_read(payload, &m) || !posted_sound(&m)) return false;
    post(w, r, &m);
    return true;
}

/* A burial costs one child at most: if that one dies too, the result is made here, from the head
 * alone. */
static void bury_here(struct worker *w, struct request *r)
{
    struct buf frame = {0};
    enum child_frame_type type;
    struct bytes payload;
    struct job j = {.queue = bytes_text(r->m->queue),
                    .props = r->m->props,
                    .state = r->burial->state,
                    .fault = r->burial->fault};
    if (!task_bury(&j, &frame) || child_frame_next(buf_bytes(&frame), &type, &payload) != 1 ||
        !finish_done(w, r, payload))
        bug("a burial that cannot be read");
    buf_done(&frame);
}

/* Its delivery is back in the queue already. */
static bool is_orphan(const struct request *r)
{
    return r->window == 0 && r->m->delivery.generation != 0;
}

void finish_death(struct worker *w, struct request *r, const struct fault *why)
{
    if (is_orphan(r))
        request_drop(w, r);
    else if (w->drain >= DRAIN_NOW)
        request_give_back(w, r);
    else if (r->burial)
        bury_here(w, r);
    else
        request_bury(w, r, STATE_FAILURE, why);
}

/* ---- Messages that go round ------------------------------------------------------------------ */

void finish_pass_on(struct worker *w, struct request *r)
{
    int64_t times = message_peek(r->m->props).unknown;
    w->counters.passed_on++;
    post_copy(w, r, &(struct copy){.unknown = times + 1}, r->source->name);
    settling(w, r);
}

void finish_again(struct worker *w, struct request *r, const struct message *m)
{
    w->counters.passed_on++;
    post_copy(w, r, &(struct copy){.again = true, .attempt = m->attempt + 1}, r->source->name);
    settling(w, r);
}

/* ---- What the broker answered ---------------------------------------------------------------- */

static bool is_result(const struct request *r, const struct publish *p)
{
    return p->exchange[0] == 0 && bytes_is(message_peek(r->m->props).reply_to, p->routing_key);
}

/* Not taken: again in a second, for as long as it needs. The delivery stays unsettled meanwhile. */
static void repost_later(struct worker *w, const struct publish *p)
{
    struct repost *again = calloc(1, sizeof *again);
    if (!again) abort();
    struct buf *b = &again->bytes;
    size_t ex = 0, rk, en, props, body;
    buf_append(b, p->exchange, strlen(p->exchange) + 1);
    rk = b->len;
    buf_append(b, p->routing_key, strlen(p->routing_key) + 1);
    en = b->len;
    if (p->ensure) buf_append(b, p->ensure, strlen(p->ensure) + 1);
    props = b->len;
    buf_bytes_append(b, p->props);
    body = b->len;
    buf_bytes_append(b, p->body);
    if (b->failed) abort();
    const uint8_t *at = buf_head(b);
    again->p = *p;
    again->p.exchange = (const char *)at + ex;
    again->p.routing_key = (const char *)at + rk;
    if (p->ensure) again->p.ensure = (const char *)at + en;
    again->p.props = bytes_of(at + props, p->props.n);
    again->p.body = bytes_of(at + body, p->body.n);
    again->due = w->now + REPOST_AFTER;
    list_append(&w->reposts, &again->link);
}

int64_t finish_next(const struct worker *w)
{
    return list_empty(&w->reposts) ? CLOCK_NEVER
                                   : list_first(&w->reposts, struct repost, link)->due;
}

void finish_reposts(struct worker *w)
{
    struct repost *again;
    list_each(again, &w->reposts, struct repost, link) {
        if (again->due > w->now) return;
        struct request *r = again->p.cookie;
        list_remove(&again->link);
        arrived(w, r, &again->p);
        publish(w, r, &again->p);
        buf_done(&again->bytes);
        free(again);
    }
}

void finish_forget(struct worker *w, struct request *r)
{
    struct repost *again;
    list_each(again, &w->reposts, struct repost, link) {
        if (again->p.cookie != r) continue;
        list_remove(&again->link);
        buf_done(&again->bytes);
        free(again);
    }
    broker_recall(w->out, r);
    w->unconfirmed_bytes -= r->unconfirmed_bytes;
}

static void published(struct worker *w, const struct broker_event *ev)
{
    struct request *r = ev->cookie;
    if (ev->error.code != CTASK_OK) {
        bool asker_gone = ev->error.code == CTASK_EROUTE && is_result(r, ev->publish);
        if (!asker_gone) {
            log_warn("task id=%.*s: %s; trying again", BYTES_ARG(r->id), ev->error.text);
            repost_later(w, ev->publish);
            return;
        }
        w->counters.results_unroutable++;
        log_debug("task id=%.*s: nobody asks for its result any more", BYTES_ARG(r->id));
    }
    arrived(w, r, ev->publish);
    request_settle(w, r);
}

void finish_read(struct worker *w)
{
    struct broker_event ev;
    while (broker_next(w->out, &ev)) {
        switch (ev.kind) {
        case BROKER_PUBLISHED: published(w, &ev); break;
        case BROKER_QUEUE: consumer_dead_queue_seen(w, &ev); break;
        case BROKER_BLOCKED:
            log_warn("the broker takes no messages (%s): results wait", ev.error.text);
            break;
        case BROKER_UNBLOCKED: log_info("the broker takes messages again"); break;
        case BROKER_DOWN:
            if (w->drain < DRAIN_BYE && w->was_up)
                log_warn("connection for results lost: %s; trying again", ev.error.text);
            break;
        case BROKER_UP:
        case BROKER_MESSAGE:
        case BROKER_CONSUMING:
        case BROKER_CANCELLED:
        case BROKER_STALE: break;
        }
    }
}
