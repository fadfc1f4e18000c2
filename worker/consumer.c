/* consumer.c - deliveries become requests. Everything that can be decided from a message's head is
 * decided here, without its body: whether it can be read, is known, expired, too big, or has to
 * wait. */
#include "task/builtin.h"
#include "worker/limits.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

#define SKIPPED_WAIT CLOCK_SECOND /* for a skipped message that was given back to come again */
#define HAND_OUTS_MAX 10          /* of a quorum queue's delivery limit of 20 */
#define DEAD_WARNING 10000        /* messages in <queue>.dead */

/* ---- Queues ---------------------------------------------------------------------------------- */

void consumer_start(struct worker *w)
{
    const struct options *o = w->options;
    w->source_count = o->queue_count;
    w->sources = calloc(o->queue_count, sizeof *w->sources);
    if (!w->sources) abort();
    for (size_t i = 0; i < o->queue_count; i++) {
        struct source *s = &w->sources[i];
        s->name = strdup(o->queues[i]);
        if (!s->name || asprintf(&s->dead, "%s.dead", s->name) < 0) abort();
        s->others = s->dead_created = -1;
        if (broker_queue(w->in, s->name, QUEUE_TASK) == CTASK_ENOMEM ||
            broker_queue(w->out, s->dead, QUEUE_DEAD) == CTASK_ENOMEM)
            abort();
    }
}

struct source *consumer_source(const struct worker *w, const char *queue)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (strcmp(w->sources[i].name, queue) == 0) return &w->sources[i];
    return NULL;
}

bool consumer_owns(const struct worker *w, const char *queue)
{
    return consumer_source(w, queue) != NULL;
}

/* Every ctask worker leaves <queue>.dead behind. A queue that has consumers and no such companion
 * is somebody else's, and they may reject what they do not know; or somebody has deleted it. */
static void warn_of_strangers(const struct source *s)
{
    if (s->others > 0 && s->dead_created == 1)
        log_warn("queue %s has %d other consumers, and there was no %s, which every ctask worker "
                 "declares. Unless somebody has deleted it, they are not ctask workers: they and "
                 "this worker take tasks from each other, so all of them must know all tasks in "
                 "it (give the tasks of this worker a queue of their own with -Q)",
                 s->name, s->others, s->dead);
}

#define SAFE_CONSUMERS 32 /* of a quorum queue before RabbitMQ 4.0: docs/faults.md, H72 */

static void warn_of_many_consumers(const struct worker *w, const struct source *s, unsigned others)
{
    unsigned major = broker_rabbitmq_major(w->in);
    if (w->options->queue_type != QUEUE_QUORUM || major == 0 || major >= 4) return;
    if (others >= SAFE_CONSUMERS)
        log_warn("queue %s has %u other consumers: RabbitMQ before 4.0 may lose tasks of a quorum "
                 "queue with more than %d when a node of its cluster is lost; have fewer workers "
                 "on it, or RabbitMQ 4",
                 s->name, others, SAFE_CONSUMERS);
}

/* Ready is who gets tasks, and has a place for those that cannot be run. */
static void announce(struct worker *w)
{
    bool all = !w->announced;
    for (size_t i = 0; i < w->source_count; i++)
        all = all && w->sources[i].consuming && w->sources[i].dead_created >= 0;
    if (!all) return;
    w->announced = true;
    log_info("ready");
}

/* `in` looked at a task queue, or `out` at its dead letters. */
static void queue_seen(struct worker *w, const struct broker_event *ev, bool dead)
{
    bool refused = ev->error.code != CTASK_OK;
    if (refused) log_error("queue %s: %s", ev->queue, ev->error.text);
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        if (strcmp(dead ? s->dead : s->name, ev->queue) != 0) continue;
        if (dead && refused && s->dead_created < 0) s->dead_created = 0;
        if (!dead && !ev->leaderless) s->answered = w->now;
        if (refused) continue;
        if (dead && ev->messages > DEAD_WARNING)
            log_warn("queue %s holds %u dead letters: look at them, then purge it", s->dead,
                     ev->messages);
        if (!dead && !ev->leaderless) delay_bind(w, s);
        bool first = s->others < 0 || s->dead_created < 0;
        if (dead && s->dead_created < 0) s->dead_created = ev->created;
        if (!dead && s->others < 0) warn_of_many_consumers(w, s, ev->consumers);
        if (!dead && s->others < 0) s->others = (int)ev->consumers;
        if (!dead && !ev->leaderless) s->shared = ev->consumers > 0;
        if (!dead && !ev->leaderless) s->empty = ev->messages == 0;
        if (!dead) idle_seen(w, s, ev);
        if (first && s->others >= 0 && s->dead_created >= 0) warn_of_strangers(s);
    }
    announce(w);
}

