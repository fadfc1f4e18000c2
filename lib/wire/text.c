/* text.c - see text.h. */
#include "wire/text.h"

#include "base/utf8.h"

bool text_plain(struct bytes s)
{
    return s.n <= TEXT_PLAIN_MAX && utf8_is_text(s);
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
        s = bytes_of(s.p + taken, s.n - taken);
    }
    out[len] = '\0';
}
