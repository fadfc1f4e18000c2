/* text.h - text that came over the wire. Nothing here trusts its input; all of it is total. */
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

#endif
