/* json.h - JSON with our limits, both ways: depth, integers of 64 bits, UTF-8. This is for children
 * and clients: a worker's parent never comes here. */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H

#include "base/buf.h"
#include "wire/fault.h"

#include <jansson.h>

#define JSON_DEPTH_MAX 128
#define JSON_DEPTH_WRITTEN (JSON_DEPTH_MAX - 1) /* a level may come around it */
#define VALUE_DEPTH_MAX 126 /* of one argument or result, which a message has within two levels */

/* ---- Reading --------------------------------------------------------------------------------- */

/* The value that all of text is. New reference, or NULL with *f set (DecodeError). */
json_t *wire_json(struct bytes text, struct fault *f);
/* The value at the front of *text, which moves behind it; what follows is not read, but
 * may hold no NUL and not be nested deeper than `depth` either. NULL if there is none. */
json_t *wire_json_front(struct bytes *text, size_t depth);
/* Why a message cannot carry j: "is nested too deeply" (VALUE_DEPTH_MAX), "has no JSON form"; NULL
 * if it can, but for its size. NULL is nothing. */
const char *json_unfit(const json_t *j);

/* ---- Writing --------------------------------------------------------------------------------- */

/* Appends j as compact text. False when out of memory, over max bytes or nested deeper than
 * JSON_DEPTH_WRITTEN, which nobody would read: *out is as it was. */
bool wire_json_append(const json_t *j, size_t max, struct buf *out);
/* The same, nested at most `depth` levels. */
bool wire_json_append_within(const json_t *j, size_t depth, size_t max, struct buf *out);
/* Appends v in decimal. False when out of memory. */
bool wire_json_append_int(int64_t v, struct buf *out);
/* Appends text as a JSON string. False when out of memory or if it is not UTF-8. */
bool wire_json_append_text(struct bytes text, struct buf *out);

#endif
