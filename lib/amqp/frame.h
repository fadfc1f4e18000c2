/* frame.h - bytes to frames and back: {type u8, channel u16, size u32, payload, 0xCE}. No I/O.
 *
 * This is where librabbitmq ends: it encodes and decodes methods and is asked for nothing else (its
 * own I/O can block for ever: rabbitmq-c#519). Only the methods that a broker may send us are ever
 * given to its decoder, and none of these holds a table. The four that come and go with each
 * message (publish, deliver, ack, nack) are not worth its detours and are read and written here. */
#ifndef AMQP_FRAME_H
#define AMQP_FRAME_H

#include "base/buf.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#define FRAME_MAX ((size_t)131072) /* what we ask for, always (a smaller one kills consumers) */
#define FRAME_OVERHEAD ((size_t)8)

/* ---- Reading --------------------------------------------------------------------------------- */

struct frame {
    uint8_t type; /* AMQP_FRAME_... */
    uint16_t channel;
    struct bytes payload; /* borrowed from the stream */
};

/* Takes the frame at the front of stream. Its whole size, 0 if more bytes are needed, -1 if this
 * is no frame or one over max. */
long frame_next(struct bytes stream, size_t max, struct frame *f);

/* Decodes a method's payload into pool, which is recycled: what an earlier call returned is gone.
 * Strings borrow from the payload. NULL if it is unsound or not for us, *id 0 if it has none. */
const void *method_read(amqp_pool_t *pool, struct bytes payload, amqp_method_number_t *id);

/* The number of a method, 0 if it has none. */
amqp_method_number_t method_number(struct bytes payload);
/* What method_read would make of a payload with that number; borrowed. False if it is cut short. */
struct deliver {
    struct bytes consumer_tag, exchange, routing_key;
    uint64_t tag;
    bool redelivered;
};
bool deliver_read(struct bytes payload, struct deliver *d);
struct confirm { /* basic.ack, basic.nack */
    uint64_t tag;
    bool multiple;
};
bool confirm_read(struct bytes payload, struct confirm *c);

/* A content header's parts, borrowed. False if unsound. */
bool header_read(struct bytes payload, uint64_t *body_size, struct bytes *props);

/* ---- Writing: appends to out, all or nothing ------------------------------------------------- */

/* args: the library's struct for id. Short strings in it are at most 255 bytes: the library does
 * not look and would write a wrong length. */
bool frame_method(struct buf *out, uint16_t channel, amqp_method_number_t id, void *args);
/* basic.publish, mandatory. Both names are at most 255 bytes. */
bool frame_publish(struct buf *out, uint16_t channel, struct bytes exchange, struct bytes key);
bool frame_header(struct buf *out, uint16_t channel, uint64_t body_size, struct bytes props);
bool frame_heartbeat(struct buf *out);

/* A frame in two steps: n bytes of payload are written to where frame_room says (NULL: no room),
 * then sealed. */
uint8_t *frame_room(struct buf *out, size_t n);
void frame_seal(struct buf *out, uint8_t type, uint16_t channel, size_t n);

static inline amqp_bytes_t amqp_text(const char *s)
{
    return (amqp_bytes_t){strlen(s), (void *)(uintptr_t)s};
}

static inline struct bytes bytes_amqp(amqp_bytes_t b)
{
    return bytes_of(b.bytes, b.len);
}

#endif
