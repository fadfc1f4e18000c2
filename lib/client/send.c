/* send.c - hands messages to the transport. A send that cannot be taken at once waits here, at most
 * publish_timeout, for what stands in its way: the connection, the broker's alarm, the reply queue,
 * the task's queue, the window. While the broker is known to be down it fails at once. */
#include "client/inside.h"

#include "base/props.h"

#include <stdlib.h>

#define GATHERED_MAX 64
#define FRESH CLOCK_MS /* older than that, what we know is looked at again before a send */

/* ---- Queues ---------------------------------------------------------------------------------- */

/* A task queue that was looked at, so that later messages for it leave at once. */
struct target {
    struct map_node node;
    bool ready;
    struct ctask_error error;
    char name[];
};

static struct target *target_of(struct ctask_client *c, const char *name)
{
    struct map_node *known = map_find(&c->queues, bytes_text(name));
    if (known) return container_of(known, struct target, node);
    size_t n = strlen(name) + 1;
    struct target *t = calloc(1, sizeof *t + n);
    if (!t) return NULL;
    memcpy(t->name, name, n);
    t->node.key = bytes_text(t->name);
    if (broker_queue(c->x->broker, name, QUEUE_TASK) == CTASK_OK && map_add(&c->queues, &t->node))
        return t;
    free(t);
    return NULL;
}

void send_queue_event(struct ctask_client *c, const struct broker_event *ev)
{
    struct map_node *known = map_find(&c->queues, bytes_text(ev->queue));
    if (!known) return;
    struct target *t = container_of(known, struct target, node);
    t->ready = ev->error.code == CTASK_OK;
    t->error = ev->error;
}

void send_done(struct ctask_client *c)
{
    struct map_node *n;
    while ((n = map_any(&c->queues))) {
        map_remove(&c->queues, n);
        free(container_of(n, struct target, node));
    }
    map_done(&c->queues);
}

/* ---- Handing over ---------------------------------------------------------------------------- */

struct offer {
    struct ctask_result *r;
    struct ticket *ticket; /* NULL in a task */
    struct publish message;
    bool gather;
    bool over;             /* taken, or hopeless: e */
    struct ctask_error *e; /* while it is not over: what it waits for */
};

static bool fails_with(struct offer *o, const struct ctask_error *e)
{
    *o->e = *e;
    o->over = true;
    return false;
}

static bool waits_for(struct offer *o, int code, const char *why, const char *detail)
{
    error_set(o->e, code, "%s%s", why, detail);
    return false;
}

static bool may_leave(struct ctask_client *c, struct offer *o)
{
    struct ctask_error e;
    if (c->in_task) return true;
    if (client_known_down(c, &e)) return fails_with(o, &e);
    if (!c->up || broker_state(c->x->broker) != BROKER_IS_UP) { /* it may be leaving */
        const struct ctask_error *last = broker_error(c->x->broker);
        return waits_for(o, CTASK_ECONN,
                         last->code ? "the broker did not answer in time; the last try ended: "
                                    : "the broker did not answer in time",
                         last->text);
    }
    if (broker_blocked(c->x->broker))
        return waits_for(o, CTASK_EBLOCKED, "the broker takes no messages: ", c->blocked.text);
    if (!o->r->no_result && !replies_ready(c)) {
        if (c->reply_error.code != CTASK_OK) return fails_with(o, &c->reply_error);
        return waits_for(o, CTASK_EBLOCKED, "the broker did not give us the reply queue in time",
                         "");
    }
    struct target *t = target_of(c, o->message.routing_key);
    if (!t) return waits_for(o, CTASK_ENOMEM, "out of memory", "");
    if (t->error.code != CTASK_OK) return fails_with(o, &t->error);
    if (!t->ready)
        return waits_for(o, CTASK_EBLOCKED, "the broker did not answer in time for queue ",
                         t->name);
    return true;
}

static void depart(struct ctask_client *c, bool gather)
{
    c->gathered++;
    if ((!gather && c->corks == 0) || c->gathered >= GATHERED_MAX) send_gathered(c);
}

void send_gathered(struct ctask_client *c)
{
    c->gathered = 0;
    c->x->ops->flush(c->x);
    if (!c->in_task) pump_watch(c); /* also for the confirm that is due now */
}

