/* props.h - basic-class properties as bytes: flags, then each property that is set (AMQP 0-9-1,
 * 4.2.6.1). One walker and one writer, both without allocation beyond the output buffer; what is
 * published again keeps its header bytes, so librabbitmq's encoder, which wants a decoded table,
 * would not do. */
#ifndef BASE_PROPS_H
#define BASE_PROPS_H

#include "base/table.h"

struct props {
    bool has_headers, has_delivery_mode, has_priority, has_timestamp;
    struct bytes content_type, content_encoding; /* n == 0 with p == NULL: not set */
    struct bytes headers;                        /* the entries, see table.h */
    uint8_t delivery_mode, priority;
    struct bytes correlation_id, reply_to, expiration, message_id;
    uint64_t timestamp;
    struct bytes type, user_id, app_id, cluster_id;
};

/* Reads raw, borrowing from it. NULL, or what is wrong; static. A header table that fails
 * table_check is a fault too, but then everything else in *out is set and headers is empty. */
const char *props_read(struct bytes raw, struct props *out);

/* Appends the encoding of *p. False when a short string is over 255 bytes or memory is short. */
bool props_write(struct buf *out, const struct props *p);

#endif
