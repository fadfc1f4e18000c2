/* reading.c - what is known of a chunk, item by item. See map.h. A reply may come from a worker in
 * any language, or twice: the first end of an item counts, and what makes no sense fails the items
 * that it is about. */
#include "client/map.h"

#include "wire/element.h"

#include <stdio.h>
#include <stdlib.h>

struct reading {
    struct chunk *chunk;        /* NULL: nothing is read */
    size_t base, at, end;       /* of its items: the reply begins with base */
    struct chunk_reply *bytes;  /* what is read, NULL: a handle */
    struct starmap_reply reply; /* borrows from it; owns what is shown, with: */
    json_t *value;              /* of one item of a list */
    size_t note_at;             /* the next of its notes, which is: */
    struct note note;
    const json_t *note_result;
    double share; /* run time of an item of which no note says more */
    struct ctask_error error;
};

struct reading *reading_new(void)
{
    return calloc(1, sizeof(struct reading));
}

static void reading_empty(struct reading *g)
{
    starmap_reply_done(&g->reply);
    json_decref(g->value);
    free(g->bytes);
    g->value = NULL;
    g->bytes = NULL;
}

static void reading_done(struct reading *g)
{
    struct chunk *k = g->chunk;
    reading_empty(g);
    g->chunk = NULL;
    if (k && k->ended == k->n) chunk_free(k);
}

void reading_free(struct reading *g)
{
    if (!g) return;
    reading_empty(g);
    free(g);
}

/* ---- Begin ----------------------------------------------------------------------------------- */

static void whole_failed(struct reading *g, int code, const char *why)
{
    starmap_reply_done(&g->reply);
    g->note.item = SIZE_MAX;
    g->share = 0;
    error_set(&g->error, code, "%s", why);
}

/* Reads the next note into g->note; at the end of them one that is of no item. */
static bool note_next(struct reading *g)
{
    const json_t *j = json_array_get(g->reply.reply.notes, g->note_at++);
    g->note = (struct note){.item = SIZE_MAX};
    return !j || note_read(j, &g->note, &g->note_result);
}

/* Looks at all notes: in order, and about what is there. What they leave of the run time is that of
 * the others. */
static bool notes_sound(struct reading *g, size_t n)
{
    size_t last = SIZE_MAX, untold = n;
    double runtime = g->reply.reply.runtime;
    for (size_t i = 0; i < json_array_size(g->reply.reply.notes); i++) {
        if (!note_next(g) || g->note.item >= n || (last != SIZE_MAX && g->note.item <= last))
            return false;
        last = g->note.item;
        if (g->note.runtime <= 0) continue;
        runtime -= g->note.runtime;
        untold--;
    }
    g->share = untold > 0 && runtime > 0 ? runtime / (double)untold : 0;
    g->note_at = 0;
    return note_next(g);
}

/* A success: a list of values for count items, or for the first of them if it has notes. */
static void list_take(struct ctask_map *m, struct reading *g, size_t count)
{
    const struct starmap_reply *p = &g->reply;
    bool itemized = json_is_array(p->reply.notes);
    if (!p->listed || p->count > count || (p->count < count && !itemized) ||
        !notes_sound(g, p->count)) {
        whole_failed(g, CTASK_EPROTO, "what came for these items is no list of their values");
        return;
    }
    g->end = g->base + p->count;
    if (itemized) pace_ran(&m->pace, p->count, p->reply.runtime, p->list.n);
}

/* What came for one item that ran alone, or a failure. */
static void reply_take(struct ctask_map *m, struct reading *g, const struct reply *p, bool one)
{
    if (!p->ready) {
        g->end = g->at; /* none of them has ended */
        if (strcmp(p->state, STATE_RETRY) == 0) {
            pthread_mutex_lock(&m->client->lock);
            replies_retry(m->client, &p->fault);
            pthread_mutex_unlock(&m->client->lock);
        }
    } else if (!p->success) {
        error_set(&g->error, CTASK_ETASK, "%s", p->fault.text);
        memcpy(g->error.type, p->fault.type, sizeof g->error.type);
        g->share = one ? p->runtime : 0;
    } else if (one) {
        g->share = p->runtime;
        pace_ran(&m->pace, 1, g->share, 0);
    } else {
        list_take(m, g, g->end - g->base);
    }
}

