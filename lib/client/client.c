/* client.c - a client's birth and death, and what it knows of its connection. */
#include "client/inside.h"

#include "base/process.h"
#include "base/urls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Seconds; with several URLs only, since then there is another node to go to. While nobody drives
 * the client it sends no heartbeats, and the broker closes the connection; the next call connects
 * again. */
#define HEARTBEAT 10
#define PUBLISH_TIMEOUT 5.0
#define RESULT_MAX (UINT64_C(64) << 20)
#define DOWN_KNOWN (10 * CLOCK_SECOND) /* afterwards an attempt is worth waiting for */
#define GOODBYE_MAX CLOCK_SECOND
#define RESULTS_KEPT 8192 /* handles that were forgotten, for the next ones; and tickets */

int raise_error(int code, const char *fmt, ...)
{
    struct ctask_error e;
    char text[sizeof e.text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(&e, code, "%s", text);
    return error_raise(&e);
}

/* ---- Birth ----------------------------------------------------------------------------------- */

/* A client without a connection. NULL when out of memory. */
static struct ctask_client *client_bare(void)
{
    struct ctask_client *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    char host[64] = "localhost";
    const char *queue = getenv("CTASK_QUEUE");
    gethostname(host, sizeof host - 1);
    c->pid = process_id();
    c->refs = 1;
    c->publish_timeout = PUBLISH_TIMEOUT;
    c->epoll_fd = c->timer_fd = c->watched_fd = c->watched_of = -1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->left, NULL);
    list_init(&c->waiters);
    list_init(&c->unconfirmed);
    c->results = (struct spares){.size = RESULT_SIZE(ID_SIZE), .most = RESULTS_KEPT};
    c->tickets = (struct spares){.size = sizeof(struct ticket), .most = RESULTS_KEPT};
    replies_init(c);
    snprintf(c->queue, sizeof c->queue, "%s", queue && *queue ? queue : "ctask");
    snprintf(c->origin, sizeof c->origin, "gen%ld@%s", (long)c->pid, host);
    return c;
}

static int connection_new(struct ctask_client *c, const struct urls *u, struct ctask_error *e)
{
    struct broker_config cfg = {
        .url = u->at,
        .url_count = u->count,
        .name = c->origin,
        .heartbeat = u->count > 1 ? HEARTBEAT : 0,
        .body_max = RESULT_MAX,
    };
    char why[256];
    const char *type = getenv("CTASK_QUEUE_TYPE");
    if (!queue_type_read(type, &cfg.queue_type))
        return error_set(e, CTASK_EINVAL, "CTASK_QUEUE_TYPE is classic or quorum, not \"%s\"",
                         type);
    cfg.queue_arguments = getenv("CTASK_QUEUE_ARGUMENTS");
    if (!queue_arguments_read(cfg.queue_arguments, &cfg.queue_type, why, sizeof why))
        return error_set(e, CTASK_EINVAL, "CTASK_QUEUE_ARGUMENTS %s", why);
    if (!pump_init(c))
        return error_set(e, CTASK_EAGAIN,
                         "no file descriptor is left: raise ulimit -n or close some");
    c->x = transport_amqp(&cfg);
    return c->x ? CTASK_OK : error_set(e, CTASK_ENOMEM, "out of memory");
}

struct ctask_client *client_new(const char *url, struct ctask_error *e)
{
    struct urls *u = url ? urls_new(*url ? url : "amqp://localhost", e) : urls_default(e);
    struct ctask_client *c = u ? client_bare() : NULL;
    if (!u) return NULL;
    if (!c) {
        error_set(e, CTASK_ENOMEM, "out of memory");
    } else if (connection_new(c, u, e) != CTASK_OK) {
        client_unref(c);
        c = NULL;
    }
    urls_free(u);
    return c;
}

struct ctask_client *client_over(struct transport *x)
{
    struct ctask_client *c = client_bare();
    if (!c) {
        x->ops->free(x);
        return NULL;
    }
    c->x = x;
    c->in_task = true;
    return c;
}

static bool connected_or_not(struct ctask_client *c, void *ctx)
{
    (void)ctx;
    return c->up || c->failed;
}

struct ctask_client *ctask_open(const char *url, struct ctask_error *e)
{
    struct ctask_error why = {0};
    struct ctask_client *c = client_new(url, &why);
    if (c && client_enter(c) == CTASK_OK) {
        pump_until(c, connected_or_not, NULL, clock_in(c->publish_timeout));
        if (!c->up && !client_known_down(c, &why))
            error_set(&why, CTASK_ECONN, "the broker did not answer within %g s",
                      c->publish_timeout);
        client_leave(c);
    }
    if (e) *e = why;
    if (why.code == CTASK_OK) return c;
    ctask_close(c);
    error_raise(&why);
    return NULL;
}

