/* body.h - how JSON leaves this room, and a part of how it comes. */
#ifndef WIRE_BODY_H
#define WIRE_BODY_H

#include "base/buf.h"
#include "wire/message.h"

#define BODY_DEPTH_MAX (JSON_DEPTH_MAX - 1) /* a level may come around it */

/* Appends j as compact text. False when out of memory, over max bytes or nested deeper than
 * BODY_DEPTH_MAX, which nobody would read: *out is as it was. */
bool body_append(const json_t *j, size_t max, struct buf *out);
/* The same, nested at most `depth` levels. */
bool body_append_within(const json_t *j, size_t depth, size_t max, struct buf *out);
/* Appends v in decimal. False when out of memory. */
bool body_append_int(int64_t v, struct buf *out);
/* Appends text as a JSON string. False when out of memory or if it is not UTF-8. */
bool body_append_text(struct bytes text, struct buf *out);

/* The value at the front of *text, which moves behind it; what follows is not read, but
 * may hold no NUL and not be nested deeper than `depth` either. NULL if there is none. */
json_t *wire_json_front(struct bytes *text, size_t depth);

#endif
