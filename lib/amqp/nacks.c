/* nacks.c - see nacks.h. */
#include "amqp/nacks.h"
#include "amqp/post.h"
#include "base/hash.h"

static uint64_t destination_of(const struct post *p)
{
    return bytes_hash(bytes_text(p->what.exchange)) +
           3 * bytes_hash(bytes_text(p->what.routing_key));
}

static struct nacked *find(struct nacks *n, uint64_t destination)
{
    for (unsigned i = 0; i < NACKS_PLACES; i++)
        if (n->at[i].count > 0 && n->at[i].destination == destination) return &n->at[i];
    return NULL;
}

static struct nacked *add(struct nacks *n, uint64_t destination)
{
    struct nacked *place = &n->at[n->next++ % NACKS_PLACES];
    n->used += place->count == 0;
    *place = (struct nacked){.destination = destination};
    return place;
}

void nacks_note(struct nacks *n, const struct post *p, bool taken)
{
    if (taken && n->used == 0) return; /* nearly always */
    uint64_t destination = destination_of(p);
    struct nacked *place = find(n, destination);
    if (!taken) {
        if (!place) place = add(n, destination);
        n->many |= ++place->count >= NACKS_MANY;
    } else if (place) {
        place->count = 0;
        n->used--;
    }
}