/* ---- Use ------------------------------------------------------------------------------------- */

void client_ref(struct ctask_client *c)
{
    c->refs++;
}

void client_unref(struct ctask_client *c)
{
    if (--c->refs > 0) return;
    pump_done(c);
    pending_done(&c->pending);
    spares_done(&c->results);
    spares_done(&c->tickets);
    pthread_cond_destroy(&c->left);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* A thread that were cancelled here would take the lock along, or its place among the waiters. */
static _Thread_local struct {
    unsigned depth;
    int before;                        /* what pthread_setcancelstate is to set again */
    const struct ctask_client *inside; /* a signal handler is not to call it again */
} uncancelled;

void uncancelled_begin(void)
{
    if (uncancelled.depth++ == 0)
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &uncancelled.before);
}

void uncancelled_end(void)
{
    if (--uncancelled.depth > 0) return;
    uncancelled.inside = NULL;
    pthread_setcancelstate(uncancelled.before, NULL);
}

bool client_forked(const struct ctask_client *c)
{
    return c->pid != 0 && c->pid != process_id();
}

int client_hold(struct ctask_client *c)
{
    /* Before the lock: another thread of the parent may have held it when this child was made. */
    if (client_forked(c)) return raise_error(CTASK_EFORKED, "%s", ctask_strerror(CTASK_EFORKED));
    if (uncancelled.inside == c)
        return raise_error(CTASK_EINVAL, "a signal handler calls the client that it interrupted");
    uncancelled_begin();
    if (uncancelled.depth == 1) uncancelled.inside = c;
    client_ref(c);
    pthread_mutex_lock(&c->lock);
    return CTASK_OK;
}

int client_enter(struct ctask_client *c)
{
    int rc = client_hold(c);
    if (rc != CTASK_OK || (c->x && !c->closing)) return rc;
    struct ctask_error e = c->broken;
    client_leave(c);
    return error_raise(&e);
}

void client_leave(struct ctask_client *c)
{
    pthread_mutex_unlock(&c->lock);
    client_unref(c);
    uncancelled_end();
}

void ctask_set_publish_timeout(struct ctask_client *c, double seconds)
{
    c = client_or_default(c);
    if (client_hold(c) != CTASK_OK) return;
    c->publish_timeout = seconds;
    client_leave(c);
}

/* ---- The connection -------------------------------------------------------------------------- */

bool client_known_down(const struct ctask_client *c, struct ctask_error *e)
{
    if (c->up || !c->failed) return false;
    bool trying = broker_state(c->x->broker) != BROKER_IS_DOWN;
    if (trying && clock_now() - c->failed_at > DOWN_KNOWN) return false;
    *e = *broker_error(c->x->broker);
    return true;
}

/* A lost connection is no failure yet: the first attempt to have it back tells. One that the broker
 * does not allow is. */
static void connection_down(struct ctask_client *c)
{
    if (!c->up || broker_error(c->x->broker)->code == CTASK_EREFUSED) {
        c->failed = true;
        c->failed_at = clock_now();
    }
    c->up = false;
    replies_connection(c);
    pump_unwatch(c);
}

/* Results come to where their tasks were sent, which another broker may not know of. */
void client_home(struct ctask_client *c)
{
    bool idle = c->pending.count == 0 && c->unconfirmed_count == 0 && c->gathered == 0;
    if (!idle || !c->x->broker || !broker_home_is_up(c->x->broker)) return;
    broker_flush(c->x->broker); /* acks */
    if (broker_go_home(c->x->broker)) broker_flush(c->x->broker);
}

void client_event(struct ctask_client *c, struct broker_event *ev)
{
    switch (ev->kind) {
    case BROKER_UP:
        pump_unwatch(c);
        c->up = true;
        c->failed = false;
        c->flowing_since = clock_now();
        replies_connection(c);
        break;
    case BROKER_DOWN: connection_down(c); break;
    case BROKER_MESSAGE:
        replies_deliver(c, ev->message);
        broker_recycle(c->x->broker, ev->message);
        break;
    case BROKER_PUBLISHED: unconfirmed_answer(c, ev->cookie, &ev->error); break;
    case BROKER_QUEUE:
        if (!replies_queue_event(c, ev)) send_queue_event(c, ev);
        break;
    case BROKER_BLOCKED: c->blocked = ev->error; break;
    case BROKER_UNBLOCKED: c->flowing_since = clock_now(); break;
    case BROKER_DIFFERS: c->differs = ev->error; break;
    case BROKER_DELAYS: break;
    case BROKER_CONSUMING:
    case BROKER_CANCELLED:
    case BROKER_STALE: replies_consuming(c, ev); break;
    }
}

