/* post.c - see post.h. */
#include "amqp/post.h"
#include "base/props.h"
#include "base/table.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define AGAIN "x-ctask-again"

uint64_t post_body_size(const struct post *p)
{
    return p->what.spool_size ? p->what.spool_size : p->what.body.n;
}

const char *post_exchange(const struct post *p, char room[LADDER_EXCHANGE_SIZE])
{
    return p->what.delay > 0 ? ladder_entry(p->what.delay, room) : p->what.exchange;
}

const char *post_key(const struct post *p, char room[NAME_MAX_BYTES + 1])
{
    return p->what.delay > 0 ? ladder_key(p->what.delay, p->what.ensure, room)
                             : p->what.routing_key;
}

bool post_body_read(const struct post *p, uint64_t at, uint8_t *to, size_t n)
{
    if (p->what.spool_size == 0) {
        memcpy(to, p->what.body.p + at, n);
        return true;
    }
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(p->what.spool, to + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

void post_mark(struct post *p)
{
    struct props props;
    struct field f;
    struct buf headers = {.max = FRAME_MAX}, out = {.max = HEADER_LIMIT + 32};
    if (props_read(p->what.props, &props) || table_find(props.headers, AGAIN, &f)) return;
    buf_bytes_append(&headers, props.headers);
    table_put_bool(&headers, AGAIN, true);
    props.has_headers = true;
    props.headers = buf_bytes(&headers);
    if (!headers.failed && props_write(&out, &props)) {
        free(p->marked);
        p->marked = out.data;
        p->what.props = buf_bytes(&out);
        out = (struct buf){0};
    }
    buf_done(&headers);
    buf_done(&out);
}

bool post_matches(const struct post *p, const struct envelope *m, struct bytes correlation)
{
    struct props props;
    char room[NAME_MAX_BYTES + 1], entry[LADDER_EXCHANGE_SIZE];
    if (p->returned || post_body_size(p) != m->body_size ||
        strcmp(post_exchange(p, entry), m->exchange) != 0 ||
        strcmp(post_key(p, room), m->routing_key) != 0)
        return false;
    if (bytes_equal(p->what.props, m->props)) return true;
    props_read(p->what.props, &props);
    return correlation.n > 0 && bytes_equal(props.correlation_id, correlation);
}
