/* scalar.c - see scalar.h. */
#include "wire/scalar.h"

#define DIGITS_MAX 20 /* of a 64-bit number, with its sign */

bool scalar_int(struct buf *out, int64_t v)
{
    char digits[DIGITS_MAX];
    size_t at = sizeof digits;
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (v < 0) digits[--at] = '-';
    return buf_append(out, digits + at, sizeof digits - at);
}

static bool is_plain(char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

bool scalar_text(struct buf *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_plain(s[i])) return false;
    uint8_t *at = out->failed ? NULL : buf_room(out, n + 2);
    if (!at) return false;
    at[0] = at[n + 1] = '"';
    if (n > 0) memcpy(at + 1, s, n);
    buf_added(out, n + 2);
    return true;
}

bool scalar_append(struct buf *out, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_INTEGER: return scalar_int(out, json_integer_value(j));
    case JSON_STRING: return scalar_text(out, json_string_value(j), json_string_length(j));
    case JSON_TRUE: return buf_append(out, "true", 4);
    case JSON_FALSE: return buf_append(out, "false", 5);
    case JSON_NULL: return buf_append(out, "null", 4);
    case JSON_REAL:
    case JSON_OBJECT:
    case JSON_ARRAY: break;
    }
    return false;
}
