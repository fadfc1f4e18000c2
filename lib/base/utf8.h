/* utf8.h - which bytes are text that may be shown: UTF-8 in its shortest form, without control
 * characters (C0, DEL, C1). */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/bytes.h"

/* How many bytes the character at p (n > 0) has; 0 if it is none that may be shown. */
size_t utf8_length(const uint8_t *p, size_t n);
/* True if all of s may be shown. */
bool utf8_is_text(struct bytes s);

#endif
