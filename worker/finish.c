/* finish.c - what a child has done becomes messages; when the broker has confirmed all of them, the
 * delivery is acknowledged. Nothing here looks into a body. */
#include "wire/child.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

/* Log lines about dead letters. */
#define KEPT_LINES 100
#define KEPT_TIME (60 * CLOCK_SECOND)
#define TRIES_MAX 6 /* of a message that the broker refuses: half a minute */
/* Under way for one task before it is not read from any more. */
#define FULL 1000
#define FULL_BYTES ((size_t)16 << 20)

/* ---- Publishing ------------------------------------------------------------------------------ */

/* A broker with small frames: properties that do not fit one are slimmed. */
static int publish_fitting(struct worker *w, const struct publish *p)
{
    size_t most = broker_props_max(w->out);
    if (p->props.n <= most) return broker_publish(w->out, p);
    struct publish slim = *p;
    struct buf props = {0};
    if (!message_copy(p->props, &(struct copy){.most = most}, &props)) abort();
    slim.props = buf_bytes(&props);
    int rc = broker_publish(w->out, &slim);
    buf_done(&props);
    return rc;
}

/* Names and properties were checked before, so the connection was closed on the way out, or there
 * is a bug. What was not sent is never confirmed: its delivery stays unsettled and comes back. */
static void publish(struct worker *w, struct request *r, const struct publish *p)
{
    int rc = publish_fitting(w, p);
    if (rc == CTASK_ENOMEM) abort();
    if (rc != CTASK_OK)
        log_error(TASK_FMT ": a message to %s cannot be sent, so the task is not acknowledged: %s",
                  TASK_ARG(r), p->routing_key, ctask_strerror(rc));
    w->gathered++;
    r->unconfirmed++;
    r->unconfirmed_bytes += p->body.n;
    w->unconfirmed_bytes += p->body.n;
}

/* p, as it was given to publish, is not under way any more. */
static void forget_one(struct worker *w, struct request *r, const struct publish *p)
{
    r->unconfirmed--;
    r->unconfirmed_bytes -= p->body.n;
    w->unconfirmed_bytes -= p->body.n;
}

void finish_repost(struct worker *w, const struct publish *p)
{
    struct request *r = p->cookie;
    forget_one(w, r, p);
    publish(w, r, p);
}

bool finish_is_full(const struct worker *w, const struct request *r)
{
    return r->unconfirmed >= FULL || r->unconfirmed_bytes >= FULL_BYTES ||
           (r->unconfirmed > 0 && w->unconfirmed_bytes >= UNCONFIRMED_BYTES_MAX);
}

/* Borrowed bytes as a string; "" for what is none, which the broker would refuse anyway. */
static const char *name_of(struct bytes b, char out[256])
{
    size_t n = b.n < 256 && (b.n == 0 || !memchr(b.p, 0, b.n)) ? b.n : 0;
    if (n) memcpy(out, b.p, n);
    out[n] = 0;
    return out;
}

/* Lengths were checked when it was read. */
static bool posted_sound(const struct posted *m)
{
    struct props ignored;
    return props_read(m->props, &ignored) == NULL;
}

/* True if the task of r may have been started before: what it sends may have been sent before. */
static bool is_flagged(const struct request *r)
{
    struct message m = message_peek(r->m->props);
    return message_started(&m, r->m->redelivered);
}

/* The delivery as a message to be sent. */
static struct publish original(struct request *r)
{
    return (struct publish){
        .exchange = "",
        .routing_key = r->m->routing_key,
        .props = r->m->props,
        .body = r->m->body,
        .spool = r->m->spool,
        .spool_size = r->m->body_size,
        .cookie = r,
    };
}

/* Whoever waits for that result waits in vain, and its address is the reason. */
static void not_sent(struct worker *w, const struct request *r, struct bytes address,
                     const char *why)
{
    unsigned more;
    char rest[THROTTLE_OTHERS];
    w->counters.results_unsent++;
    if (throttle_pass(&w->refusals, why, w->now, &more))
        log_warn(TASK_FMT ": its reply address \"%.*s\" %s, so no result is sent%s", TASK_ARG(r),
                 BYTES_ARG(address), why, throttle_others(more, rest));
}

