/* pool.c - see pool.h. */
#include "base/pool.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS 0
#endif
#endif
#ifndef KEEPS
#define KEEPS 1
#endif

struct pool_piece {
    struct pool_piece *next;
};

void *pool_take(struct pool *p)
{
    struct pool_piece *piece = p->first;
    if (!piece) return malloc(p->size > sizeof *piece ? p->size : sizeof *piece);
    p->first = piece->next;
    p->kept--;
    return piece;
}

void pool_give(struct pool *p, void *piece)
{
    struct pool_piece *given = piece;
    if (!given) return;
    if (!KEEPS || p->kept >= p->most) {
        free(given);
        return;
    }
    given->next = p->first;
    p->first = given;
    p->kept++;
}

void pool_done(struct pool *p)
{
    while (p->first) free(pool_take(p));
}
