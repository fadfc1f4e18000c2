/* relay.c - the transport of a running task: each message is one frame up to the parent, which
 * publishes it and settles the task only when it is confirmed. The write waits while the parent
 * does not read; that is its back-pressure. A parent that is gone ends the child by other means. */
#include "base/list.h"
#include "transport/transport.h"
#include "wire/child.h"

#include <stdlib.h>

/* The parent has it: an outcome for the client's books. */
struct handed {
    struct list link;
    void *cookie;
};

struct relay {
    struct transport x;
    struct line *up;
    bool announced;
    struct buf frame;
    struct list handed;
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
    struct handed *h = calloc(1, sizeof *h);
    if (!h) return CTASK_ENOMEM;
    h->cookie = p->cookie;
    buf_clear(&r->frame);
    int rc = CTASK_OK;
    if (!publish_write(&r->frame, &posted))
        rc = CTASK_ETOOBIG;
    else if (!child_frame_send(r->up, &r->frame))
        rc = CTASK_ECLOSED;
    if (rc == CTASK_OK)
        list_append(&r->handed, &h->link);
    else
        free(h);
    return rc;
}

static bool relay_flush(struct transport *x)
{
    (void)x;
    return true;
}

static bool relay_next(struct transport *x, struct broker_event *ev)
{
    struct relay *r = relay_of(x);
    *ev = (struct broker_event){.kind = BROKER_UP};
    if (!r->announced) return r->announced = true;
    if (list_empty(&r->handed)) return false;
    struct handed *h = list_first(&r->handed, struct handed, link);
    ev->kind = BROKER_PUBLISHED;
    ev->cookie = h->cookie;
    list_remove(&h->link);
    free(h);
    return true;
}

static void relay_turn(struct transport *x, int64_t now)
{
    (void)x;
    (void)now;
}

static void relay_poll(const struct transport *x, struct pollfd *p, int64_t *wake)
{
    const struct relay *r = relay_of(x);
    *p = (struct pollfd){.fd = -1};
    if (!r->announced || !list_empty(&r->handed)) *wake = 0;
}

static void relay_free(struct transport *x)
{
    struct relay *r = relay_of(x);
    struct handed *h;
    list_each(h, &r->handed, struct handed, link) free(h);
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
    list_init(&r->handed);
    return &r->x;
}
