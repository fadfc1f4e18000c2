/* text.c - see text.h. */
#include "wire/text.h"

#include "base/utf8.h"

#include <endian.h>

bool text_plain(struct bytes s)
{
    return s.n <= TEXT_PLAIN_MAX && utf8_is_text(s);
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The highest bit of each byte of x that is zero. Above one that is there may be others that are
 * not. */
static uint64_t zeros(uint64_t x)
{
    return (x - EACH(1)) & ~x & EACH(0x80);
}

/* The same of the bytes that need an escape, or are not ASCII. */
static uint64_t odd_ones(uint64_t x)
{
    uint64_t low = (x - EACH(0x20)) & ~x & EACH(0x80);
    return (x & EACH(0x80)) | low | zeros(x ^ EACH('"')) | zeros(x ^ EACH('\\'));
}

size_t text_literal(struct bytes s)
{
    size_t i = 0;
    for (uint64_t word; s.n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        uint64_t odd = odd_ones(le64toh(word)); /* the first byte is the lowest */
        if (odd) return i + (size_t)__builtin_ctzll(odd) / 8;
    }
    while (i < s.n && s.p[i] >= 0x20 && s.p[i] < 0x80 && s.p[i] != '"' && s.p[i] != '\\') i++;
    return i;
}

void text_copy(char *out, size_t size, struct bytes s)
{
    size_t len = 0;
    if (s.n < size && utf8_is_text(s)) { /* nearly always */
        if (s.n) memcpy(out, s.p, s.n);
        out[s.n] = '\0';
        return;
    }
    while (s.n > 0) {
        size_t n = s.p[0] == 0 ? 0 : utf8_char(s);
        size_t taken = n ? n : 1;
        if (len + taken >= size) break;
        if (n)
            memcpy(out + len, s.p, n);
        else
            out[len] = '?';
        len += taken;
        s = bytes_rest(s, taken);
    }
    out[len] = '\0';
}