/* The child has made no result of r: because none is wanted, or because of the address? */
static void no_result(struct worker *w, const struct request *r)
{
    struct message m = message_peek(r->m->props);
    struct bytes address = m.props.reply_to;
    if (address.n > 0 && !m.ignore_result && !message_reply_sane(address))
        not_sent(w, r, address, "is not one of replies (see --reply-pattern)");
}

static void post(struct worker *w, struct request *r, const struct posted *m)
{
    char exchange[256], routing_key[256], ensure[256];
    bool same = m->kind == POSTED_COPY || m->kind == POSTED_PART;
    if (same && request_is_orphan(r)) return; /* it is in the queue already */
    name_of(m->routing_key, routing_key);
    if (m->kind == POSTED_RESULT && consumer_owns(w, routing_key)) {
        not_sent(w, r, m->routing_key, "is a queue of tasks");
        return;
    }
    struct publish p = original(r);
    struct buf flagged = {0};
    p.kind = (uint8_t)m->kind;
    p.exchange = name_of(m->exchange, exchange);
    p.routing_key = routing_key;
    p.ensure = m->ensure.n ? name_of(m->ensure, ensure) : NULL;
    p.look = m->kind == POSTED_RESULT && *p.exchange == 0;
    if (m->delay > 0 && *exchange == 0 && !broker_undelayable(routing_key)) {
        p.ensure = routing_key;
        p.delay = m->delay;
    }
    p.props = m->props;
    if (m->kind != POSTED_COPY) {
        p.body = m->body;
        p.spool = -1;
    }
    if ((m->kind == POSTED_TASK || m->kind == POSTED_PART) && is_flagged(r)) {
        if (!message_copy(m->props, &(struct copy){.again = true}, &flagged)) abort();
        p.props = buf_bytes(&flagged);
    }
    publish(w, r, &p);
    buf_done(&flagged);
}

/* A copy of the delivery itself, changed as `how` says, back to where it came from. */
static void post_copy(struct worker *w, struct request *r, const struct copy *how, uint32_t delay)
{
    const char *queue = r->source->name;
    struct buf props = {0};
    struct copy fitting = *how;
    fitting.most = broker_props_max(w->out);
    if (!message_copy(r->m->props, &fitting, &props)) abort();
    post(w, r,
         &(struct posted){.kind = POSTED_COPY,
                          .exchange = bytes_text(""),
                          .routing_key = bytes_text(queue),
                          .ensure = bytes_text(queue),
                          .props = buf_bytes(&props),
                          .delay = delay});
    buf_done(&props);
}

/* Anybody can send any number of them, or lead those in the dead queue back to where they came
 * from. Each of them has the reason in its headers. */
static void tell_kept(struct worker *w, const struct request *r, const struct fault *why,
                      const char *run)
{
    char rest[THROTTLE_OTHERS];
    if (w->kept_lines == 0 || w->now - w->kept_since >= KEPT_TIME) {
        w->kept_since = w->now;
        w->kept_lines = 0;
    }
    if (w->kept_lines == KEPT_LINES) {
        w->kept_left_out++;
        return;
    }
    w->kept_lines++;
    log_warn(TASK_FMT " is kept in %s: %s: %s%s%s", TASK_ARG(r), r->source->dead, why->type,
             why->text, run, throttle_others(w->kept_left_out, rest));
    w->kept_left_out = 0;
}

/* Keeps a message, the delivery itself or one that follows from it, in <queue>.dead. run: how it
 * ran, for the log. */
static void keep_dead(struct worker *w, struct request *r, const struct fault *why,
                      const struct death *death, const struct publish *message, const char *run)
{
    struct buf props = {0};
    struct publish p = *message;
    w->counters.buried++;
    tell_kept(w, r, why, run);
    struct copy how = {.dead = why,
                       .dead_by = w->node,
                       .dead_queue = r->source->name,
                       .body_dropped = p.spool < 0 && p.body.n == 0 && p.spool_size > 0,
                       .death = death,
                       .most = broker_props_max(w->out)};
    if (!message_copy(p.props, &how, &props)) abort();
    p.kind = POSTED_DEAD;
    p.tries = 0;
    p.exchange = "";
    p.routing_key = p.ensure = r->source->dead;
    p.props = buf_bytes(&props);
    publish(w, r, &p);
    buf_done(&props);
}

