/* map.h - an intrusive hash map from strings to whatever embeds a struct map_node. Keys are
 * borrowed from the owner and must not change while it is in the map. Find, add and remove cost the
 * same however many are held; the table grows by doubling. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/bytes.h"

struct map_node {
    struct map_node *next;
    struct bytes key;
    uint64_t hash;
};

struct map {
    struct map_node **slots;
    size_t slot_count, count;
    size_t first;          /* all slots before it are empty */
    struct map_node *last; /* found last: who asks for it mostly asks again */
};

/* NULL if there is none. */
struct map_node *map_find(struct map *m, struct bytes key);
/* False when out of memory. The key must not be in the map yet; set n->key first. */
bool map_add(struct map *m, struct map_node *n);
/* n is in the map. */
void map_remove(struct map *m, struct map_node *n);
/* Any one member, NULL when empty: for emptying a map. */
struct map_node *map_any(struct map *m);
/* Frees the table, not the members. */
void map_done(struct map *m);

#endif
