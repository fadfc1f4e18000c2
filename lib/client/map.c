/* map.c - a stream of calls of one task in bounded memory. What lies between put and next is
 * bounded by the window; the sender is told when it is full, never made to wait for results. */
#include "client/map.h"

#include <stdlib.h>

#define SEND_AGAIN 0.25 /* seconds, when what was put could not leave */

/* ---- Open and close -------------------------------------------------------------------------- */

static bool text_keep(const char **s)
{
    if (!*s) return true;
    *s = strdup(*s);
    return *s != NULL;
}

static void map_free(struct ctask_map *m)
{
    reading_free(m->reading);
    if (m->item) {
        m->item->value = NULL; /* the reading's, like its error */
        if (m->item->extras) m->item->extras->error = NULL;
        m->item->state = CTASK_PENDING;
        ctask_result_forget(m->item);
    }
    buf_done(&m->items);
    buf_done(&m->body);
    free((char *)m->options.queue);
    free(m->name);
    if (m->client) client_unref(m->client);
    free(m);
}

/* What it needs beside its client. False when out of memory. */
static bool map_fill(struct ctask_map *m, const struct ctask_options *v, const char *name)
{
    m->options = *v;
    m->options.id = NULL; /* each item has one of its own */
    m->pace.fixed = (size_t)v->chunk;
    m->left = SIZE_MAX;
    m->opened_at = clock_now();
    gather_init(&m->gather);
    list_init(&m->replies);
    m->name = strdup(name);
    m->reading = reading_new();
    return text_keep(&m->options.queue) && m->name && m->reading;
}

