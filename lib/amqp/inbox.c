/* inbox.c - see inbox.h. */
#include "amqp/inbox.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

struct parcel {
    struct list link;
    bool usual; /* of PARCEL_USUAL bytes */
    struct envelope m;
    uint8_t bytes[]; /* names, properties, body */
};

static struct parcel *parcel_end(struct envelope *m)
{
    struct parcel *p = container_of(m, struct parcel, m);
    list_remove(&p->link);
    if (m->spool >= 0) close(m->spool);
    return p;
}

void envelope_free(struct envelope *m)
{
    if (m) free(parcel_end(m));
}

void envelope_recycle(struct envelope *m, struct spares *spares)
{
    struct parcel *p = m ? parcel_end(m) : NULL;
    if (p && p->usual)
        spares_give(spares, p);
    else
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

/* Appends a name and its NUL to names; how many bytes that are. */
static size_t name_keep(char *names, struct bytes s)
{
    size_t n = s.n < NAME_MAX_BYTES ? s.n : NAME_MAX_BYTES;
    if (n) memcpy(names, s.p, n);
    names[n] = '\0';
    return n + 1;
}

const char *inbox_method(struct inbox *in, const struct inbox_head *h)
{
    if (in->state != INBOX_IDLE) return "a message was cut short by another";
    in->head.delivery = h->delivery;
    in->head.redelivered = h->redelivered;
    in->head.window = h->window;
    char *names = in->head.names;
    size_t exchange = name_keep(names, h->exchange);
    size_t key = name_keep(names + exchange, h->routing_key);
    in->head.exchange_size = exchange;
    in->head.key_size = key;
    in->head.names_size = exchange + key + name_keep(names + exchange + key, h->queue);
    in->state = INBOX_HEADER;
    return NULL;
}

static struct parcel *parcel_new(const struct inbox *in, size_t size)
{
    bool usual = in->spares && size <= PARCEL_USUAL;
    struct parcel *p = usual ? spares_take(in->spares) : malloc(size);
    if (!p) return NULL;
    list_init(&p->link);
    p->usual = usual;
    return p;
}

/* ---- The spool ------------------------------------------------------------------------------- */

static void spool_open(struct envelope *m)
{
    m->spool = fd_spool();
    if (m->spool >= 0) return;
    m->spool_error = errno;
    if (m->body_size <= SPOOL_MEMORY_MAX) m->spool = fd_memory();
}

static bool spool_write(int fd, struct bytes part)
{
    while (part.n > 0) {
        ssize_t n = write(fd, part.p, part.n);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        part = bytes_of(part.p + n, part.n - (size_t)n);
    }
    return true;
}

/* All of one file, whose size is n, at the start of another. */
static bool spool_copy(int to, int from, size_t n)
{
    off_t at = 0;
    while ((size_t)at < n)
        if (sendfile(to, from, &at, n - (size_t)at) <= 0 && errno != EINTR) return false;
    return true;
}

/* The disk is full or broken: what is written of m moves into memory. */
static bool spool_move(struct envelope *m, size_t written)
{
    int disk = m->spool;
    if (m->spool_error) return false; /* it is in memory already */
    m->spool_error = errno;
    m->spool = m->body_size <= SPOOL_MEMORY_MAX ? fd_memory() : -1;
    bool ok = m->spool >= 0 && spool_copy(m->spool, disk, written);
    close(disk);
    return ok;
}

static void spool_append(struct envelope *m, struct bytes part, size_t written)
{
    if (m->spool < 0 || spool_write(m->spool, part)) return;
    if (spool_move(m, written) && spool_write(m->spool, part)) return;
    if (m->spool >= 0) close(m->spool);
    m->spool = -1;
}

/* ---- Contents -------------------------------------------------------------------------------- */

static struct envelope *envelope_new(const struct inbox *in, struct bytes props, uint64_t body_size)
{
    size_t held = body_size > in->body_max ? 0 : (size_t)body_size;
    size_t names = in->head.names_size;
    struct parcel *p = parcel_new(in, sizeof *p + names + props.n + held);
    if (!p) return NULL;
    struct envelope *m = &p->m;
    *m = (struct envelope){.delivery = in->head.delivery,
                           .redelivered = in->head.redelivered,
                           .window = in->head.window,
                           .exchange = (char *)p->bytes,
                           .props = bytes_of(p->bytes + names, props.n),
                           .body = bytes_of(p->bytes + names + props.n, 0),
                           .body_size = body_size,
                           .spool = -1};
    m->routing_key = m->exchange + in->head.exchange_size;
    m->queue = m->routing_key + in->head.key_size;
    memcpy(p->bytes, in->head.names, names);
    if (props.n) memcpy(p->bytes + names, props.p, props.n);
    if (body_size > in->body_max && in->spool) spool_open(m);
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

static const char *body_take(struct inbox *in, struct bytes part)
{
    struct envelope *m = in->message;
    if (part.n == 0 || part.n > in->missing) return "a body does not fit its header";
    if (m->body_size <= in->body_max) {
        memcpy((uint8_t *)(uintptr_t)m->body.p + m->body.n, part.p, part.n);
        m->body.n += part.n;
    } else {
        spool_append(m, part, (size_t)(m->body_size - in->missing));
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
