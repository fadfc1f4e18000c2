/* put.c - from a call in C to an item of a map: its arguments as text, and what is done when a
 * message is full of them. */
#include "client/map.h"

#include "wire/json.h"

#include <stdlib.h>

#define WINDOW 1000
#define CHUNK_BYTES ((size_t)64 << 10) /* of items in one message */

size_t map_window(const struct ctask_map *m)
{
    if (m->window > 0) return m->window;
    size_t chunks = PACE_CHUNKS * pace_size(&m->pace);
    return chunks > WINDOW ? chunks : WINDOW;
}

static bool has_room(const struct ctask_map *m)
{
    return !m->ended && m->under_way < map_window(m);
}

static int room_check(const struct ctask_map *m, struct ctask_error *e)
{
    if (e->code != CTASK_OK || has_room(m)) return e->code;
    if (m->ended) return error_set(e, CTASK_EINVAL, "ctask_map_end was called");
    return error_set(e, CTASK_EAGAIN, "the window of the map is full");
}

/* How many items are to be in the chunk that is being filled. Towards the end they get smaller, so
 * that all workers are done at about the same time. */
static size_t chunk_goal(const struct ctask_map *m)
{
    size_t n = pace_size(&m->pace), least = n / 8;
    if (m->pace.fixed > 0) return n;
    if (m->window > 0 && n > m->window / 8) n = m->window / 8;
    if (m->left < SIZE_MAX && n > (m->left + m->item_count) / 16) {
        n = (m->left + m->item_count) / 16;
        if (n < least) n = least;
    }
    return n > 0 ? n : 1;
}

static void count(struct ctask_map *m, int n)
{
    m->stat.sent += (size_t)n;
    m->under_way += (size_t)n;
    if (m->left < SIZE_MAX) m->left -= (size_t)n;
}

/* The chunk that is being filled is full; its last item stands in m->items from `before` on.
 * Raises.
 */
static int chunk_full(struct ctask_map *m, size_t before)
{
    struct ctask_error e = {0};
    if (chunk_send(m, m->item_count > 1, &e) == CTASK_OK) return CTASK_OK;
    m->items.len = before;
    m->item_count--;
    count(m, -1);
    return error_raise(&e);
}

/* An item stands in m->items from `before` on. Raises. */
static int item_added(struct ctask_map *m, size_t before)
{
    m->item_count++;
    count(m, 1);
    bool full = m->item_count >= chunk_goal(m) || m->items.len >= CHUNK_BYTES;
    return full ? chunk_full(m, before) : CTASK_OK;
}

/* A call that no chunk takes: one with keyword arguments, or that is very large. */
static int put_alone(struct ctask_map *m, json_t *args, json_t *kwargs, struct ctask_error *e)
{
    struct member *k = calloc(1, sizeof *k);
    if (!k) error_set(e, CTASK_ENOMEM, "out of memory");
    if (e->code == CTASK_OK) chunk_send(m, true, e);
    struct ctask_result *r = call_send(m->client, &m->options, m->name, args, kwargs, true, e);
    if (e->code != CTASK_OK) {
        ctask_result_forget(r);
        free(k);
        return e->code;
    }
    k->index = m->stat.sent;
    count(m, 1);
    pthread_mutex_lock(&m->client->lock);
    gather_add(&m->gather, k, r);
    pthread_mutex_unlock(&m->client->lock);
    return CTASK_OK;
}

static bool text_fits(struct ctask_map *m, const json_t *args)
{
    if (m->item_count > 0 && !buf_append(&m->items, ",", 1)) return false;
    if (!args) return buf_append(&m->items, "[]", 2);
    return json_is_array(args) &&
           wire_json_append_within(args, ITEM_DEPTH_MAX, CHUNK_BYTES, &m->items);
}

static int put(struct ctask_map *m, json_t *args, json_t *kwargs, struct ctask_error *e)
{
    size_t before = m->items.len;
    room_check(m, e);
    bool plain =
        e->code == CTASK_OK && !json_object_size(kwargs) && (!kwargs || json_is_object(kwargs));
    if (plain && text_fits(m, args)) {
        json_decref(args);
        json_decref(kwargs);
        return item_added(m, before);
    }
    m->items.len = before;
    return put_alone(m, args, kwargs, e);
}

int ctask_map_put_json(struct ctask_map *m, json_t *args, json_t *kwargs)
{
    struct ctask_error e = {0};
    return put(m, args, kwargs, &e);
}

/* Appends an argument that needs no look; false, and what was appended is void, for any other. */
static bool arg_append(struct buf *out, const struct ctask_arg *a)
{
    if (a->key) return false;
    switch (a->kind) {
    case CTASK_NULL: return buf_append(out, "null", 4);
    case CTASK_BOOL: return a->v.b ? buf_append(out, "true", 4) : buf_append(out, "false", 5);
    case CTASK_INT: return wire_json_append_int(a->v.i, out);
    case CTASK_UINT: return a->v.u <= INT64_MAX && wire_json_append_int((int64_t)a->v.u, out);
    case CTASK_TEXT: return a->v.s && wire_json_append_text(bytes_text(a->v.s), out);
    case CTASK_REAL:
    case CTASK_JSON:
    case CTASK_TAKE:
    case CTASK_WRONG: break;
    }
    return false;
}

static bool args_append(struct ctask_map *m, size_t n, const struct ctask_arg *a)
{
    struct buf *out = &m->items;
    if (m->item_count > 0 ? !buf_append(out, ",[", 2) : !buf_append(out, "[", 1)) return false;
    for (size_t i = 0; i < n; i++)
        if ((i > 0 && !buf_append(out, ",", 1)) || !arg_append(out, &a[i])) return false;
    return buf_append(out, "]", 1);
}

/* Errors have the words of the long way. */
static int put_the_long_way(struct ctask_map *m, size_t n, const struct ctask_arg *a)
{
    struct ctask_error e = {0};
    json_t *args, *kwargs;
    room_check(m, &e);
    call_args(n, a, &args, &kwargs, &e);
    return put(m, args, kwargs, &e);
}

int ctask_map_put_args(struct ctask_map *m, size_t n, const struct ctask_arg *a)
{
    size_t before = m->items.len;
    if (has_room(m) && args_append(m, n, a) && m->items.len - before <= CHUNK_BYTES)
        return item_added(m, before);
    m->items.len = before;
    return put_the_long_way(m, n, a);
}
