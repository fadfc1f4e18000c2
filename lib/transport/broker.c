/* broker.c - what the owner of a connection calls; see broker.h, and session.h for the inside. */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "transport/session.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW_BYTES ((size_t)64 << 20)
#define BODY_MAX ((uint64_t)4 << 20)
#define PARCELS_KEPT 1024
#define CANCEL_AFTER (20 * CLOCK_MS)

struct broker *broker_new(const struct broker_config *cfg)
{
    struct broker *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->cfg = *cfg;
    b->url_count = cfg->url_count ? cfg->url_count : 1;
    b->urls = secret_new(b->url_count * sizeof *b->urls);
    if (!b->urls) {
        free(b);
        return NULL;
    }
    memcpy(b->urls, cfg->url, b->url_count * sizeof *b->urls);
    b->cfg.url = b->urls;
    snprintf(b->name, sizeof b->name, "%s", cfg->name ? cfg->name : "ctask");
    b->cfg.name = b->name;
    stream_init(&b->stream);
    stream_init(&b->home.stream);
    b->home.at = CLOCK_NEVER;
    b->publish.number = CHANNEL_PUBLISH;
    b->props_max = SIZE_MAX;
    outbox_init(&b->out, cfg->window ? cfg->window : FLIGHT,
                cfg->window_bytes ? cfg->window_bytes : WINDOW_BYTES);
    inbox_init(&b->returns, 0);
    b->cfg.body_max = cfg->body_max ? cfg->body_max : BODY_MAX;
    topology_init(&b->topology);
    b->topology.type = cfg->queue_type;
    snprintf(b->arguments, sizeof b->arguments, "%s",
             cfg->queue_arguments ? cfg->queue_arguments : "");
    b->topology.arguments = b->cfg.queue_arguments = b->arguments;
    ladder_init(&b->ladder);
    list_init(&b->intakes);
    b->parcels = (struct spares){.size = PARCEL_USUAL, .most = PARCELS_KEPT};
    list_init(&b->news);
    list_init(&b->reserve.link);
    list_init(&b->arrived);
    return b;
}

static void goodbye(struct broker *b)
{
    b->out.flying_max = SIZE_MAX;
    b->held_until = 0;
    session_flush(b, clock_now());
    if (!session_up(b)) return;
    link_close(&b->link);
    stream_send(&b->stream, &b->link.out);
}

void broker_free(struct broker *b)
{
    struct broker_event ev;
    struct intake *in;
    if (!b) return;
    home_end(b);
    goodbye(b);
    if (b->phase == PHASE_CONNECTED) link_done(&b->link);
    stream_close(&b->stream);
    while (broker_next(b, &ev)) envelope_free(ev.message);
    post_free(&b->out, b->given);
    inbox_reset(&b->returns);
    list_each(in, &b->intakes, struct intake, link) intake_free(in);
    spares_done(&b->parcels);
    outbox_done(&b->out);
    topology_done(&b->topology);
    ladder_done(&b->ladder);
    secret_free(b->urls, b->url_count * sizeof *b->urls);
    free(b);
}

void broker_abandon(struct broker *b)
{
    stream_abandon(&b->stream);
    stream_abandon(&b->home.stream);
}

bool broker_wipe_memory(void)
{
    return tls_wipe_memory();
}

void broker_forget_keys(struct broker *b)
{
    if (!b) return;
    stream_forget(&b->stream);
    stream_forget(&b->home.stream);
}

/* ---- Turns ----------------------------------------------------------------------------------- */

static bool events_wait(const struct broker *b)
{
    return !list_empty(&b->news) || !list_empty(&b->arrived) || !list_empty(&b->out.ended);
}

void broker_poll(const struct broker *b, struct pollfd *p, int64_t *wake)
{
    session_poll(b, p, wake);
    if (events_wait(b)) *wake = 0;
}

void broker_polled(struct broker *b, short revents)
{
    b->quiet = (revents & ~POLLOUT) == 0;
}

void broker_turn(struct broker *b, int64_t now)
{
    session_turn(b, now);
}

bool broker_flush(struct broker *b)
{
    return session_flush(b, clock_now());
}

void broker_hold(struct broker *b, int64_t until)
{
    b->held_until = until;
}

void broker_close(struct broker *b)
{
    session_close(b, clock_now());
}

enum broker_state broker_state(const struct broker *b)
{
    if (session_up(b)) return BROKER_IS_UP;
    bool trying = b->resolving || b->phase == PHASE_DIALING || b->phase == PHASE_CONNECTED;
    return trying ? BROKER_IS_CONNECTING : BROKER_IS_DOWN;
}

