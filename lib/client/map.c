/* map.c - a stream of calls of one task in bounded memory, and plain arrays over it. What lies
 * between put and next is bounded by the window; the sender is told when it is full, never made to
 * wait for results. */
#include "client/inside.h"

#include <stdlib.h>

#define WINDOW 1000

struct ctask_map {
    struct ctask_client *client;
    struct ctask_options options; /* its strings are ours */
    char *name;
    struct gather gather;
    size_t window, under_way; /* under way: put and not taken by next */
    struct ctask_result *given;
    struct ctask_map_stat stat;
    int64_t opened_at;
    bool ended;
};

/* ---- Open and close -------------------------------------------------------------------------- */

static bool text_copy(const char **s)
{
    if (!*s) return true;
    *s = strdup(*s);
    return *s != NULL;
}

static void map_free(struct ctask_map *m)
{
    free((char *)m->options.queue);
    free(m->name);
    if (m->client) client_unref(m->client);
    free(m);
}

struct ctask_map *ctask_map_open(struct ctask_client *c, const struct ctask_options *o,
                                 const char *name, size_t window)
{
    struct ctask_options v = call_options(o);
    struct ctask_error e = {0};
    if (call_check(&v, name, NULL, NULL, &e) != CTASK_OK) {
        error_raise(&e);
        return NULL;
    }
    struct ctask_map *m = calloc(1, sizeof *m);
    if (!m) {
        raise_error(CTASK_ENOMEM, "out of memory");
        return NULL;
    }
    m->options = v;
    m->options.id = NULL; /* each item has one of its own */
    m->name = strdup(name);
    if (!text_copy(&m->options.queue) || !m->name) {
        raise_error(CTASK_ENOMEM, "out of memory");
        map_free(m);
        return NULL;
    }
    c = client_or_default(c);
    if (client_enter(c) != CTASK_OK) {
        map_free(m);
        return NULL;
    }
    m->client = c;
    client_ref(c);
    client_leave(c);
    gather_init(&m->gather);
    m->window = window ? window : WINDOW;
    m->opened_at = clock_now();
    return m;
}

static void members_forget(struct list *members)
{
    struct member *k;
    list_each(k, members, struct member, link) {
        ctask_result_forget(k->r);
        free(k);
    }
}

void ctask_map_close(struct ctask_map *m)
{
    if (!m || client_forked(m->client)) return;
    ctask_result_forget(m->given);
    pthread_mutex_lock(&m->client->lock);
    if (m->client->gathered > 0 && m->client->x) send_gathered(m->client);
    struct list *lists[] = {&m->gather.waiting, &m->gather.ended};
    struct member *k;
    for (size_t i = 0; i < 2; i++)
        list_each(k, lists[i], struct member, link) k->r->member = NULL;
    pthread_mutex_unlock(&m->client->lock);
    /* From here on no end moves a member. */
    members_forget(&m->gather.waiting);
    members_forget(&m->gather.ended);
    map_free(m);
}

/* ---- Put and next ---------------------------------------------------------------------------- */

static int put(struct ctask_map *m, json_t *args, json_t *kwargs, struct ctask_error *e)
{
    struct member *k = malloc(sizeof *k);
    if (m->under_way >= m->window) error_set(e, CTASK_EAGAIN, "the window of the map is full");
    if (m->ended) error_set(e, CTASK_EINVAL, "ctask_map_end was called");
    if (!k) error_set(e, CTASK_ENOMEM, "out of memory");
    struct ctask_result *r = call_send(m->client, &m->options, m->name, args, kwargs, true, e);
    if (e->code != CTASK_OK) {
        ctask_result_forget(r);
        free(k);
        return e->code;
    }
    k->index = m->stat.sent++;
    m->under_way++;
    pthread_mutex_lock(&m->client->lock);
    gather_add(&m->gather, k, r);
    pthread_mutex_unlock(&m->client->lock);
    return CTASK_OK;
}

int ctask_map_put_json(struct ctask_map *m, json_t *args, json_t *kwargs)
{
    struct ctask_error e = {0};
    return put(m, args, kwargs, &e);
}

int ctask_map_put_args(struct ctask_map *m, size_t n, const struct ctask_arg *a)
{
    struct ctask_error e = {0};
    json_t *args, *kwargs;
    call_args(n, a, &args, &kwargs, &e);
    return put(m, args, kwargs, &e);
}

void ctask_map_end(struct ctask_map *m)
{
    m->ended = true;
    if (client_enter(m->client) != CTASK_OK) return;
    send_gathered(m->client);
    client_leave(m->client);
}

static bool item_ended(struct ctask_client *c, void *m)
{
    (void)c;
    return !list_empty(&((struct ctask_map *)m)->gather.ended);
}

