/* utf8.c - see utf8.h. */
#include "base/utf8.h"

size_t utf8_length(const uint8_t *p, size_t n)
{
    if (p[0] < 0x80) return p[0] >= 0x20 && p[0] != 0x7f;
    size_t length = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xc2 && p[1] < 0xa0) return 0; /* C1 */
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0; /* not the shortest */
    if (p[0] == 0xed && p[1] > 0x9f) return 0; /* a surrogate */
    if (p[0] == 0xf0 && p[1] < 0x90) return 0; /* not the shortest */
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0; /* beyond Unicode */
    return length;
}

bool utf8_is_text(struct bytes s)
{
    for (size_t i = 0, length; i < s.n; i += length) {
        length = utf8_length(s.p + i, s.n - i);
        if (length == 0) return false;
    }
    return true;
}