const struct ctask_error *broker_error(const struct broker *b)
{
    return &b->error;
}

bool broker_blocked(const struct broker *b)
{
    return session_up(b) && b->link.blocked;
}

size_t broker_unconfirmed(const struct broker *b)
{
    return b->out.count - b->out.recalled;
}

/* ---- Queues ---------------------------------------------------------------------------------- */

static bool name_valid(const char *name)
{
    return name && *name && strlen(name) <= NAME_MAX_BYTES;
}

int broker_queue(struct broker *b, const char *name, enum queue_kind kind)
{
    if (!name_valid(name)) return CTASK_EINVAL;
    struct queue *q = topology_find(&b->topology, name);
    if (!q) q = topology_add(&b->topology, name, kind);
    if (!q) return CTASK_ENOMEM;
    q->wanted = true;
    q->kind = kind;
    if (q->state == QUEUE_KNOWN || q->state == QUEUE_REFUSED) route_verdict(b, q);
    return CTASK_OK;
}

int broker_lease(struct broker *b, const char *name, const char *home, unsigned ttl)
{
    char key[NAME_MAX_BYTES + 1];
    if (!name_valid(name) || !name_valid(home)) return CTASK_EINVAL;
    bool due = broker_delays(b, home, false); /* the way that delayed messages take to it */
    struct queue *q = topology_find(&b->topology, name);
    if (q)
        topology_doubt(&b->topology, q);
    else
        q = topology_add_lease(&b->topology, name, due ? EXCHANGE_DUE : "",
                               due ? ladder_key(0, home, key) : home, ttl);
    if (!q) return CTASK_ENOMEM;
    q->wanted = true;
    return CTASK_OK;
}

int broker_look(struct broker *b, const char *name)
{
    if (!name_valid(name)) return CTASK_EINVAL;
    struct queue *q = topology_find(&b->topology, name);
    if (q) topology_doubt(&b->topology, q);
    return q ? CTASK_OK : CTASK_EINVAL;
}

static void news_forget(struct broker *b, const struct queue *q)
{
    struct news *n;
    list_each(n, &b->news, struct news, link) {
        if (n->ev.queue != q->name) continue;
        list_remove(&n->link);
        free(n);
    }
}

void broker_lease_leave(struct broker *b, const char *name)
{
    struct queue *q = topology_find(&b->topology, name);
    if (!q || !list_empty(&q->waiting)) return;
    news_forget(b, q);
    topology_forget(&b->topology, q);
}

void broker_delete_queue(struct broker *b, const char *name)
{
    struct queue *q = topology_find(&b->topology, name);
    if (!q) q = topology_add(&b->topology, name, QUEUE_FOREIGN);
    if (!q) return;
    while (!list_empty(&q->waiting))
        outbox_ready(&b->out, list_first(&q->waiting, struct post, link));
    news_forget(b, q);
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) {
        consumers_forget(&in->consumers, q);
        if (strcmp(in->queue, name) == 0) in->queue[0] = 0;
    }
    topology_delete(&b->topology, q);
}

int broker_consume(struct broker *b, const char *queue, unsigned prefetch)
{
    struct queue *q = name_valid(queue) ? topology_find(&b->topology, queue) : NULL;
    if (!q || prefetch == 0 || prefetch > UINT16_MAX) return CTASK_EINVAL;
    struct intake *in = intake_for(b, q);
    if (!in || !consumers_add(&in->consumers, q, prefetch)) return CTASK_ENOMEM;
    session_consume(b, in, clock_now());
    return CTASK_OK;
}

void broker_cancel(struct broker *b, const char *queue, uint32_t window, bool at_once)
{
    struct queue *q = topology_find(&b->topology, queue);
    struct intake *in;
    int64_t now = clock_now(), at = at_once ? now : now + CANCEL_AFTER + 2 * b->stream.rtt;
    if (!q) return;
    list_each(in, &b->intakes, struct intake, link) {
        if (strcmp(in->queue, queue) != 0) continue;
        consumers_cancel(&in->consumers, q, window, at);
        session_consume(b, in, now); /* before what is acked or given back next */
    }
}

bool broker_reopen(struct broker *b, const char *queue)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) {
        if (strcmp(in->queue, queue) != 0 || !session_up(b) || !in->lane.open) continue;
        if (settle_open(&in->settle) > 0) break;
        if (!intake_reopen(b, in, clock_now())) link_fail(&b->link, CTASK_ENOMEM, "out of memory");
        return true;
    }
    return false;
}

