/* heap.h - a binary heap of deadlines. A member embeds a struct heap_node and is in at most one
 * heap. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t at;   /* set before heap_add */
    size_t place; /* 1-based; 0: not in a heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count, cap;
};

/* False when out of memory. */
bool heap_add(struct heap *h, struct heap_node *n);
void heap_remove(struct heap *h, struct heap_node *n);
/* The earliest; NULL when empty. */
static inline struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}
void heap_done(struct heap *h);

#endif
