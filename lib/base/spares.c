/* spares.c - see spares.h. */
#include "base/spares.h"

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

struct spare {
    struct spare *next;
};

void *spares_take(struct spares *s)
{
    struct spare *piece = s->first;
    if (!piece) return malloc(s->size > sizeof *piece ? s->size : sizeof *piece);
    s->first = piece->next;
    __builtin_prefetch(s->first); /* it has left the caches since it was given back */
    s->kept--;
    return piece;
}

void spares_give(struct spares *s, void *piece)
{
    struct spare *given = piece;
    if (!given) return;
    if (!KEEPS || s->kept >= s->most) {
        free(given);
        return;
    }
    given->next = s->first;
    s->first = given;
    s->kept++;
}

void spares_done(struct spares *s)
{
    while (s->first) free(spares_take(s));
}