/* ---- Messages -------------------------------------------------------------------------------- */

void broker_ack(struct broker *b, struct delivery d)
{
    struct intake *in = route_intake(b, d);
    if (in) settle_ack(&in->settle, d);
}

void broker_recycle(struct broker *b, struct envelope *m)
{
    envelope_recycle(m, &b->parcels);
}

void broker_give_back(struct broker *b, struct delivery d)
{
    struct intake *in = route_intake(b, d);
    if (!in || !in->lane.open) return;
    if (!settle_give_back(&in->settle, d, &b->link.out, in->lane.number))
        link_fail(&b->link, CTASK_ENOMEM, "out of memory");
}

void broker_spool_keep(struct broker *b, int64_t until)
{
    b->spool_kept = until;
}

int broker_publish(struct broker *b, const struct publish *what)
{
    struct post *p;
    if (b->phase == PHASE_CLOSED) return CTASK_ECLOSED;
    int rc = outbox_put(&b->out, what, &p);
    if (rc != CTASK_OK) return rc;
    if (route_post(b, p)) return CTASK_OK;
    outbox_drop(&b->out, p);
    return CTASK_ENOMEM;
}

unsigned broker_rabbitmq_major(const struct broker *b)
{
    return session_up(b) ? b->link.rabbitmq_major : 0;
}

size_t broker_props_max(const struct broker *b)
{
    return b->props_max;
}

void broker_recall(struct broker *b, void *cookie)
{
    outbox_recall(&b->out, cookie);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static void outcome_explain(const struct post *p, struct ctask_error *e)
{
    const struct publish *what = &p->what;
    const char *to = what->routing_key;
    switch (p->outcome) {
    case CTASK_OK: break;
    case CTASK_EROUTE:
        error_set(e, CTASK_EROUTE, "no queue takes messages for \"%s\"%s%s", to,
                  *what->exchange ? " of exchange " : "", what->exchange);
        break;
    case CTASK_ENACK:
        error_set(e, CTASK_ENACK, "the broker did not accept a message for \"%s\"%s", to,
                  !what->ensure && !what->look ? ""
                  : p->empty ? ": its queue is there, empty, and refuses it (has it no leader?)"
                             : ": its queue is there and refuses it (is it full?)");
        break;
    case CTASK_EUNAVAILABLE:
        error_set(e, CTASK_EUNAVAILABLE, "queue \"%s\" is not available: %s", to,
                  p->why ? p->why : ctask_strerror(CTASK_EUNAVAILABLE));
        break;
    default:
        error_set(e, p->outcome, "the broker refused a message for \"%s\": %s", to,
                  p->why ? p->why : ctask_strerror(p->outcome));
    }
}

static void outcome_take(struct broker *b, struct broker_event *ev)
{
    struct post *p = outbox_take(&b->out);
    ev->kind = BROKER_PUBLISHED;
    ev->cookie = p->what.cookie;
    ev->publish = &p->what;
    outcome_explain(p, &ev->error);
    ev->refused = p->hopeless;
    ev->empty = p->empty;
    b->given = p;
}

/* Two come with each task, so this leaves the texts of its error as they are but for their ends. */
static void event_begin(struct broker_event *ev, enum broker_event_kind kind)
{
    ev->kind = kind;
    ev->error.code = CTASK_OK;
    ev->error.flags = 0;
    ev->error.type[0] = ev->error.text[0] = '\0';
    ev->message = NULL;
    ev->cookie = NULL;
    ev->publish = NULL;
    ev->queue = NULL;
    ev->created = ev->refused = ev->empty = ev->leaderless = false;
    ev->messages = ev->consumers = 0;
}

/* News first: what arrived and is still here belongs to the channel of today. */
bool broker_next(struct broker *b, struct broker_event *ev)
{
    post_free(&b->out, b->given);
    b->given = NULL;
    if (!list_empty(&b->news)) {
        struct news *n = list_first(&b->news, struct news, link);
        *ev = n->ev;
        list_remove(&n->link);
        if (n != &b->reserve) free(n);
        return true;
    }
    if (!events_wait(b)) return false;
    event_begin(ev, BROKER_MESSAGE);
    if (!list_empty(&b->out.ended)) {
        outcome_take(b, ev);
        return true;
    }
    ev->message = envelope_of(b->arrived.next);
    list_remove(b->arrived.next);
    return true;
}