/* Takes the next member that has ended, waiting for it. Raises. */
static int map_take(struct ctask_map *m, double timeout, struct member **k)
{
    struct ctask_client *c = m->client;
    int64_t deadline = clock_in(timeout);
    int rc = client_hold(c);
    if (rc != CTASK_OK) return rc;
    if (c->gathered > 0 && c->x) send_gathered(c);
    rc = c->in_task ? CTASK_EINTASK : pump_until(c, item_ended, m, deadline);
    if (rc == CTASK_OK)
        *k = gather_take(&m->gather);
    else if (rc == CTASK_ETIMEDOUT)
        raise_error(rc, "none of %zu tasks under way was done within %g s", m->under_way, timeout);
    else
        raise_error(rc, "%s", ctask_strerror(rc));
    client_leave(c);
    return rc;
}

int ctask_map_next(struct ctask_map *m, double timeout, size_t *index, struct ctask_result **r)
{
    ctask_result_forget(m->given);
    m->given = NULL;
    if (m->under_way == 0) return m->ended ? 0 : raise_error(CTASK_EAGAIN, "nothing is under way");
    struct member *k = NULL;
    int rc = map_take(m, timeout, &k);
    if (rc != CTASK_OK) return rc;
    m->given = *r = k->r;
    m->under_way--;
    m->stat.done++;
    m->stat.failed += (*r)->state == CTASK_FAILURE;
    m->stat.serial += (*r)->runtime;
    if (index) *index = k->index;
    free(k);
    return 1;
}

struct ctask_map_stat ctask_map_stat(const struct ctask_map *m)
{
    struct ctask_map_stat s = m->stat;
    s.wall = clock_seconds(clock_now() - m->opened_at);
    return s;
}

/* ---- Plain arrays ---------------------------------------------------------------------------- */

#define NOWHERE SIZE_MAX

struct arrays {
    struct ctask_map *map;
    struct ctask_array in;
    struct ctask_out out;
    size_t n, put;
    size_t *places; /* of the map's items, since what is not sent has no index there */
    size_t failed;  /* the place of the first failure so far, NOWHERE: of the whole */
    struct ctask_error why;
};

static void failed_at(struct arrays *a, size_t place, const struct ctask_error *e)
{
    if (a->why.code != CTASK_OK && place > a->failed) return;
    a->failed = place;
    a->why = *e;
}

/* Puts until the window is full. False when sending as such does not work. */
static bool arrays_put(struct arrays *a)
{
    for (; a->put < a->n; a->put++) {
        if (a->map->under_way >= a->map->window) return true;
        struct ctask_arg x = a->in.load(a->in.p, a->put);
        size_t item = a->map->stat.sent;
        int rc = ctask_map_put_args(a->map, 1, &x);
        if (rc == CTASK_OK) {
            a->places[item] = a->put;
            continue;
        }
        failed_at(a, a->put, ctask_error());
        if (rc != CTASK_EINVAL && rc != CTASK_ETOOBIG) return false;
    }
    ctask_map_end(a->map);
    return true;
}

static void arrays_store(struct arrays *a, size_t place, struct ctask_result *r)
{
    struct ctask_out at = a->out;
    if (at.p) at.p = (char *)at.p + place * at.size;
    int rc = ctask_result_get(r, 0, at);
    if (rc != CTASK_OK) failed_at(a, place, ctask_error());
}

static void arrays_run(struct arrays *a, int64_t deadline)
{
    size_t item;
    struct ctask_result *r;
    while (arrays_put(a)) {
        int64_t left = deadline - clock_now();
        int rc = ctask_map_next(a->map,
                                deadline == CLOCK_NEVER ? -1
                                : left < 0              ? 0
                                                        : left / 1e9,
                                &item, &r);
        if (rc == 0) return;
        if (rc != 1) {
            a->failed = NOWHERE;
            a->why = *ctask_error();
            return;
        }
        arrays_store(a, a->places[item], r);
    }
}

int ctask_map_arrays(struct ctask_client *c, double timeout, const char *name,
                     struct ctask_array in, struct ctask_out out, size_t n)
{
    int64_t deadline = clock_in(timeout);
    if (out.kind == CTASK_OUT_TEXT && out.p)
        return raise_error(CTASK_EINVAL, "text lives in handles, which a map of arrays does not "
                                         "keep: use an array of json_t *");
    struct arrays a = {.in = in, .out = out, .n = n};
    a.map = ctask_map_open(c, NULL, name, 0);
    if (!a.map) return ctask_error()->code;
    a.places = calloc(n ? n : 1, sizeof *a.places);
    if (a.places)
        arrays_run(&a, deadline);
    else
        error_set(&a.why, CTASK_ENOMEM, "out of memory");
    ctask_map_close(a.map);
    free(a.places);
    if (a.why.code == CTASK_OK) return CTASK_OK;
    struct ctask_error e = a.why;
    if (a.failed != NOWHERE) error_set(&e, a.why.code, "item %zu: %s", a.failed, a.why.text);
    memcpy(e.type, a.why.type, sizeof e.type);
    return error_raise(&e);
}
