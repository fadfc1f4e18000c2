/* text.h - text that goes and comes over the wire. Nothing here trusts its input; all of it is
 * total. */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

#include "base/bytes.h"

#define TEXT_PLAIN_MAX 255 /* as much as an AMQP short string holds */

/* True if s can be an id or a name: at most 255 bytes of UTF-8 without control characters. */
bool text_plain(struct bytes s);
/* How many bytes at the front of s stand for themselves in a JSON string: ASCII from the space on,
 * without quotes and backslashes. */
size_t text_literal(struct bytes s);
/* Copies s into out (size bytes, always terminated) as UTF-8 without NUL: '?' stands for each byte
 * that is neither, and what does not fit is cut between two characters. */
void text_copy(char *out, size_t size, struct bytes s);
/* Writes v in decimal, at most 20 bytes of it, so that it ends before `end`; returns its start. By
 * hand: it is done for every id and every number. */
static inline char *text_decimal(char *end, uint64_t v)
{
    do *--end = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    return end;
}

#endif
