/* nacks.h - destinations whose messages the broker does not accept, one nack after the other.
 *
 * RabbitMQ keeps what it knows of a queue with the channel that publishes to the queue. After the
 * node of a quorum queue's leader went down, that channel was seen to nack every message for as
 * long as the node stayed down, while a new channel published to the new leader at once (3.10). So
 * the third nack in a row is a reason to open the channel anew. */
#ifndef AMQP_NACKS_H
#define AMQP_NACKS_H

#include <stdbool.h>
#include <stdint.h>

struct post;

#define NACKS_MANY 3
#define NACKS_PLACES 16 /* a further destination takes the place of the oldest one */

struct nacks {
    struct nacked {
        uint64_t destination;
        unsigned count; /* 0: the place is free */
    } at[NACKS_PLACES];
    unsigned used; /* places that are not free */
    unsigned next; /* the one to be taken */
    bool many;     /* a destination has had NACKS_MANY since the channel was opened */
};

/* The broker's answer to p. */
void nacks_note(struct nacks *n, const struct post *p, bool taken);

#endif
