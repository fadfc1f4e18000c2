/* scalar.h - the JSON text of the values that most arguments and results are, appended without a
 * detour: a number of these a microsecond is what a map of tiny items lives of. The text is what
 * jansson would write. */
#ifndef WIRE_SCALAR_H
#define WIRE_SCALAR_H

#include "base/buf.h"

#include <jansson.h>

/* False only when memory or the buffer's limit is short. */
bool scalar_int(struct buf *out, int64_t v);
/* s as a JSON string. False, with nothing appended, also if it is not plain ASCII that needs no
 * escapes: then the long way says what it is. */
bool scalar_text(struct buf *out, const char *s, size_t n);
/* Any value that is one of those, true, false or null. False: take the long way. */
bool scalar_append(struct buf *out, const json_t *j);

#endif
