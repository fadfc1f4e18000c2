/* lease.c - see lease.h. Knows when a delivery needs a lease and which queues hold one; it decides
 * nothing about the job itself. */
#include "worker/lease.h"

#include "base/ids.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "ctask.lease."

struct lease {
    struct list link; /* of worker.leases */
    struct request *request;
    char name[sizeof PREFIX + ID_SIZE]; /* the queue with the copy that is safe; "": none */
    char next[sizeof PREFIX + ID_SIZE]; /* the queue of the one that is not yet; "": none */
    int64_t since, asked;               /* when the copy in `name` and in `next` was asked for */
    int64_t at;                         /* the next step; CLOCK_NEVER: `next` is not confirmed */
    bool over;
};

static int64_t lease_time(const struct worker *w)
{
    return (int64_t)w->options->lease * CLOCK_SECOND;
}

/* What did not succeed is tried again soon enough to be done in time. */
static int64_t retry_time(const struct worker *w)
{
    int64_t sixteenth = lease_time(w) / 16;
    return sixteenth < 5 * CLOCK_SECOND ? sixteenth : 5 * CLOCK_SECOND;
}

/* A broker that is killed within a second of the declare of a quorum queue does not know the queue
 * afterwards, nor what it had confirmed. */
static int64_t young_time(const struct worker *w)
{
    int64_t quarter = lease_time(w) / 4;
    return quarter < 2 * CLOCK_SECOND ? quarter : 2 * CLOCK_SECOND;
}

/* Without a broker that takes messages a copy would only wait here, and grow old. */
static bool can_publish(const struct worker *w)
{
    return broker_state(w->out) == BROKER_IS_UP && !broker_blocked(w->out);
}

bool lease_is_over(const struct request *r)
{
    return r->lease && r->lease->over;
}

/* ---- One lease ------------------------------------------------------------------------------- */

static void queue_drop(struct worker *w, char *name)
{
    if (*name) broker_delete_queue(w->out, name);
    *name = 0;
}

static void next_drop(struct worker *w, struct lease *l)
{
    broker_recall(w->out, l); /* before its queue goes, or it would be declared again for it */
    queue_drop(w, l->next);
}

static void step_again(struct worker *w, struct lease *l, int64_t wait)
{
    next_drop(w, l);
    l->at = w->now + wait;
}

static void copy_failed(struct worker *w, struct lease *l, const char *why)
{
    log_warn(TASK_FMT ": no lease: %s; trying again", TASK_ARG(l->request), why);
    step_again(w, l, retry_time(w));
}

static void lease_end(struct worker *w, struct lease *l)
{
    log_warn(TASK_FMT ": its lease has ended, so it starts again; what runs here goes on",
             TASK_ARG(l->request));
    next_drop(w, l);
    l->over = true;
}

/* Publishes a copy to a new queue; what comes of it: lease_published. */
static void copy_out(struct worker *w, struct lease *l)
{
    struct request *r = l->request;
    struct buf props = {0};
    struct copy how = {.again = true,
                       .attempt = message_peek(r->m->props).attempt + 1,
                       .most = broker_props_max(w->out)};
    memcpy(l->next, PREFIX, sizeof PREFIX);
    id_new(l->next + sizeof PREFIX - 1);
    l->asked = w->now;
    l->at = CLOCK_NEVER;
    if (!message_copy(r->m->props, &how, &props)) abort();
    int rc = broker_lease(w->out, l->next, r->source->name, w->options->lease);
    if (rc == CTASK_OK)
        rc = broker_publish(w->out, &(struct publish){.exchange = "",
                                                      .routing_key = l->next,
                                                      .props = buf_bytes(&props),
                                                      .body = r->m->body,
                                                      .spool = r->m->spool,
                                                      .spool_size = r->m->body_size,
                                                      .ensure = l->next,
                                                      .cookie = l});
    buf_done(&props);
    if (rc == CTASK_ENOMEM) abort();
    if (rc != CTASK_OK) copy_failed(w, l, ctask_strerror(rc));
}

