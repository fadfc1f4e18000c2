/* amqp.c - the transport over a broker connection: nothing but the broker's own functions. */
#include "transport/transport.h"

#include <stdlib.h>

static int amqp_publish(struct transport *x, const struct publish *p)
{
    return broker_publish(x->broker, p);
}

static bool amqp_flush(struct transport *x)
{
    return broker_flush(x->broker);
}

static bool amqp_next(struct transport *x, struct broker_event *ev)
{
    return broker_next(x->broker, ev);
}

static void amqp_turn(struct transport *x, int64_t now)
{
    broker_turn(x->broker, now);
}

static void amqp_poll(const struct transport *x, struct pollfd *p, int64_t *wake)
{
    broker_poll(x->broker, p, wake);
}

static void amqp_free(struct transport *x)
{
    broker_free(x->broker);
    free(x);
}

static const struct transport_ops amqp_ops = {
    .publish = amqp_publish,
    .flush = amqp_flush,
    .next = amqp_next,
    .turn = amqp_turn,
    .poll = amqp_poll,
    .free = amqp_free,
};

struct transport *transport_amqp(const struct broker_config *cfg)
{
    struct transport *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->ops = &amqp_ops;
    x->broker = broker_new(cfg);
    if (x->broker) return x;
    free(x);
    return NULL;
}
