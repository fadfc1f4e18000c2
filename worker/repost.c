/* repost.c - messages that the broker did not take: each again in a second. Meanwhile they count as
 * unconfirmed, so what they follow from stays unsettled. */
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

#define REPOST_AFTER CLOCK_SECOND

struct repost {
    struct list link;
    int64_t due;
    struct publish p;
    struct buf bytes; /* what p points to */
};

/* Appends n bytes and returns where they will be, as an offset: the buffer may still move. */
static size_t keep(struct buf *b, const void *p, size_t n)
{
    size_t at = b->len;
    if (!buf_append(b, p, n)) abort();
    return at;
}

static size_t keep_text(struct buf *b, const char *s)
{
    return s ? keep(b, s, strlen(s) + 1) : 0;
}

void repost_later(struct worker *w, const struct publish *p)
{
    struct repost *again = calloc(1, sizeof *again);
    if (!again) abort();
    struct buf *b = &again->bytes;
    size_t exchange = keep_text(b, p->exchange), key = keep_text(b, p->routing_key);
    size_t ensure = keep_text(b, p->ensure);
    size_t props = keep(b, p->props.p, p->props.n), body = keep(b, p->body.p, p->body.n);
    const uint8_t *at = buf_head(b);
    again->p = *p;
    again->p.exchange = (const char *)at + exchange;
    again->p.routing_key = (const char *)at + key;
    if (p->ensure) again->p.ensure = (const char *)at + ensure;
    again->p.props = bytes_of(at + props, p->props.n);
    again->p.body = bytes_of(at + body, p->body.n);
    again->due = w->now + REPOST_AFTER;
    list_append(&w->reposts, &again->link);
}

static void repost_free(struct repost *again)
{
    list_remove(&again->link);
    buf_done(&again->bytes);
    free(again);
}

int64_t repost_next(const struct worker *w)
{
    return list_empty(&w->reposts) ? CLOCK_NEVER
                                   : list_first(&w->reposts, struct repost, link)->due;
}

void repost_due(struct worker *w)
{
    struct repost *again;
    list_each(again, &w->reposts, struct repost, link) {
        if (again->due > w->now) return;
        finish_repost(w, &again->p);
        repost_free(again);
    }
}

void repost_forget(struct worker *w, struct request *r)
{
    struct repost *again;
    list_each(again, &w->reposts, struct repost, link) {
        if (again->p.cookie == r) repost_free(again);
    }
}