bool ctask_queue_differs(struct ctask_client *c, struct ctask_error *why)
{
    c = client_or_default(c);
    *why = (struct ctask_error){0};
    if (client_hold(c) != CTASK_OK) return false;
    *why = c->differs;
    client_leave(c);
    return why->code != CTASK_OK;
}

/* ---- Driving it ------------------------------------------------------------------------------ */

static bool all_confirmed(struct ctask_client *c, void *ctx)
{
    (void)ctx;
    return c->unconfirmed_count == 0;
}

/* What failed without a handle is told once, here. */
static long flush_result(struct ctask_client *c)
{
    if (c->lost_count == 0) return (long)c->unconfirmed_count;
    c->lost_count = 0;
    return error_raise(&c->lost);
}

long ctask_flush(struct ctask_client *c, double timeout)
{
    int64_t deadline = clock_in(timeout);
    c = client_or_default(c);
    long rc = client_enter(c);
    if (rc != CTASK_OK) return rc;
    send_gathered(c);
    if (!c->in_task) rc = pump_until(c, all_confirmed, NULL, deadline);
    if (rc == CTASK_ECLOSED)
        error_raise(&c->broken);
    else
        rc = flush_result(c);
    client_leave(c);
    return rc;
}

static bool something_happened(struct ctask_client *c, void *seen)
{
    return c->happened != *(uint64_t *)seen;
}

int ctask_poll(struct ctask_client *c, double timeout)
{
    int64_t deadline = clock_in(timeout);
    c = client_or_default(c);
    int rc = client_enter(c);
    if (rc != CTASK_OK) return rc;
    uint64_t seen = c->happened;
    if (!c->in_task) rc = pump_until(c, something_happened, &seen, deadline);
    if (rc == CTASK_ECLOSED)
        error_raise(&c->broken);
    else
        rc = CTASK_OK; /* that nothing happened is no failure */
    client_leave(c);
    return rc;
}

int ctask_fd(struct ctask_client *c)
{
    c = client_or_default(c);
    int rc = client_enter(c);
    if (rc != CTASK_OK) return rc;
    int fd = c->epoll_fd;
    c->fd_given = fd >= 0;
    pump_watch(c);
    if (fd < 0) fd = raise_error(CTASK_EINTASK, "a task's client has nothing to wait for");
    client_leave(c);
    return fd;
}

/* ---- Death ----------------------------------------------------------------------------------- */

static bool said_goodbye(struct ctask_client *c, void *ctx)
{
    (void)ctx;
    return !c->up;
}

static size_t goodbye(struct ctask_client *c)
{
    int64_t deadline = clock_in(c->publish_timeout);
    pump_send_away(c);
    send_gathered(c);
    pump_to_end(c, all_confirmed, NULL, deadline);
    size_t left = c->unconfirmed_count + c->lost_count;
    if (c->up) {
        replies_done(c);
        broker_close(c->x->broker);
        pump_to_end(c, said_goodbye, NULL, clock_now() + GOODBYE_MAX);
    }
    return left;
}

size_t client_end(struct ctask_client *c)
{
    if (uncancelled.inside == c) return c->unconfirmed_count + c->lost_count;
    if (client_enter(c) != CTASK_OK) return 0;
    c->closing = true;
    error_set(&c->broken, CTASK_ECLOSED, "%s", ctask_strerror(CTASK_ECLOSED));
    size_t left = c->in_task ? 0 : goodbye(c);
    replies_fail(c, &c->broken);
    unconfirmed_drop(c);
    send_done(c);
    pump_done(c);
    c->x->ops->free(c->x);
    c->x = NULL;
    client_leave(c);
    return left;
}

void client_abandon(struct ctask_client *c)
{
    if (c->x && c->x->broker) broker_abandon(c->x->broker);
    pump_done(c);
}

void ctask_close(struct ctask_client *c)
{
    if (!c || c->pid == 0) return;
    if (c->in_task && c->x->task_id) return; /* its worker's, for the tasks to come */
    if (uncancelled.inside == c) return;     /* the interrupted call needs it */
    default_forget(c);
    if (client_forked(c)) {
        client_abandon(c);
        return;
    }
    client_end(c);
    client_unref(c);
}
