/* bytes.h - a borrowed run of bytes, not NUL-terminated. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *p;
    size_t n;
};

static inline struct bytes bytes_of(const void *p, size_t n)
{
    return (struct bytes){p, n};
}

static inline struct bytes bytes_text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* What is left of s without its first n bytes, which it has. With n == 0 s.p may be NULL, and
 * NULL + 0 is undefined in C11. Compilers make a plain addition of the two cases. */
static inline struct bytes bytes_rest(struct bytes s, size_t n)
{
    return (struct bytes){n ? s.p + n : s.p, s.n - n};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool bytes_is(struct bytes a, const char *s)
{
    return bytes_equal(a, bytes_text(s));
}

static inline bool bytes_begins(struct bytes s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static inline bool bytes_has(struct bytes s, const char *words)
{
    return s.n && memmem(s.p, s.n, words, strlen(words)) != NULL;
}

/* Numbers in network order. */
static inline uint16_t bytes_be16(const uint8_t *p)
{
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return be16toh(x);
}

static inline uint32_t bytes_be32(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return be32toh(x);
}

static inline uint64_t bytes_be64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return be64toh(x);
}

static inline void bytes_put_be16(uint8_t *p, uint16_t x)
{
    x = htobe16(x);
    memcpy(p, &x, sizeof x);
}

static inline void bytes_put_be32(uint8_t *p, uint32_t x)
{
    x = htobe32(x);
    memcpy(p, &x, sizeof x);
}

static inline void bytes_put_be64(uint8_t *p, uint64_t x)
{
    x = htobe64(x);
    memcpy(p, &x, sizeof x);
}

/* For printf("%.*s", BYTES_ARG(b)). */
#define BYTES_ARG(b) (int)(b).n, (const char *)(b).p

#endif