void consumer_dead_queue_seen(struct worker *w, const struct broker_event *ev)
{
    queue_seen(w, ev, true);
}

/* ---- Large bodies ---------------------------------------------------------------------------- */

static bool is_large(const struct worker *w, const struct request *r)
{
    return r->m->body_size > w->options->body_max;
}

/* A quorum queue drops a message that was handed out too often; its copy starts a new count. */
static bool handed_out_too_often(const struct message *m)
{
    return m->delivery_count >= HAND_OUTS_MAX;
}

/* Where there is no file on disk for large bodies: once, not for each. */
static void spool_tell(struct worker *w, const struct envelope *e)
{
    if (e->spool_error && !w->spool_told)
        log_warn("bodies over --body-limit cannot be written to a file in TMPDIR (or /tmp): %s; up "
                 "to %d MiB they are held in memory, one at a time, and larger ones are dropped; "
                 "set TMPDIR to a directory with room",
                 strerror(e->spool_error), (int)(SPOOL_MEMORY_MAX >> 20));
    w->spool_told = e->spool_error != 0;
}

/* Its body was read past since another one had the spool: it can come again. */
static bool is_skipped(struct worker *w, struct request *r, const struct message *m)
{
    const struct envelope *e = r->m;
    if (!is_large(w, r)) return false;
    if (e->spool < 0 && !e->spool_error) return !handed_out_too_often(m);
    spool_tell(w, e);
    return false;
}

static bool too_large(const struct worker *w, const struct request *r, struct fault *why)
{
    const struct envelope *e = r->m;
    const char *lost =
        e->spool_error ? strerror(e->spool_error) : "the file for large bodies was never free";
    return fault_set(why, "MessageTooLarge",
                     "the message is %llu bytes long, this worker takes %llu (--body-limit)%s%s",
                     (unsigned long long)e->body_size, (unsigned long long)w->options->body_max,
                     e->spool < 0 ? "; its body is not kept: " : "", e->spool < 0 ? lost : "");
}

/* ---- A delivery ------------------------------------------------------------------------------ */

/* What is wrong with it, if anything, that no worker can mend. */
static bool head_sound(const struct worker *w, const struct request *r, struct message *m,
                       struct fault *why)
{
    if (!message_read(r->m->props, m, why)) return false;
    if (is_large(w, r)) return too_large(w, r, why);
    return true;
}

bool consumer_expired(struct worker *w, struct request *r)
{
    struct fault why;
    if (r->burial || r->expires <= 0 || r->expires >= clock_wall()) return false;
    fault_set(&why, "TaskRevokedError", "expired");
    request_bury(w, r, STATE_REVOKED, &why);
    return true;
}

static void consumer_accept(struct worker *w, struct envelope *e)
{
    if (policy_asks(e)) {
        broker_ack(w->in, e->delivery);
        broker_recycle(w->in, e);
        return;
    }
    struct source *s = consumer_source(w, e->queue);
    if (!s) bug("a delivery of a queue that is not consumed");
    struct request *r = request_new(w, e, s);
    struct message m;
    struct fault why;
    w->counters.received++;
    bool sound = head_sound(w, r, &m, &why);
    lease_came_home(w, m.came_from);
    r->id = m.id;
    r->task = sound ? task_of(&w->registry, &m) : NULL;
    r->limits = limits_of(w, r->task, &m);
    r->alone = m.attempt > 0;
    r->expires = m.expires;
    double now = clock_wall();
    if (w->drain > DRAIN_RUN) {
        request_give_back(w, r);
    } else if (is_skipped(w, r, &m)) {
        request_move(w, r, REQUEST_SKIPPED);
    } else if (!sound) {
        request_bury(w, r, STATE_FAILURE, &why);
    } else if (consumer_expired(w, r)) {
        return;
    } else if (!r->task) {
        unknown_accept(w, r, &m);
    } else if (handed_out_too_often(&m)) {
        finish_again(w, r, &(struct copy){.attempt = m.attempt + 1});
    } else if (m.eta > now) {
        delay_until(w, r, m.eta - now);
    } else {
        request_move(w, r, REQUEST_READY);
    }
}

void consumer_due(struct worker *w)
{
    struct heap_node *n;
    while ((n = heap_first(&w->due)) && n->at <= w->now) {
        struct request *r = container_of(n, struct request, due);
        switch (r->then) {
        case THEN_RUN: request_move(w, r, REQUEST_READY); break;
        case THEN_PASS_ON: finish_pass_on(w, r, true, 0); break;
        case THEN_GO_BACK: finish_pass_on(w, r, false, 0); break;
        }
    }
}

/* One at a time, since each hand-out counts against a quorum queue's delivery limit. Its nack is
 * written before the ack of the message that had the spool, so it is first in the queue when that
 * ack makes room for a delivery. If another worker takes it, the next one follows a second later.
 */