static bool body_read(struct reading *g, struct bytes body, bool one, struct fault *f)
{
    if (one) return reply_read(body, &g->reply.reply, f);
    return starmap_reply_read(body, &g->reply, f);
}

static void body_decode(struct ctask_map *m, struct reading *g, const struct chunk_reply *r)
{
    struct fault f;
    if (r->too_big)
        whole_failed(g, CTASK_ETOOBIG, "the result is over the size limit");
    else if (!body_read(g, bytes_of(r->body, r->n), r->one, &f))
        whole_failed(g, CTASK_EPROTO, f.text);
    else
        reply_take(m, g, &g->reply.reply, r->one);
}

static void reading_begin(struct reading *g, struct chunk *k, size_t first, size_t count)
{
    reading_done(g);
    *g = (struct reading){.chunk = k, .base = first, .at = first, .note.item = SIZE_MAX};
    g->end = count > 0 ? first + count : k->n;
}

void reading_reply(struct ctask_map *m, struct chunk_reply *r)
{
    bool known = r->first <= r->chunk->n && r->count <= r->chunk->n - r->first;
    if (!known) {
        free(r);
        return;
    }
    reading_begin(m->reading, r->chunk, r->first, r->count);
    m->reading->bytes = r;
    body_decode(m, m->reading, r);
}

void reading_ended(struct ctask_map *m, struct chunk *k)
{
    pthread_mutex_lock(&m->client->lock);
    list_append(&m->gather.waiting, &k->member.link); /* so that ctask_map_close finds it */
    pthread_mutex_unlock(&m->client->lock);
    reading_begin(m->reading, k, 0, 0);
    if (k->member.r->state == CTASK_FAILURE) m->reading->error = *ctask_result_error(k->member.r);
}

/* ---- Items ----------------------------------------------------------------------------------- */

/* Fails the item that is shown. */
static void show_failure(struct reading *g, struct ctask_result *r, int code, const char *type,
                         const char *text)
{
    error_set(&g->error, code, "%s", text);
    snprintf(g->error.type, sizeof g->error.type, "%s", type);
    r->state = CTASK_FAILURE;
}

/* The value of a list that is shown next; NULL: there is none. */
static json_t *value_read(struct reading *g, struct bytes one, struct fault *f)
{
    json_decref(g->value);
    g->value = element_value(one, f);
    return g->value;
}

static void show(struct ctask_map *m, size_t i, struct bytes one, const struct note *note)
{
    struct reading *g = m->reading;
    struct ctask_result *r = m->item;
    struct extras *x = r->extras;
    struct fault f;
    free(x->trouble);
    x->trouble = NULL;
    part_write(r->id, bytes_text(g->chunk->member.r->id), i, 0);
    r->redelivered = g->reply.reply.redelivered;
    r->runtime = note && note->runtime > 0 ? note->runtime : g->share;
    x->error = &g->error;
    r->state = g->error.code == CTASK_OK ? CTASK_SUCCESS : CTASK_FAILURE;
    if (!g->reply.listed) {
        r->value = g->reply.reply.result;
    } else if (note && note->failed) {
        r->value = (json_t *)g->note_result;
        show_failure(g, r, CTASK_ETASK, note->fault.type, note->fault.text);
    } else if (!(r->value = value_read(g, one, &f))) {
        show_failure(g, r, CTASK_EPROTO, "", "what came for this item is no value");
    }
}

/* True if item i has not ended before; it has now. */
static bool ends_now(struct chunk *k, size_t i)
{
    uint8_t bit = (uint8_t)(1u << (i % 8));
    if (k->over[i / 8] & bit) return false;
    k->over[i / 8] |= bit;
    k->ended++;
    return true;
}

bool reading_next(struct ctask_map *m, size_t *index)
{
    struct reading *g = m->reading;
    while (g->chunk && g->at < g->end) {
        size_t i = g->at++;
        struct bytes one = {0};
        bool noted = g->note.item == i - g->base;
        bool elsewhere = noted && g->note.elsewhere;
        if (g->reply.listed) {
            g->error.code = CTASK_OK; /* that of the item before */
            if (element_next(&g->reply.list, &one) != 1) g->reply.list.n = 0;
        }
        bool shown = !elsewhere && ends_now(g->chunk, i);
        if (shown) show(m, i, one, noted ? &g->note : NULL);
        if (noted) note_next(g);
        *index = g->chunk->first + i;
        if (shown) return true;
    }
    reading_done(g);
    return false;
}
