/* body.h - how JSON leaves this room. */
#ifndef WIRE_BODY_H
#define WIRE_BODY_H

#include "base/buf.h"

#include <jansson.h>

/* Appends j as compact text. False when out of memory or over max bytes: *out is as it was. */
bool body_append(const json_t *j, size_t max, struct buf *out);

#endif
