/* utf8.h - which bytes are text, and which text may be shown. UTF-8 in its shortest form, without
 * surrogates, up to U+10FFFF; control characters (C0, DEL, C1) may not be shown. Total. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/bytes.h"

/* How many bytes the character at the front of s has; 0 if there is none. */
size_t utf8_char(struct bytes s);
/* The same, and 0 for a control character. */
size_t utf8_shown(struct bytes s);
/* True if all of s may be shown. */
bool utf8_is_text(struct bytes s);

#endif
