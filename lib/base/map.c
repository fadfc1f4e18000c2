/* map.c - see map.h. */
#include "base/map.h"

#include "base/hash.h"

#include <stdlib.h>

#define SLOTS_MIN 16

static size_t slot_of(const struct map *m, uint64_t hash)
{
    return hash & (m->slot_count - 1);
}

static void node_link(struct map *m, struct map_node *n)
{
    size_t slot = slot_of(m, n->hash);
    n->next = m->slots[slot];
    m->slots[slot] = n;
    if (slot < m->first) m->first = slot;
}

static bool grow(struct map *m)
{
    size_t old_count = m->slot_count;
    size_t count = old_count ? 2 * old_count : SLOTS_MIN;
    struct map_node **slots = calloc(count, sizeof *slots);
    if (!slots) return false;
    struct map_node **old = m->slots;
    m->slots = slots;
    m->slot_count = m->first = count;
    for (size_t i = 0; i < old_count; i++)
        for (struct map_node *n = old[i], *next; n; n = next) {
            next = n->next;
            node_link(m, n);
        }
    free(old);
    return true;
}

struct map_node *map_find(struct map *m, struct bytes key)
{
    if (m->count == 0) return NULL;
    if (m->last && bytes_equal(m->last->key, key)) return m->last;
    uint64_t hash = bytes_hash(key);
    struct map_node *n = m->slots[slot_of(m, hash)];
    while (n && !(n->hash == hash && bytes_equal(n->key, key))) n = n->next;
    if (n) m->last = n;
    return n;
}

bool map_add(struct map *m, struct map_node *n)
{
    /* A table that cannot grow gets slower, no more; only the first one must be had. */
    if (m->count >= m->slot_count && !grow(m) && m->slot_count == 0) return false;
    n->hash = bytes_hash(n->key);
    node_link(m, n);
    m->count++;
    return true;
}

void map_remove(struct map *m, struct map_node *n)
{
    struct map_node **at = &m->slots[slot_of(m, n->hash)];
    while (*at != n) at = &(*at)->next;
    *at = n->next;
    n->next = NULL;
    if (m->last == n) m->last = NULL;
    m->count--;
}

struct map_node *map_any(struct map *m)
{
    if (m->count == 0) return NULL;
    while (!m->slots[m->first]) m->first++;
    return m->slots[m->first];
}

void map_done(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}
