/* hear.c - what passes on the lines, both ways: what children say, frame by frame, and what they
 * are told, as far as there is room. Nothing here waits, and a talkative child stalls nobody else.
 */
#include "wire/child.h"
#include "worker/worker.h"

#include <errno.h>

void child_write(struct child *k)
{
    for (size_t n; k->out.len > 0; buf_consume(&k->out, n)) {
        n = line_put(&k->ends.line, buf_head(&k->out), k->out.len);
        if (n == 0) return; /* full: the bell rings when there is room */
    }
    if (k->out.cap > 65536) buf_done(&k->out);
}

/* Writes to all children at once: one that is woken for a single job has done it before the next is
 * there, and would be woken for each. */
void pool_write(struct pool *p)
{
    struct child *k;
    list_each(k, &p->all, struct child, link)
        if (k->out.len > 0) child_write(k);
}

bool pool_is_full(const struct pool *p)
{
    struct child *k;
    list_each(k, &p->all, struct child, link)
        if (k->state < CHILD_RETIRING && (k->out.len > 0 || k->in.len > 0)) return true;
    return false;
}

/* Of what k may speak of now. */
static uint64_t nonce_of(const struct child *k)
{
    const struct request *r = jobs_first(k);
    return r ? r->nonce : k->nonce;
}

/* CHILD_EVENTS: it is none that a child may say. */
static enum child_event event_of(enum child_frame_type type)
{
    switch (type) {
    case CHILD_DONE: return EVENT_DONE;
    case CHILD_PUBLISH: return EVENT_PUBLISH;
    case CHILD_OUTPUT: return EVENT_OUTPUT;
    case CHILD_LEAVE: return EVENT_LEAVE;
    default: return CHILD_EVENTS;
    }
}

/* Takes whole frames off what was heard. */
static void child_hear(struct worker *w, struct child *k)
{
    enum child_frame_type type;
    struct bytes payload;
    int rc;
    while ((rc = child_frame_next(buf_bytes(&k->in), nonce_of(k), &type, &payload)) == 1) {
        size_t whole = (size_t)(payload.p + payload.n - buf_head(&k->in));
        enum child_event e = event_of(type);
        if (e == CHILD_EVENTS) {
            rc = -1;
            break;
        }
        child_happen(w, k, e, payload);
        buf_consume(&k->in, whole);
    }
    if (rc < 0 && k->state != CHILD_LOST) pool_lose(w, k, "does not speak sense any more");
    if (k->in.len == 0 && k->in.cap > 65536) buf_done(&k->in);
}

size_t child_read(struct worker *w, struct child *k, size_t limit)
{
    while (limit > 0 && k->state != CHILD_LOST) {
        uint8_t *at = buf_room(&k->in, CHILD_READ_ROOM);
        size_t room = k->in.cap - k->in.off - k->in.len;
        long n = at ? line_get(&k->ends.line, at, room < limit ? room : limit) : -1;
        if (n < 0)
            pool_lose(w, k, at ? "has overwritten its line to the worker" : "wrote too much");
        if (n <= 0) break;
        buf_added(&k->in, (size_t)n);
        limit -= (size_t)n;
        child_hear(w, k);
    }
    return limit;
}

/* Too much of its task is unconfirmed: it is not read from for now, and so waits for room. */
static bool child_waits(const struct worker *w, const struct child *k)
{
    return k->state == CHILD_BUSY && finish_is_full(w, jobs_first(k));
}

unsigned pool_poll(struct pool *p, struct pollfd *fds)
{
    unsigned n = 0;
    struct child *k;
    list_each(k, &p->all, struct child, link) {
        /* A lost or leaving child is heard no more: its end of line would wake us for nothing. */
        bool silent = k->state == CHILD_LOST || k->state == CHILD_RETIRING;
        k->polled = &fds[n];
        fds[n++] = (struct pollfd){.fd = silent ? -1 : k->ends.line.bell, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = k->ends.output, .events = POLLIN};
    }
    return n;
}

bool pool_listen(struct pool *p)
{
    const struct worker *w = container_of(p, struct worker, pool);
    bool any = false;
    struct child *k;
    list_each(k, &p->all, struct child, link)
        if (k->state < CHILD_RETIRING)
            any |= line_listen(&k->ends.line, !child_waits(w, k), k->out.len > 0);
    return any;
}

/* A task has overwritten the number of jobs that k has begun. All that k is given would look begun,
 * and if it never is, nobody would notice. */
static bool is_ahead(const struct child *k)
{
    return line_begun(&k->ends.line) - k->done > k->held;
}

/* What k's bell says, and what is on its line. */
static size_t child_turn(struct worker *w, struct child *k, bool rung, size_t limit)
{
    int rc = rung ? line_hush(&k->ends.line, false) : 1;
    bool junk = rc < 0 && errno == EPROTO;
    line_awake(&k->ends.line);
    if (k->out.len > 0) child_write(k);
    if (!child_waits(w, k)) limit = child_read(w, k, limit);
    if (junk && k->state < CHILD_RETIRING)
        pool_lose(w, k, "wrote junk to its line to the worker");
    else if (rc <= 0 && !line_has(&k->ends.line))
        child_happen(w, k, EVENT_HANGUP, bytes_of(NULL, 0));
    if (k->state < CHILD_RETIRING && is_ahead(k))
        pool_lose(w, k, "has begun more than it was given");
    return limit;
}

void pool_turn(struct worker *w)
{
    struct list *all = &w->pool.all;
    size_t left = POOL_READ_MAX;
    struct child *k;
    list_each(k, all, struct child, link) {
        bool rung = k->polled && k->polled[0].revents, printed = k->polled && k->polled[1].revents;
        k->polled = NULL;
        left = child_turn(w, k, rung, left);
        if (printed) left = output_read(k, w->now, left);
        if (left > 0) continue;
        /* The list begins behind k from now on: those are heard first next time. */
        list_remove(all);
        list_prepend(&k->link, all);
        break;
    }
}