static void lease_take(struct worker *w, struct request *r)
{
    struct lease *l = calloc(1, sizeof *l);
    if (!l) abort();
    l->request = r;
    r->lease = l;
    list_append(&w->leases, &l->link);
    copy_out(w, l);
}

/* The copy is safe: the broker need not wait for us any longer. Its place in the window is not to
 * be filled: the job still has its child. */
static void delivery_settle(struct worker *w, struct request *r)
{
    window_end(w, r->source, r->window, true);
    request_ack(w, r);
    request_leave_window(w, r);
    log_info(TASK_FMT " has run for long: it is leased", TASK_ARG(r));
}

/* The copy in `next` is as safe as the one before, or as the delivery. */
static void copy_safe(struct worker *w, struct lease *l)
{
    queue_drop(w, l->name);
    memcpy(l->name, l->next, sizeof l->name);
    l->next[0] = 0;
    l->since = l->asked;
    l->at = l->since + lease_time(w) / 2;
    if (!request_is_acked(l->request))
        delivery_settle(w, l->request);
    else
        log_trace(TASK_FMT ": its lease is renewed", TASK_ARG(l->request));
}

static struct lease *lease_find(const struct worker *w, const void *cookie)
{
    struct lease *l;
    list_each(l, &w->leases, struct lease, link)
        if (l == cookie) return l;
    return NULL;
}

bool lease_published(struct worker *w, const struct broker_event *ev)
{
    struct lease *l = lease_find(w, ev->cookie);
    if (!l) return false;
    if (ev->error.code != CTASK_OK)
        copy_failed(w, l, ev->error.text);
    else if (w->now - l->asked > lease_time(w) / 2)
        step_again(w, l, 0); /* its time counts from then, or nearly */
    else
        l->at = w->now + young_time(w);
    return true;
}

void lease_doubt(struct worker *w)
{
    struct lease *l;
    list_each(l, &w->leases, struct lease, link)
        if (l->next[0] && l->at != CLOCK_NEVER) step_again(w, l, 0);
}

/* True if the copy may have gone home, or its queue has not answered for half of the lease's time.
 */
static bool copy_is_due(const struct worker *w, const struct lease *l)
{
    return w->now - l->since >= lease_time(w);
}

/* The old copy is looked at before there is a new one: one that has gone home may be running
 * elsewhere, and each further copy would be a further run. A queue that is empty before its copy is
 * due has no leader that answers, or was lost. One that does not answer when it is due may be lost:
 * if its node comes back the copy goes home, and the task starts once more, flagged. */
bool lease_queue_seen(struct worker *w, const struct broker_event *ev)
{
    struct lease *l;
    list_each(l, &w->leases, struct lease, link) {
        if (strcmp(ev->queue, l->next) == 0) return true;
        if (strcmp(ev->queue, l->name) != 0) continue;
        if (l->next[0] || l->over) return true;
        bool due = copy_is_due(w, l), unknown = ev->error.code == CTASK_EUNAVAILABLE && due;
        if (ev->error.code != CTASK_OK && !unknown) return true; /* again at l->at */
        if (unknown || ev->messages > 0 || !due)
            copy_out(w, l);
        else
            lease_end(w, l);
        if (l->over && ev->created) queue_drop(w, l->name); /* it was gone until this look */
        return true;
    }
    return false;
}

/* Takes a queue's name out of a header that anybody can write. A lease's queue has an id that
 * nobody can guess, so no sender can name one that is in use. */
static bool name_read(struct bytes queue, char name[sizeof PREFIX + ID_SIZE])
{
    size_t prefix = strlen(PREFIX), id = ID_SIZE - 1;
    if (!bytes_begins(queue, PREFIX) || queue.n != prefix + id) return false;
    memcpy(name, queue.p, queue.n);
    name[queue.n] = 0;
    return strspn(name + prefix, "0123456789abcdef-") == id;
}

void lease_came_home(struct worker *w, struct bytes queue)
{
    char name[sizeof PREFIX + ID_SIZE];
    struct lease *l;
    if (!name_read(queue, name)) return;
    list_each(l, &w->leases, struct lease, link)
        if (strcmp(name, l->name) == 0 && !l->over) lease_end(w, l);
    broker_delete_queue(w->out, name);
}