struct ctask_map *ctask_map_open(struct ctask_client *c, const struct ctask_options *o,
                                 const char *name, size_t window)
{
    struct ctask_options v = call_options(o);
    struct ctask_error e = {0};
    char longest[PART_SIZE];
    if (call_check(&v, name, NULL, NULL, &e) != CTASK_OK) {
        error_raise(&e);
        return NULL;
    }
    struct ctask_map *m = calloc(1, sizeof *m);
    if (!m || !map_fill(m, &v, name)) {
        raise_error(CTASK_ENOMEM, "out of memory");
        if (m) map_free(m);
        return NULL;
    }
    m->window = window;
    c = client_or_default(c);
    if (client_enter(c) != CTASK_OK) {
        map_free(m);
        return NULL;
    }
    m->client = c;
    client_ref(c);
    memset(longest, '-', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    m->item = result_new(c, longest, true);
    client_leave(c);
    if (m->item && result_extras(m->item)) return m;
    raise_error(CTASK_ENOMEM, "out of memory");
    map_free(m);
    return NULL;
}

static void members_forget(struct list *members)
{
    struct member *k;
    list_each(k, members, struct member, link) {
        ctask_result_forget(k->r);
        free(k); /* or the chunk that begins with it */
    }
}

void ctask_map_close(struct ctask_map *m)
{
    struct ctask_error ignored = {0};
    struct chunk_reply *p;
    if (!m || client_forked(m->client)) return;
    ctask_result_forget(m->given);
    chunk_send(m, true, &ignored);
    pthread_mutex_lock(&m->client->lock);
    if (m->client->gathered > 0 && m->client->x) send_gathered(m->client);
    struct list *lists[] = {&m->gather.waiting, &m->gather.ended};
    struct member *k;
    for (size_t i = 0; i < 2; i++)
        list_each(k, lists[i], struct member, link) k->r->member = NULL;
    pthread_mutex_unlock(&m->client->lock);
    /* From here on no end moves a member and no reply finds a chunk. */
    list_each(p, &m->replies, struct chunk_reply, link) free(p);
    members_forget(&m->gather.waiting);
    members_forget(&m->gather.ended);
    map_free(m);
}

/* ---- Next ------------------------------------------------------------------------------------ */

void ctask_map_end(struct ctask_map *m)
{
    if (m->ended) return;
    struct ctask_error ignored = {0}; /* ctask_map_next tries again */
    m->ended = true;
    chunk_send(m, true, &ignored);
    if (client_enter(m->client) != CTASK_OK) return;
    send_gathered(m->client);
    client_leave(m->client);
}

/* What was put leaves before anybody waits. Raises what ends the map. */
static int map_flush(struct ctask_map *m, int64_t *deadline)
{
    struct ctask_client *c = m->client;
    struct ctask_error e = {0};
    if (m->item_count == 0) return CTASK_OK;
    int rc = client_hold(c);
    if (rc != CTASK_OK) return rc;
    bool waits = !chunk_news(c, m);
    client_leave(c);
    if (!waits || chunk_send(m, true, &e) == CTASK_OK) return CTASK_OK;
    *deadline = clock_earlier(*deadline, clock_in(SEND_AGAIN));
    return c->x ? CTASK_OK : error_raise(&e);
}

/* Takes what has come first, waiting for it: a handle that has ended, of an item or a chunk, or a
 * reply. Raises. */
static int map_take(struct ctask_map *m, int64_t deadline, struct member **k,
                    struct chunk_reply **p)
{
    struct ctask_client *c = m->client;
    int rc = client_hold(c);
    if (rc != CTASK_OK) return rc;
    if (c->gathered > 0 && c->x) send_gathered(c);
    rc = c->in_task ? CTASK_EINTASK : pump_until(c, chunk_news, m, deadline);
    if (rc == CTASK_OK && !list_empty(&m->replies)) {
        *p = list_first(&m->replies, struct chunk_reply, link);
        list_remove(&(*p)->link);
        (*p)->chunk->replies--;
    } else if (rc == CTASK_OK) {
        *k = gather_take(&m->gather);
    } else if (rc != CTASK_ETIMEDOUT) {
        raise_error(rc, "%s", ctask_strerror(rc));
    }
    client_leave(c);
    return rc;
}

/* An item of its own has ended: shows its handle. */
static void single_ended(struct ctask_map *m, struct member *k, size_t *index,
                         struct ctask_result **r)
{
    m->given = *r = k->r;
    *index = k->index;
    pace_ran(&m->pace, 1, k->r->runtime, 0);
    free(k);
}

/* 1: an item has ended. 0: there is nothing more to say at the moment, look again. */
static int map_advance(struct ctask_map *m, int64_t deadline, size_t *index,
                       struct ctask_result **r)
{
    struct member *k = NULL;
    struct chunk_reply *p = NULL;
    *r = m->item;
    if (reading_next(m, index)) return 1;
    if (m->under_way == 0) return 0;
    int rc = map_flush(m, &deadline);
    if (rc == CTASK_OK) rc = map_take(m, deadline, &k, &p);
    if (rc != CTASK_OK) return rc;
    if (p)
        reading_reply(m, p);
    else if (k->chunk)
        reading_ended(m, k->chunk);
    else {
        single_ended(m, k, index, r);
        return 1;
    }
    return 0;
}

static int map_timed_out(struct ctask_map *m, double timeout)
{
    int rc = client_enter(m->client);
    if (rc != CTASK_OK) return rc;
    raise_error(CTASK_ETIMEDOUT, "none of %zu tasks under way was done within %g s", m->under_way,
                timeout);
    rc = raise_reason(m->client, NULL);
    client_leave(m->client);
    return rc;
}

int ctask_map_next(struct ctask_map *m, double timeout, size_t *index, struct ctask_result **r)
{
    int64_t deadline = clock_in(timeout);
    size_t place;
    int rc;
    ctask_result_forget(m->given);
    m->given = NULL;
    do {
        rc = map_advance(m, deadline, &place, r);
        if (rc == 0 && m->under_way == 0)
            return m->ended ? 0 : raise_error(CTASK_EAGAIN, "nothing is under way");
    } while (rc == 0 || (rc == CTASK_ETIMEDOUT && clock_now() < deadline));
    if (rc == CTASK_ETIMEDOUT) return map_timed_out(m, timeout);
    if (rc != 1) return rc;
    m->under_way--;
    m->stat.done++;
    m->stat.failed += (*r)->state == CTASK_FAILURE;
    m->stat.serial += (*r)->runtime;
    if (index) *index = place;
    return 1;
}

struct ctask_map_stat ctask_map_stat(const struct ctask_map *m)
{
    struct ctask_map_stat s = m->stat;
    s.wall = clock_seconds(clock_now() - m->opened_at);
    s.window = map_window(m);
    return s;
}
