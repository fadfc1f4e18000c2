/* pending.c - the handles whose ends are not known, by id: chains of about one handle each. The
 * table grows by doubling, and the old one is emptied into the new one two slots at each addition,
 * so that nobody ever waits for a million handles to be moved. */
#include "client/inside.h"

#include "base/hash.h"

#include <stdlib.h>

#define SLOTS_MIN 64
#define SLOTS_KEPT 8192 /* of an empty table; a larger one is let go */
#define MOVED_AT_ONCE 2

static struct ctask_result **slot_of(struct ctask_result **slots, size_t count, uint64_t hash)
{
    return &slots[hash & (count - 1)];
}

static void chain_add(struct pending *p, struct ctask_result *r)
{
    struct ctask_result **slot = slot_of(p->slots, p->slot_count, r->hash);
    r->next = *slot;
    *slot = r;
}

static void slots_move(struct pending *p, size_t n)
{
    for (; n > 0 && p->old; n--) {
        struct ctask_result *next, *r = p->old[p->moved];
        for (; r; r = next) {
            next = r->next;
            chain_add(p, r);
        }
        p->old[p->moved++] = NULL;
        if (p->moved < p->old_count) continue;
        free(p->old);
        p->old = NULL;
    }
}

/* A table that cannot grow gets slower, no more; only the first one must be had. */
static bool slots_grow(struct pending *p)
{
    size_t count = p->slot_count ? 2 * p->slot_count : SLOTS_MIN;
    struct ctask_result **slots = calloc(count, sizeof *slots);
    if (!slots) return p->slot_count > 0;
    if (p->slot_count > 0) {
        p->old = p->slots;
        p->old_count = p->slot_count;
        p->moved = 0;
    }
    p->slots = slots;
    p->slot_count = count;
    return true;
}

static struct ctask_result *chain_find(struct ctask_result *r, struct bytes id, uint64_t hash)
{
    while (r && !(r->hash == hash && bytes_is(id, r->id))) r = r->next;
    return r;
}

static struct ctask_result *find(const struct pending *p, struct bytes id, uint64_t hash)
{
    if (p->count == 0) return NULL;
    struct ctask_result *r = chain_find(*slot_of(p->slots, p->slot_count, hash), id, hash);
    if (!r && p->old) r = chain_find(*slot_of(p->old, p->old_count, hash), id, hash);
    return r;
}

struct ctask_result *pending_find(const struct pending *p, struct bytes id)
{
    return find(p, id, bytes_hash(id));
}

int pending_add(struct pending *p, struct ctask_result *r)
{
    r->hash = bytes_hash(bytes_text(r->id));
    if (find(p, bytes_text(r->id), r->hash)) return CTASK_EINVAL;
    if (p->count >= p->slot_count && !p->old && !slots_grow(p)) return CTASK_ENOMEM;
    slots_move(p, MOVED_AT_ONCE);
    chain_add(p, r);
    p->count++;
    r->pending = true;
    return CTASK_OK;
}

static bool chain_cut(struct ctask_result **at, const struct ctask_result *r)
{
    while (*at && *at != r) at = &(*at)->next;
    if (!*at) return false;
    *at = r->next;
    return true;
}

void pending_remove(struct pending *p, struct ctask_result *r)
{
    if (!chain_cut(slot_of(p->slots, p->slot_count, r->hash), r))
        chain_cut(slot_of(p->old, p->old_count, r->hash), r);
    r->pending = false;
    r->runtime = 0;
    if (--p->count == 0 && p->slot_count > SLOTS_KEPT && !p->walked) pending_done(p);
}

static void chains_walk(struct ctask_result **slots, size_t n, pending_fn *fn, void *ctx)
{
    for (size_t i = 0; i < n; i++)
        for (struct ctask_result *next, *r = slots[i]; r; r = next) {
            next = r->next;
            fn(r, ctx);
        }
}

void pending_walk(struct pending *p, pending_fn *fn, void *ctx)
{
    p->walked = true;
    if (p->old) chains_walk(p->old, p->old_count, fn, ctx);
    chains_walk(p->slots, p->slot_count, fn, ctx);
    p->walked = false;
}

void pending_done(struct pending *p)
{
    free(p->old);
    free(p->slots);
    *p = (struct pending){0};
}
