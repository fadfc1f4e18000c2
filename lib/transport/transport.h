/* transport.h - where a client's messages go: `amqp` (a broker connection) or `relay` (from a pool
 * child up to its parent). The client is the same code over either. */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "transport/broker.h"

struct line;
struct transport;

struct transport_ops {
    int (*publish)(struct transport *x, const struct publish *p);
    bool (*flush)(struct transport *x);
    bool (*next)(struct transport *x, struct broker_event *ev);
    void (*turn)(struct transport *x, int64_t now);
    void (*poll)(const struct transport *x, struct pollfd *p, int64_t *wake);
    void (*free)(struct transport *x);
};

/* The first member of every transport. */
struct transport {
    const struct transport_ops *ops;
    struct broker *broker; /* amqp: the connection, for what only it has; relay: NULL */
    /* The task that runs here, for root and parent ids of what it sends; NULL outside of one. */
    const char *task_id, *root_id;
};

/* A connection to the broker. NULL when out of memory. */
struct transport *transport_amqp(const struct broker_config *cfg);
/* Up to the parent over a line (borrowed) in frames of wire/child.h. Messages sent this way have no
 * reply address, and no events come: their outcome is the parent's affair and settles with the
 * task. */
struct transport *transport_relay(struct line *up);

#endif