/* ---- The end of a job ------------------------------------------------------------------------ */

static void settle(struct worker *w, struct request *r)
{
    r->finished = true;
    request_move(w, r, list_empty(&r->refused) ? REQUEST_SETTLING : REQUEST_REFUSED);
    request_settle(w, r);
}

static void count_outcome(struct worker *w, const struct done *d)
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
    if (!done_read(payload, r->m->body.n, &d)) return false;
    struct bytes all = d.posted;
    while (posted_next(&all, &m) == 1)
        if (!posted_sound(&m)) return false; /* nothing of it was published yet */
    bool answered = false;
    while (posted_next(&d.posted, &m) == 1) {
        answered |= m.kind == POSTED_RESULT;
        post(w, r, &m);
    }
    if (!answered) no_result(w, r);
    if (d.state == DONE_DEAD) {
        struct publish delivery = original(r);
        bool died = r->burial && r->burial->death.attempts > 0;
        char run[RUN_WORDS];
        keep_dead(w, r, &d.fault, died ? &r->burial->death : NULL, &delivery,
                  r->burial ? "" : report_run(r, &d, run));
    }
    count_outcome(w, &d);
    report_outcome(r, &d);
    if (!r->burial) window_cost(w, jobs_cost(w, r, d.cost));
    settle(w, r);
    return true;
}

bool finish_publish(struct worker *w, struct request *r, struct bytes payload)
{
    struct posted m;
    if (!publish_read(payload, &m) || !posted_sound(&m)) return false;
    post(w, r, &m);
    gather_end(w); /* its task may run for long yet */
    return true;
}

/* ---- Messages that go round ------------------------------------------------------------------ */

/* A copy takes r's place. Until the broker has confirmed the copy, r may lose its connection and
 * return to its queue: then the copy is recalled, or the task would run twice. A settled r cannot
 * return. */
static void move_round(struct worker *w, struct request *r)
{
    r->finished = true;
    request_move(w, r, request_is_acked(r) ? REQUEST_SETTLING : REQUEST_MOVING);
    request_settle(w, r);
}

void finish_pass_on(struct worker *w, struct request *r, bool counts, uint32_t delay)
{
    int64_t rounds = message_peek(r->m->props).unknown;
    int64_t now = counts || rounds == 0 ? rounds + 1 : rounds;
    w->counters.passed_on++;
    post_copy(w, r, &(struct copy){.again = is_flagged(r), .unknown = now}, delay);
    move_round(w, r);
}

void finish_again(struct worker *w, struct request *r, const struct copy *how)
{
    struct copy marked = *how;
    marked.again = true;
    w->counters.passed_on++;
    post_copy(w, r, &marked, 0);
    move_round(w, r);
}

void finish_give_back(struct worker *w, struct request *r)
{
    finish_again(w, r, &(struct copy){.attempt = message_peek(r->m->props).attempt + 1});
}

void finish_delay(struct worker *w, struct request *r, uint32_t delay)
{
    w->counters.passed_on++;
    post_copy(w, r, &(struct copy){.again = is_flagged(r)}, delay);
    move_round(w, r);
}

/* ---- What the broker answered ---------------------------------------------------------------- */

void finish_forget(struct worker *w, struct request *r)
{
    repost_forget(w, r);
    broker_recall(w->out, r);
    w->unconfirmed_bytes -= r->unconfirmed_bytes;
}

/* True if p is r itself, on its way back to its queue. */
static bool is_own_copy(const struct request *r, const struct publish *p)
{
    return p->exchange[0] == 0 && strcmp(p->routing_key, r->source->name) == 0 &&
           bytes_equal(message_peek(p->props).id, r->id);
}