void consumer_skipped(struct worker *w)
{
    const struct list *skipped = &w->requests[REQUEST_SKIPPED];
    if (list_empty(skipped) || w->now < broker_spool_free_at(w->in)) return;
    broker_spool_keep(w->in, w->now + SKIPPED_WAIT);
    request_give_back(w, list_first(skipped, struct request, link));
}

int64_t consumer_next(const struct worker *w)
{
    const struct heap_node *due = heap_first(&w->due);
    bool skipped = !list_empty(&w->requests[REQUEST_SKIPPED]);
    return clock_earlier(due ? due->at : CLOCK_NEVER,
                         skipped ? broker_spool_free_at(w->in) : CLOCK_NEVER);
}

/* ---- The connection -------------------------------------------------------------------------- */

/* No child has them. */
static const enum request_state idle[] = {REQUEST_WAITING, REQUEST_SKIPPED, REQUEST_READY,
                                          REQUEST_BURIAL, REQUEST_REFUSED};

/* Those of one source, or of all. */
static void each_idle(struct worker *w, const struct source *of,
                      void (*f)(struct worker *, struct request *))
{
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++) {
        struct request *r;
        list_each(r, &w->requests[idle[i]], struct request, link) {
            /* One acknowledged early and crashed has nothing to go back to: it is still buried. */
            if (!request_is_acked(r) && (!of || r->source == of)) f(w, r);
        }
    }
}

void consumer_stop(struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++) window_end(w, &w->sources[i], 0, true);
    each_idle(w, NULL, request_give_back);
}

/* The broker hands out again all of it that is not settled; what no child has is forgotten here. */
static void lost(struct worker *w, struct source *s)
{
    each_idle(w, s, request_drop);
    for (size_t i = 0; i < REQUEST_STATES; i++) {
        struct request *r;
        list_each(r, &w->requests[i], struct request, link) {
            if (r->source != s) continue;
            if (r->state == REQUEST_MOVING) {
                request_drop(w, r); /* with its copy, unless that is with the broker already */
                continue;
            }
            lease_orphan(w, r);
            request_leave_window(w, r);
        }
    }
    s->consuming = false;
}

static void stale(struct worker *w, const char *queue, const struct ctask_error *why)
{
    log_warn("%s", why->text);
    lost(w, consumer_source(w, queue));
}

static const char *advice(int code)
{
    switch (code) {
    case CTASK_EAUTH:
    case CTASK_EINVAL:
        return "; the broker URL is that of -b, CTASK_BROKER_URL or CTASK_BROKER_FILE";
    case CTASK_ECONN: return "; name a running broker with -b or CTASK_BROKER_URL";
    default: return "";
    }
}

static void down(struct worker *w, const struct ctask_error *why)
{
    for (size_t i = 0; i < w->source_count; i++) lost(w, &w->sources[i]);
    if (w->drain >= DRAIN_BYE) return;
    if (!w->announced && !w->was_up) {
        fprintf(stderr, "ctask-worker: %s%s\n", why->text, advice(why->code));
        w->exit_status = why->code == CTASK_EAUTH    ? EXIT_REFUSED
                         : why->code == CTASK_EINVAL ? EXIT_USAGE
                                                     : EXIT_NO_BROKER;
        w->drain = DRAIN_DONE;
        return;
    }
    if (why->code == CTASK_OK)
        log_info("%s", why->text);
    else
        log_warn("connection lost: %s; trying again", why->text);
}

static void consuming(struct worker *w, struct source *s)
{
    s->answered = w->now;
    idle_consuming(w, s);
    s->consuming = true;
    announce(w);
}

void consumer_read(struct worker *w)
{
    struct broker_event ev;
    while (broker_next(w->in, &ev)) {
        switch (ev.kind) {
        case BROKER_UP:
            if (w->was_up) log_info("connected again");
            w->was_up = true;
            break;
        case BROKER_DOWN: down(w, &ev.error); break;
        case BROKER_STALE: stale(w, ev.queue, &ev.error); break;
        case BROKER_MESSAGE:
            consumer_accept(w, ev.message);
            memory_relieve(w);
            break;
        case BROKER_QUEUE: queue_seen(w, &ev, false); break;
        case BROKER_DIFFERS: log_warn("%s", ev.error.text); break;
        case BROKER_CONSUMING: consuming(w, consumer_source(w, ev.queue)); break;
        case BROKER_CANCELLED:
            log_warn("queue %s was deleted; it is declared and consumed again", ev.queue);
            consumer_source(w, ev.queue)->consuming = false;
            break;
        case BROKER_PUBLISHED:
        case BROKER_DELAYS:
        case BROKER_BLOCKED:
        case BROKER_UNBLOCKED: break;
        }
    }
}
