/* spares.h - equal pieces of memory that come and go by the thousand: those given back are taken
 * again. Each is malloc's own, so what is over `most` goes back there, and a piece may as well be
 * made by malloc or ended by free. `= {.size = N, .most = M}` is a valid empty one. Not for several
 * threads at a time. Under the address sanitizer none are kept, so that it sees who uses one that
 * was given back. */
#ifndef BASE_SPARES_H
#define BASE_SPARES_H

#include <stddef.h>

struct spares {
    size_t size, most; /* of a piece; how many are kept */
    size_t kept;
    struct spare *first;
};

/* Not zeroed. NULL when out of memory. */
void *spares_take(struct spares *s);
/* piece may be NULL. */
void spares_give(struct spares *s, void *piece);
/* Frees those that are kept; it is empty and usable again. */
void spares_done(struct spares *s);

#endif
