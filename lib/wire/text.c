/* text.c - see text.h. The ranges are those of the Unicode standard's table of well-formed byte
 * sequences: no overlong forms, no surrogates, nothing above U+10FFFF. */
#include "wire/text.h"

static bool is_tail(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

size_t text_char(struct bytes s)
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

static bool is_control(struct bytes s)
{
    uint8_t a = s.p[0];
    return a < 0x20 || a == 0x7f || (a == 0xc2 && s.p[1] < 0xa0);
}

bool text_plain(struct bytes s)
{
    if (s.n > TEXT_PLAIN_MAX) return false;
    while (s.n > 0) {
        size_t n = text_char(s);
        if (n == 0 || is_control(s)) return false;
        s = bytes_of(s.p + n, s.n - n);
    }
    return true;
}

void text_copy(char *out, size_t size, struct bytes s)
{
    size_t len = 0;
    while (s.n > 0) {
        size_t n = s.p[0] == 0 ? 0 : text_char(s);
        size_t taken = n ? n : 1;
        if (len + taken >= size) break;
        if (n)
            memcpy(out + len, s.p, n);
        else
            out[len] = '?';
        len += taken;
        s = bytes_of(s.p + taken, s.n - taken);
    }
    out[len] = '\0';
}
