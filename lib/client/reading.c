/* reading.c - what is known of a chunk, item by item. See map.h. A reply may come from a worker in
 * any language, or twice: the first end of an item counts, and what makes no sense fails the items
 * that it is about. */
#include "client/map.h"

#include "wire/outcome.h"

#include <stdlib.h>

#define AROUND 256 /* bytes of a reply that are about all items */

struct reading {
    struct chunk *chunk;  /* NULL: nothing is read */
    size_t base, at, end; /* of its items: the reply begins with base */
    struct reply reply;   /* owns what is shown */
    bool list;            /* its result is a list of values */
    size_t note_at;       /* the next of its notes, which is: */
    struct note note;
    const json_t *note_result;
    double share; /* run time of an item of which no note says more */
    struct ctask_error error;
};

struct reading *reading_new(void)
{
    return calloc(1, sizeof(struct reading));
}

static void reading_done(struct reading *g)
{
    struct chunk *k = g->chunk;
    reply_done(&g->reply);
    g->chunk = NULL;
    if (k && k->ended == k->n) chunk_free(k);
}

void reading_free(struct reading *g)
{
    if (!g) return;
    reply_done(&g->reply);
    free(g);
}

/* ---- Begin ----------------------------------------------------------------------------------- */

static void whole_failed(struct reading *g, int code, const char *why)
{
    reply_done(&g->reply);
    g->list = false;
    error_set(&g->error, code, "%s", why);
}

/* Reads the next note into g->note; at the end of them one that is of no item. */
static bool note_next(struct reading *g)
{
    const json_t *j = json_array_get(g->reply.items, g->note_at++);
    g->note = (struct note){.item = SIZE_MAX};
    return !j || note_read(j, &g->note, &g->note_result);
}

/* Looks at all notes: in order, and about what is there. What they leave of the run time is that of
 * the others. */
static bool notes_sound(struct reading *g, size_t n)
{
    size_t last = SIZE_MAX, untold = n;
    double runtime = g->reply.runtime;
    for (size_t i = 0; i < json_array_size(g->reply.items); i++) {
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
static void list_begin(struct ctask_map *m, struct reading *g, size_t count, size_t bytes)
{
    size_t n = json_array_size(g->reply.result);
    bool itemized = json_is_array(g->reply.items);
    if (!json_is_array(g->reply.result) || n > count || (n < count && !itemized) ||
        !notes_sound(g, n)) {
        whole_failed(g, CTASK_EPROTO, "what came for these items is no list of their values");
        return;
    }
    g->list = true;
    g->end = g->base + n;
    if (itemized) pace_ran(&m->pace, n, g->reply.runtime, bytes > AROUND ? bytes - AROUND : 0);
}

static void body_begin(struct ctask_map *m, struct reading *g, const struct chunk_reply *r)
{
    struct fault f;
    if (r->too_big) {
        whole_failed(g, CTASK_ETOOBIG, "the result is over the size limit");
    } else if (!reply_read(bytes_of(r->body, r->n), &g->reply, &f)) {
        whole_failed(g, CTASK_EPROTO, f.text);
    } else if (!g->reply.ready) {
        g->end = g->at; /* on its way: nobody sees that */
    } else if (!g->reply.success) {
        error_set(&g->error, CTASK_ETASK, "%s", g->reply.fault.text);
        memcpy(g->error.type, g->reply.fault.type, sizeof g->error.type);
        g->share = r->one ? g->reply.runtime : 0;
    } else if (r->one) {
        g->share = g->reply.runtime;
        pace_ran(&m->pace, 1, g->share, 0);
    } else {
        list_begin(m, g, g->end - g->base, r->n);
    }
}

static void begin(struct reading *g, struct chunk *k, size_t first, size_t count)
{
    reading_done(g);
    *g = (struct reading){.chunk = k, .base = first, .at = first, .note.item = SIZE_MAX};
    g->end = count > 0 ? first + count : k->n;
}

void reading_reply(struct ctask_map *m, struct chunk_reply *r)
{
    bool known = r->first <= r->chunk->n && r->count <= r->chunk->n - r->first;
    if (known) {
        begin(m->reading, r->chunk, r->first, r->count);
        body_begin(m, m->reading, r);
    }
    free(r);
}

void reading_ended(struct ctask_map *m, struct chunk *k)
{
    begin(m->reading, k, 0, 0);
    if (k->member.r->state == CTASK_FAILURE) m->reading->error = *k->member.r->error;
}

/* ---- Items ----------------------------------------------------------------------------------- */

static void show(struct ctask_map *m, size_t i, const struct note *note)
{
    struct reading *g = m->reading;
    struct ctask_result *r = m->item;
    struct bytes id = bytes_text(g->chunk->member.r->id);
    free(r->trouble);
    r->trouble = NULL;
    part_write(r->id, id, i, 0);
    r->redelivered = g->reply.redelivered;
    r->runtime = note && note->runtime > 0 ? note->runtime : g->share;
    r->error = &g->error;
    r->value = g->list ? json_array_get(g->reply.result, i - g->base) : g->reply.result;
    r->state = g->error.code == CTASK_OK ? CTASK_SUCCESS : CTASK_FAILURE;
    if (!note || !note->failed) return;
    error_set(&g->error, CTASK_ETASK, "%s", note->fault.text);
    memcpy(g->error.type, note->fault.type, sizeof g->error.type);
    r->value = (json_t *)g->note_result;
    r->state = CTASK_FAILURE;
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
    bool whole = !g->list;
    while (g->chunk && g->at < g->end) {
        size_t i = g->at++;
        struct note note, *about = NULL;
        if (g->note.item == i - g->base) {
            note = g->note;
            about = &note;
        }
        if (!whole) g->error.code = CTASK_OK; /* the note's of the item before */
        bool shown = !(about && about->elsewhere) && ends_now(g->chunk, i);
        if (shown) show(m, i, about);
        if (about) note_next(g);
        *index = g->chunk->first + i;
        if (shown) return true;
    }
    reading_done(g);
    return false;
}