/* A message that the broker refuses again and again is kept beside the one that it follows from. If
 * it is that one, its task ends here, and its caller is told. A dead letter has no such place: it
 * is tried for ever, and its delivery stays unsettled. */
static bool give_up(struct worker *w, struct request *r, const struct broker_event *ev)
{
    const struct publish *p = ev->publish;
    bool patient = p->kind == POSTED_RESULT || p->tries + 1 < TRIES_MAX ||
                   ev->error.code == CTASK_EUNAVAILABLE; /* it comes back */
    if (p->kind == POSTED_DEAD || (patient && !ev->refused)) return false;
    struct fault why;
    fault_set(&why, "DeliveryError", "to \"%s\": %s", p->routing_key, ev->error.text);
    if (r->finished && is_own_copy(r, p) && !request_is_orphan(r)) {
        r->finished = false;
        request_bury(w, r, STATE_FAILURE, &why);
    } else {
        w->counters.results_refused += p->kind == POSTED_RESULT;
        keep_dead(w, r, &why, NULL, p, "");
    }
    return true;
}

/* What the broker cannot delay waits in a worker: here if it was to be moved, else in its queue's,
 * where its eta holds it. A delay queue may have a marked copy all the same: it runs there too. */
static void send_undelayed(struct worker *w, struct request *r, const struct broker_event *ev)
{
    if (r->state == REQUEST_MOVING && is_own_copy(r, ev->publish)) {
        forget_one(w, r, ev->publish);
        r->finished = false;
        if (message_peek(ev->publish->props).again) r->m->redelivered = true;
        delay_failed(w, r, &ev->error);
        return;
    }
    struct publish at_once = *ev->publish;
    if (!w->undelayed_told)
        log_warn(TASK_FMT ": %s; what this and other tasks send for later goes without delay and "
                          "waits in a worker",
                 TASK_ARG(r), ev->error.text);
    w->undelayed_told = true;
    at_once.delay = 0;
    finish_repost(w, &at_once);
}

/* A result came back: there is no queue of that name. */
static void nobody_asks(struct worker *w, const struct request *r, const struct broker_event *ev)
{
    unsigned more;
    char rest[THROTTLE_OTHERS];
    w->counters.results_unroutable++;
    if (throttle_pass(&w->refusals, "nobody asks", w->now, &more))
        log_info(TASK_FMT ": nobody asks for its result any more: %s%s", TASK_ARG(r),
                 ev->error.text, throttle_others(more, rest));
}

static void take_outcome(struct worker *w, const struct broker_event *ev)
{
    struct request *r = ev->cookie;
    if (ev->error.code != CTASK_OK) {
        if (ev->publish->delay > 0) {
            send_undelayed(w, r, ev);
            return;
        }
        if (ev->error.code == CTASK_EROUTE && ev->publish->kind == POSTED_RESULT) {
            nobody_asks(w, r, ev);
        } else if (!give_up(w, r, ev)) {
            if (repost_later(w, ev)) return;
        }
    }
    if (ev->publish->delay > 0) w->undelayed_told = false;
    forget_one(w, r, ev->publish);
    request_settle(w, r);
}

void finish_read(struct worker *w)
{
    struct broker_event ev;
    while (broker_next(w->out, &ev)) {
        switch (ev.kind) {
        case BROKER_PUBLISHED:
            if (!lease_published(w, &ev) && !policy_seen(w, &ev)) take_outcome(w, &ev);
            break;
        case BROKER_QUEUE:
            if (!lease_queue_seen(w, &ev)) consumer_dead_queue_seen(w, &ev);
            break;
        case BROKER_DELAYS: delay_seen(w, &ev); break;
        case BROKER_DIFFERS:
            if (!consumer_owns(w, ev.queue)) log_warn("%s", ev.error.text); /* else `in` tells */
            break;
        case BROKER_BLOCKED:
            log_warn("the broker takes no messages (%s): results wait", ev.error.text);
            break;
        case BROKER_UNBLOCKED: log_info("the broker takes messages again"); break;
        case BROKER_DOWN:
            lease_doubt(w);
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
