/* shelf.c - puts results that come in any order back into the order of the calls. Its size bounds
 * how far a finished call may be ahead of the oldest unfinished one. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

void shelf_init(struct shelf *s, size_t size)
{
    *s = (struct shelf){.size = size, .slot = calloc(size, sizeof *s->slot)};
    if (!s->slot) abort();
}

void shelf_done(struct shelf *s)
{
    for (size_t i = 0; i < s->size; i++) free(s->slot[i]);
    free(s->slot);
}

void shelf_put(struct shelf *s, size_t index, char *text)
{
    s->slot[index % s->size] = text;
}

char *shelf_take(struct shelf *s)
{
    char **slot = &s->slot[s->next % s->size];
    char *text = *slot;
    *slot = NULL;
    if (text) s->next++;
    return text;
}