/* Its properties name the client's first reply queue, which may not be the current one. */
static int offer_publish(struct ctask_client *c, struct offer *o)
{
    const char *name = c->replies[c->reply_at].name;
    struct buf out = {0};
    struct props props;
    if (c->in_task || o->r->no_result || strcmp(name, c->reply_queue) == 0 ||
        props_read(o->message.props, &props) != NULL)
        return c->x->ops->publish(c->x, &o->message);
    struct publish renamed = o->message;
    props.reply_to = bytes_text(name);
    int rc = CTASK_ENOMEM;
    if (props_write(&out, &props)) {
        renamed.props = buf_bytes(&out);
        rc = c->x->ops->publish(c->x, &renamed);
    }
    buf_done(&out);
    return rc;
}

static bool offer_try(struct ctask_client *c, void *ctx)
{
    struct offer *o = ctx;
    if (o->over || !may_leave(c, o)) return o->over;
    int rc = offer_publish(c, o);
    if (rc == CTASK_EAGAIN)
        return waits_for(o, CTASK_EBLOCKED, "the broker confirms too slowly: the window is full",
                         "");
    o->over = true;
    o->e->code = CTASK_OK;
    if (rc != CTASK_OK) {
        error_set(o->e, rc, "task %s: %s", o->r->id, ctask_strerror(rc));
        return true;
    }
    if (!c->in_task)
        unconfirmed_add(c, o->ticket);
    else if (o->r->no_result)
        result_succeed(o->r, NULL, 0);
    depart(c, o->gather);
    return true;
}

static void offer_wait(struct ctask_client *c, struct offer *o)
{
    /* A look at the connection first, unless one was taken just now. A turn would write what is
     * being gathered, so who gathers takes one only while the connection is down. */
    bool gathers = o->gather || c->corks > 0;
    bool stale = clock_now() - c->turned_at > FRESH;
    if (!c->in_task && !c->driven && stale && !(gathers && c->up)) pump_turn(c);
    int rc = pump_until(c, offer_try, o, clock_in(c->publish_timeout));
    if (rc == CTASK_ECLOSED) *o->e = c->broken;
}

/* Registers the handle before the publish, since its result may come before the confirm. */
static void offer_make(struct ctask_client *c, struct offer *o, const struct sending *s)
{
    struct ctask_result *r = o->r = result_new(c, s->id, true);
    if (r && !c->in_task) o->message.cookie = o->ticket = unconfirmed_new(c, r);
    if (!r || (!c->in_task && !o->ticket)) {
        error_set(o->e, CTASK_ENOMEM, "out of memory");
        return;
    }
    r->no_result = s->no_result;
    if (s->m) gather_add(s->into, s->m, r); /* before a reply can come */
    if (r->no_result || c->in_task || replies_expect(c, r, o->e) == CTASK_OK) offer_wait(c, o);
}

struct ctask_result *send_message(struct ctask_client *c, const struct sending *s,
                                  struct ctask_error *e)
{
    struct offer o = {
        .e = e,
        .gather = s->gather,
        .message = {.exchange = "",
                    .routing_key = s->queue,
                    .props = s->props,
                    .body = s->body,
                    .spool = -1,
                    .ensure = s->queue,
                    .delay = s->delay},
    };
    if (client_enter(c) != CTASK_OK) {
        *e = *ctask_error();
        return NULL;
    }
    offer_make(c, &o, s);
    if (e->code != CTASK_OK) {
        if (o.r) replies_forget(c, o.r);
        spares_give(&c->tickets, o.ticket);
    }
    client_leave(c);
    return o.r;
}

/* ---- Corks ----------------------------------------------------------------------------------- */

void ctask_cork(struct ctask_client *c)
{
    c = client_or_default(c);
    if (client_enter(c) != CTASK_OK) return;
    c->corks++;
    client_leave(c);
}

int ctask_uncork(struct ctask_client *c)
{
    c = client_or_default(c);
    int rc = client_enter(c);
    if (rc != CTASK_OK) return rc;
    if (c->corks > 0) c->corks--;
    if (c->corks == 0) send_gathered(c);
    client_leave(c);
    return CTASK_OK;
}
