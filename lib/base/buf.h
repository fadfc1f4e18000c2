/* buf.h - a byte queue: appended at the end, consumed at the front, never larger than max.
 *
 * The bytes held are buf_head(b)[0 .. b->len). `= {.max = N}` is a valid empty one; max 0 means
 * BUF_MAX. A failed append (memory or max) leaves the buffer as it was and returns false; `failed`
 * then stays set until buf_clear, so a run of appends can be checked once at its end.
 *
 * `= buf_over(room, sizeof room, max)` begins in memory of the caller's, mostly on the stack, and
 * takes to its own when that is full. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/bytes.h"

#define BUF_MAX ((size_t)256 << 20)

struct buf {
    uint8_t *data;
    size_t off, len, cap, max;
    bool failed;
    bool borrowed; /* data is not its own */
};

static inline struct buf buf_over(void *room, size_t n, size_t max)
{
    return (struct buf){.data = room, .cap = n, .max = max, .borrowed = true};
}

static inline uint8_t *buf_head(const struct buf *b)
{
    return b->off ? b->data + b->off : b->data; /* not NULL + 0, as in bytes_rest */
}

static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->len ? buf_head(b) : (const uint8_t *)"", b->len);
}

static inline size_t buf_max(const struct buf *b)
{
    return b->max ? b->max : BUF_MAX;
}

/* Makes room for n more bytes and returns where they go, NULL if it cannot; buf_added says how
 * many were written there. */
uint8_t *buf_room_made(struct buf *b, size_t n);
static inline uint8_t *buf_room(struct buf *b, size_t n)
{
    if (b->data && n <= b->cap - b->off - b->len && b->len + n <= buf_max(b))
        return buf_head(b) + b->len;
    return buf_room_made(b, n);
}
static inline void buf_added(struct buf *b, size_t n)
{
    b->len += n;
}
static inline bool buf_append(struct buf *b, const void *p, size_t n)
{
    if (b->failed) return false;
    if (n == 0) return true;
    uint8_t *at = buf_room(b, n);
    if (!at) return false;
    memcpy(at, p, n);
    b->len += n;
    return true;
}
static inline bool buf_bytes_append(struct buf *b, struct bytes s)
{
    return buf_append(b, s.p, s.n);
}
static inline bool buf_text(struct buf *b, const char *s)
{
    return buf_bytes_append(b, bytes_text(s));
}
/* Integers in network order. */
static inline bool buf_u8(struct buf *b, uint8_t v)
{
    return buf_append(b, &v, 1);
}
static inline bool buf_u16(struct buf *b, uint16_t v)
{
    uint8_t x[2];
    bytes_put_be16(x, v);
    return buf_append(b, x, sizeof x);
}
static inline bool buf_u32(struct buf *b, uint32_t v)
{
    uint8_t x[4];
    bytes_put_be32(x, v);
    return buf_append(b, x, sizeof x);
}
static inline bool buf_u64(struct buf *b, uint64_t v)
{
    uint8_t x[8];
    bytes_put_be64(x, v);
    return buf_append(b, x, sizeof x);
}
void buf_consume(struct buf *b, size_t n);
/* Empties it, keeping its memory. */
void buf_clear(struct buf *b);
/* Zeroes what was in it before and is not held any more. */
void buf_wipe(struct buf *b);
/* Frees its memory, if it is its own; it is empty and usable again. */
void buf_done(struct buf *b);

#endif
