/* props.h - basic-class properties as bytes: flags, then each property that is set (AMQP 0-9-1,
 * 4.2.6.1). One walker and one writer, both without allocation beyond the output buffer; what is
 * published again keeps its header bytes, so librabbitmq's encoder, which wants a decoded table,
 * would not do. */
#ifndef BASE_PROPS_H
#define BASE_PROPS_H

#include "base/table.h"

/* In the order of the wire. */
enum property {
    PROP_CONTENT_TYPE,
    PROP_CONTENT_ENCODING,
    PROP_HEADERS,
    PROP_DELIVERY_MODE,
    PROP_PRIORITY,
    PROP_CORRELATION_ID,
    PROP_REPLY_TO,
    PROP_EXPIRATION,
    PROP_MESSAGE_ID,
    PROP_TIMESTAMP,
    PROP_TYPE,
    PROP_USER_ID,
    PROP_APP_ID,
    PROP_CLUSTER_ID,
    PROP_COUNT
};
/* What announces a property that is set. */
#define PROP_FLAG(property) (0x8000u >> (property))

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
