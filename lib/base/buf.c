/* buf.c - see buf.h. */
#include "base/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint8_t *buf_room_made(struct buf *b, size_t n)
{
    size_t max = buf_max(b);
    if (n > max || b->len > max - n) {
        b->failed = true;
        return NULL;
    }
    if (b->data && n <= b->cap - b->off - b->len) return b->data + b->off + b->len;
    if (b->off > 0 && b->off >= b->len && b->len + n <= b->cap) {
        /* The hole in front is at least as large as what moves: the cost stays linear. */
        memmove(b->data, b->data + b->off, b->len);
        b->off = 0;
        return b->data + b->len;
    }
    /* Doubled even if len + n fits, or a queue that stays nearly full is copied at each append. */
    size_t cap = b->cap ? 2 * b->cap : 256;
    while (cap < b->len + n) cap *= 2;
    uint8_t *data = malloc(cap);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    if (b->len) memcpy(data, b->data + b->off, b->len);
    if (!b->borrowed) free(b->data);
    b->borrowed = false;
    b->data = data;
    b->off = 0;
    b->cap = cap;
    return data + b->len;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->off += n;
    b->len -= n;
    if (b->len == 0) b->off = 0;
}

void buf_clear(struct buf *b)
{
    b->off = b->len = 0;
    b->failed = false;
}

void buf_wipe(struct buf *b)
{
    if (!b->data) return;
    size_t end = b->off + b->len;
    explicit_bzero(b->data, b->off);
    explicit_bzero(b->data + end, b->cap - end);
}

void buf_done(struct buf *b)
{
    if (!b->borrowed) free(b->data);
    *b = (struct buf){.max = b->max};
}