void lease_orphan(struct worker *w, struct request *r)
{
    if (r->lease && !request_is_acked(r)) lease_drop(w, r);
}

void lease_drop(struct worker *w, struct request *r)
{
    struct lease *l = r->lease;
    if (!l) return;
    next_drop(w, l);
    if (l->over)
        broker_lease_leave(w->out, l->name); /* whoever gets the copy deletes its queue */
    else
        queue_drop(w, l->name);
    list_remove(&l->link);
    free(l);
    r->lease = NULL;
}

/* ---- All of them ----------------------------------------------------------------------------- */

void lease_init(struct worker *w)
{
    list_init(&w->leases);
}

static bool is_unsettled(const struct request *r)
{
    return r->window != 0 && !request_is_acked(r) && !r->lease;
}

/* Held and not begun: the broker takes it back and counts anew, and an idle worker may have it. */
static void hoarded_give_back(struct worker *w, enum request_state state)
{
    struct request *r;
    list_each(r, &w->requests[state], struct request, link) {
        if (!is_unsettled(r) || w->now - r->arrived < lease_time(w) / 2) continue;
        if (state != REQUEST_WAITING || r->then == THEN_RUN) request_give_back(w, r);
    }
}

static void overdue_take(struct worker *w, enum request_state state)
{
    struct request *r;
    list_each(r, &w->requests[state], struct request, link)
        if (is_unsettled(r) && w->now - r->arrived >= lease_time(w)) lease_take(w, r);
}

/* When the oldest of them will be due. */
static int64_t due_first(const struct worker *w, enum request_state state, int64_t age, int64_t at)
{
    struct request *r;
    list_each(r, &w->requests[state], struct request, link)
        if (is_unsettled(r) && r->arrived + age < at) at = r->arrived + age;
    return at;
}

/* Nothing that comes later is due earlier than half of a lease from now: till the time found here
 * there is nothing to do. */
static void requests_check(struct worker *w)
{
    static const enum request_state begun[] = {REQUEST_RUNNING, REQUEST_SETTLING, REQUEST_REFUSED};
    int64_t half = lease_time(w) / 2, at = w->now + half;
    hoarded_give_back(w, REQUEST_WAITING);
    hoarded_give_back(w, REQUEST_SKIPPED);
    hoarded_give_back(w, REQUEST_READY);
    hoarded_give_back(w, REQUEST_BURIAL);
    at = due_first(w, REQUEST_READY, half, at);
    at = due_first(w, REQUEST_BURIAL, half, at);
    at = due_first(w, REQUEST_WAITING, half, at);
    at = due_first(w, REQUEST_SKIPPED, half, at);
    for (size_t i = 0; i < sizeof begun / sizeof begun[0]; i++) {
        if (can_publish(w)) overdue_take(w, begun[i]);
        at = due_first(w, begun[i], 2 * half, at);
    }
    w->lease_at = at > w->now ? at : w->now + retry_time(w);
}

/* When l is to be seen to. A copy that the broker has confirmed becomes safe by itself, also while
 * the broker takes no messages: the delivery must not wait for the end of an alarm. */
static int64_t step_at(const struct worker *w, const struct lease *l)
{
    return l->over || (!l->next[0] && !can_publish(w)) ? CLOCK_NEVER : l->at;
}

void lease_turn(struct worker *w)
{
    if (w->drain >= DRAIN_BYE) return;
    if (w->now >= w->lease_at) requests_check(w);
    struct lease *l;
    list_each(l, &w->leases, struct lease, link) {
        if (step_at(w, l) > w->now) continue;
        l->at = w->now + retry_time(w);
        if (l->next[0])
            copy_safe(w, l);
        else if (!l->name[0])
            copy_out(w, l);
        else if (broker_lease(w->out, l->name, l->request->source->name, w->options->lease) !=
                 CTASK_OK)
            abort();
    }
}

int64_t lease_next(const struct worker *w)
{
    int64_t at = w->lease_at;
    struct lease *l;
    if (w->drain >= DRAIN_BYE) return CLOCK_NEVER;
    list_each(l, &w->leases, struct lease, link) at = clock_earlier(at, step_at(w, l));
    return at;
}
