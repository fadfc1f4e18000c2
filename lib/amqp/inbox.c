/* inbox.c - see inbox.h. */
#include "amqp/inbox.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct parcel {
    struct list link;
    struct envelope m;
    uint8_t bytes[]; /* names, properties, body */
};

void envelope_free(struct envelope *m)
{
    if (!m) return;
    struct parcel *p = container_of(m, struct parcel, m);
    list_remove(&p->link);
    if (m->spool >= 0) close(m->spool);
    free(p);
}

struct list *envelope_link(struct envelope *m)
{
    return &container_of(m, struct parcel, m)->link;
}

struct envelope *envelope_of(struct list *link)
{
    return &container_of(link, struct parcel, link)->m;
}

void inbox_init(struct inbox *in, uint64_t body_max)
{
    *in = (struct inbox){.body_max = body_max};
}

void inbox_reset(struct inbox *in)
{
    envelope_free(in->message);
    in->message = NULL;
    in->state = INBOX_IDLE;
}

static void name_keep(char out[NAME_MAX_BYTES + 1], struct bytes s)
{
    size_t n = s.n < NAME_MAX_BYTES ? s.n : NAME_MAX_BYTES;
    if (n) memcpy(out, s.p, n);
    out[n] = '\0';
}

const char *inbox_method(struct inbox *in, const struct inbox_head *h)
{
    if (in->state != INBOX_IDLE) return "a message was cut short by another";
    in->head.delivery = h->delivery;
    in->head.redelivered = h->redelivered;
    in->head.spool = h->spool;
    in->head.window = h->window;
    name_keep(in->head.exchange, h->exchange);
    name_keep(in->head.routing_key, h->routing_key);
    name_keep(in->head.queue, h->queue);
    in->state = INBOX_HEADER;
    return NULL;
}

/* Copies n bytes to *at, moves it behind them and returns where they are now. */
static void *place(uint8_t **at, const void *p, size_t n)
{
    void *here = *at;
    if (n) memcpy(here, p, n);
    *at += n;
    return here;
}

static struct envelope *envelope_new(const struct inbox *in, struct bytes props, uint64_t body_size)
{
    size_t held = body_size > in->body_max ? 0 : (size_t)body_size;
    size_t exchange = strlen(in->head.exchange) + 1, key = strlen(in->head.routing_key) + 1;
    size_t queue = strlen(in->head.queue) + 1;
    struct parcel *p = malloc(sizeof *p + exchange + key + queue + props.n + held);
    if (!p) return NULL;
    list_init(&p->link);
    struct envelope *m = &p->m;
    uint8_t *at = p->bytes;
    *m = (struct envelope){.delivery = in->head.delivery,
                           .redelivered = in->head.redelivered,
                           .window = in->head.window,
                           .body_size = body_size,
                           .spool = -1};
    m->exchange = place(&at, in->head.exchange, exchange);
    m->routing_key = place(&at, in->head.routing_key, key);
    m->queue = place(&at, in->head.queue, queue);
    m->props = bytes_of(place(&at, props.p, props.n), props.n);
    m->body = bytes_of(at, 0);
    if (body_size > in->body_max && in->head.spool) m->spool = fd_spool();
    return m;
}

static const char *header_take(struct inbox *in, const struct frame *f)
{
    struct bytes props;
    uint64_t size;
    if (!header_read(f->payload, &size, &props)) return "a content header is malformed";
    in->message = envelope_new(in, props, size);
    if (!in->message) return "out of memory for a message";
    in->missing = size;
    in->state = INBOX_BODY;
    return NULL;
}

/* A disk that is full turns a spooled message into a skipped one. */
static void spool_append(struct envelope *m, struct bytes part)
{
    while (part.n > 0 && m->spool >= 0) {
        ssize_t n = write(m->spool, part.p, part.n);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            close(m->spool);
            m->spool = -1;
            return;
        }
        part = bytes_of(part.p + n, part.n - (size_t)n);
    }
}

static const char *body_take(struct inbox *in, struct bytes part)
{
    struct envelope *m = in->message;
    if (part.n == 0 || part.n > in->missing) return "a body does not fit its header";
    if (m->body_size <= in->body_max) {
        memcpy((uint8_t *)(uintptr_t)m->body.p + m->body.n, part.p, part.n);
        m->body.n += part.n;
    } else {
        spool_append(m, part);
    }
    in->missing -= part.n;
    return NULL;
}

const char *inbox_content(struct inbox *in, const struct frame *f, struct envelope **done)
{
    const char *wrong = "a frame came out of order";
    *done = NULL;
    if (in->state == INBOX_HEADER && f->type == AMQP_FRAME_HEADER)
        wrong = header_take(in, f);
    else if (in->state == INBOX_BODY && f->type == AMQP_FRAME_BODY)
        wrong = body_take(in, f->payload);
    if (wrong || in->missing > 0) return wrong;
    *done = in->message;
    in->message = NULL;
    in->state = INBOX_IDLE;
    return NULL;
}
