/* heap.c - see heap.h. Places count from 1, so that the parent of place i is i / 2. */
#include "base/heap.h"

#include <stdlib.h>

static struct heap_node *node_at(const struct heap *h, size_t place)
{
    return h->nodes[place - 1];
}

static void node_put(struct heap *h, size_t place, struct heap_node *n)
{
    h->nodes[place - 1] = n;
    n->place = place;
}

/* Puts n at `place` or, if that breaks the order, further up or down where it belongs. */
static void node_settle(struct heap *h, size_t place, struct heap_node *n)
{
    while (place > 1 && n->at < node_at(h, place / 2)->at) {
        node_put(h, place, node_at(h, place / 2));
        place /= 2;
    }
    for (;;) {
        size_t child = 2 * place;
        if (child < h->count && node_at(h, child + 1)->at < node_at(h, child)->at) child++;
        if (child > h->count || n->at <= node_at(h, child)->at) break;
        node_put(h, place, node_at(h, child));
        place = child;
    }
    node_put(h, place, n);
}

bool heap_add(struct heap *h, struct heap_node *n)
{
    if (h->count == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 16;
        struct heap_node **nodes = realloc(h->nodes, cap * sizeof *nodes);
        if (!nodes) return false;
        h->nodes = nodes;
        h->cap = cap;
    }
    h->count++;
    node_settle(h, h->count, n);
    return true;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (n->place == 0) return;
    size_t place = n->place;
    struct heap_node *last = node_at(h, h->count--);
    if (last != n) node_settle(h, place, last);
    n->place = 0;
}

void heap_done(struct heap *h)
{
    for (size_t i = 0; i < h->count; i++) h->nodes[i]->place = 0;
    free(h->nodes);
    *h = (struct heap){0};
}
