/* relay.c - the transport of a running task: each message is one frame up to the parent, which
 * publishes it and settles the task only when it is confirmed. The write waits while the parent
 * does not read; that is its back-pressure. A parent that is gone ends the child by other means. */
#include "base/list.h"
#include "transport/transport.h"
#include "transport/uplink.h"
#include "wire/child.h"

#include <stdlib.h>

struct relay {
    struct transport x;
    struct line *up;
    struct buf frame;
};

static struct relay *relay_of(const struct transport *x)
{
    return container_of(x, struct relay, x);
}

static int relay_publish(struct transport *x, const struct publish *p)
{
    struct relay *r = relay_of(x);
    struct posted posted = {.kind = POSTED_TASK,
                            .exchange = bytes_text(p->exchange),
                            .routing_key = bytes_text(p->routing_key),
                            .ensure = bytes_text(p->ensure),
                            .props = p->props,
                            .body = p->body,
                            .delay = p->delay};
    if (p->spool >= 0) return CTASK_EINVAL;
    buf_clear(&r->frame);
    if (!publish_write(&r->frame, &posted)) return CTASK_ETOOBIG;
    return uplink_send(r->up, &r->frame) ? CTASK_OK : CTASK_ECLOSED;
}

static bool relay_flush(struct transport *x)
{
    (void)x;
    return true;
}

static bool relay_next(struct transport *x, struct broker_event *ev)
{
    (void)x;
    (void)ev;
    return false;
}

static void relay_turn(struct transport *x, int64_t now)
{
    (void)x;
    (void)now;
}

static void relay_poll(const struct transport *x, struct pollfd *p, int64_t *wake)
{
    (void)x;
    (void)wake;
    *p = (struct pollfd){.fd = -1};
}

static void relay_free(struct transport *x)
{
    struct relay *r = relay_of(x);
    buf_done(&r->frame);
    free(r);
}

static const struct transport_ops relay_ops = {
    .publish = relay_publish,
    .flush = relay_flush,
    .next = relay_next,
    .turn = relay_turn,
    .poll = relay_poll,
    .free = relay_free,
};

struct transport *transport_relay(struct line *up)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->x.ops = &relay_ops;
    r->up = up;
    r->frame.max = CHILD_FRAME_MAX;
    return &r->x;
}
