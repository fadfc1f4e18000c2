/* buf.h - a byte queue: appended at the end, consumed at the front, never larger than max.
 *
 * The bytes held are buf_head(b)[0 .. b->len). `= {.max = N}` is a valid empty one; max 0 means
 * BUF_MAX. A failed append (memory or max) leaves the buffer as it was and returns false; `failed`
 * then stays set until buf_clear, so a run of appends can be checked once at its end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/bytes.h"

#define BUF_MAX ((size_t)256 << 20)

struct buf {
    uint8_t *data;
    size_t off, len, cap, max;
    bool failed;
};

static inline uint8_t *buf_head(const struct buf *b)
{
    return b->data + b->off;
}

static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->len ? buf_head(b) : (const uint8_t *)"", b->len);
}

/* Makes room for n more bytes and returns where they go, NULL if it cannot; buf_added says how
 * many were written there. */
uint8_t *buf_room(struct buf *b, size_t n);
static inline void buf_added(struct buf *b, size_t n)
{
    b->len += n;
}
bool buf_append(struct buf *b, const void *p, size_t n);
static inline bool buf_bytes_append(struct buf *b, struct bytes s)
{
    return buf_append(b, s.p, s.n);
}
/* Integers in network order. */
bool buf_u8(struct buf *b, uint8_t v);
bool buf_u16(struct buf *b, uint16_t v);
bool buf_u32(struct buf *b, uint32_t v);
bool buf_u64(struct buf *b, uint64_t v);
void buf_consume(struct buf *b, size_t n);
/* Empties it, keeping its memory. */
void buf_clear(struct buf *b);
/* Zeroes what was in it before and is not held any more. */
void buf_wipe(struct buf *b);
/* Frees its memory; it is empty and usable again. */
void buf_done(struct buf *b);

#endif
