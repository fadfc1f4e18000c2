/* utf8.c - see utf8.h. The ranges are those of the Unicode standard's table of well-formed byte
 * sequences. */
#include "base/utf8.h"

static bool is_tail(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

size_t utf8_char(struct bytes s)
{
    if (s.n == 0) return 0;
    uint8_t a = s.p[0];
    if (a < 0x80) return 1;
    if (a < 0xc2 || a > 0xf4) return 0;
    size_t n = a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;
    if (s.n < n) return 0;
    for (size_t i = 1; i < n; i++)
        if (!is_tail(s.p[i])) return 0;
    uint8_t b = s.p[1];
    bool overlong = (a == 0xe0 && b < 0xa0) || (a == 0xf0 && b < 0x90);
    bool surrogate = a == 0xed && b >= 0xa0;
    bool too_high = a == 0xf4 && b >= 0x90;
    return overlong || surrogate || too_high ? 0 : n;
}

size_t utf8_shown(struct bytes s)
{
    size_t n = utf8_char(s);
    if (n == 0) return 0;
    bool control = s.p[0] < 0x20 || s.p[0] == 0x7f || (s.p[0] == 0xc2 && s.p[1] < 0xa0);
    return control ? 0 : n;
}

/* Eight bytes at once, each of them from 0x20 to 0x7e: none has its high bit set, nor gets it by
 * adding 1 (0x7f does), and all keep one of the next two (0x20, 0x40). */
static bool is_plain(const uint8_t p[8])
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return ((v | (v + each)) & 0x80 * each) == 0 &&
           (((v << 1) | (v << 2)) & 0x80 * each) == 0x80 * each;
}

bool utf8_is_text(struct bytes s)
{
    const size_t all = s.n;
    while (s.n > 0) {
        /* Of the last few, some of those before are looked at once more. */
        const uint8_t *eight = s.n >= 8 ? s.p : all >= 8 ? s.p + s.n - 8 : NULL;
        if (eight && is_plain(eight)) {
            s = bytes_rest(s, s.n < 8 ? s.n : 8);
            continue;
        }
        size_t n = utf8_shown(s);
        if (n == 0) return false;
        s = bytes_rest(s, n);
    }
    return true;
}
