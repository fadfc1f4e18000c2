/* frame.c - see frame.h. */
#include "amqp/frame.h"

#define METHOD_MAX 4096 /* ours: a few names of 255 bytes, the client properties */
#define HEADER_FIXED 12 /* class, weight, body size */

long frame_next(struct bytes stream, size_t max, struct frame *f)
{
    if (stream.n < 7) return 0;
    uint8_t type = stream.p[0];
    size_t size = bytes_be32(stream.p + 3);
    if (type != AMQP_FRAME_METHOD && type != AMQP_FRAME_HEADER && type != AMQP_FRAME_BODY &&
        type != AMQP_FRAME_HEARTBEAT)
        return -1;
    if (size > max - FRAME_OVERHEAD) return -1;
    if (stream.n < size + FRAME_OVERHEAD) return 0;
    if (stream.p[7 + size] != AMQP_FRAME_END) return -1;
    *f = (struct frame){type, bytes_be16(stream.p + 1), bytes_of(stream.p + 7, size)};
    return (long)(size + FRAME_OVERHEAD);
}

/* What a broker may send to this client, but for connection.start, whose table we read ourselves.
 */
static bool method_expected(amqp_method_number_t id)
{
    switch (id) {
    case AMQP_CONNECTION_TUNE_METHOD:
    case AMQP_CONNECTION_OPEN_OK_METHOD:
    case AMQP_CONNECTION_CLOSE_METHOD:
    case AMQP_CONNECTION_CLOSE_OK_METHOD:
    case AMQP_CONNECTION_BLOCKED_METHOD:
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
    case AMQP_CHANNEL_OPEN_OK_METHOD:
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CHANNEL_CLOSE_OK_METHOD:
    case AMQP_EXCHANGE_DECLARE_OK_METHOD:
    case AMQP_EXCHANGE_BIND_OK_METHOD:
    case AMQP_QUEUE_DECLARE_OK_METHOD:
    case AMQP_QUEUE_BIND_OK_METHOD:
    case AMQP_QUEUE_DELETE_OK_METHOD:
    case AMQP_BASIC_QOS_OK_METHOD:
    case AMQP_BASIC_CONSUME_OK_METHOD:
    case AMQP_BASIC_CANCEL_METHOD:
    case AMQP_BASIC_CANCEL_OK_METHOD:
    case AMQP_BASIC_RETURN_METHOD:
    case AMQP_BASIC_DELIVER_METHOD:
    case AMQP_BASIC_ACK_METHOD:
    case AMQP_BASIC_NACK_METHOD:
    case AMQP_CONFIRM_SELECT_OK_METHOD: return true;
    default: return false;
    }
}

amqp_method_number_t method_number(struct bytes payload)
{
    return payload.n < 4 ? 0 : bytes_be32(payload.p);
}

const void *method_read(amqp_pool_t *pool, struct bytes payload, amqp_method_number_t *id)
{
    recycle_amqp_pool(pool);
    *id = method_number(payload);
    if (!method_expected(*id)) return NULL;
    void *decoded = NULL;
    amqp_bytes_t args = {payload.n - 4, (void *)(uintptr_t)(payload.p + 4)};
    return amqp_decode_method(*id, pool, args, &decoded) < 0 ? NULL : decoded;
}

static bool name_take(struct bytes *rest, struct bytes *name)
{
    if (rest->n == 0 || *rest->p > rest->n - 1) return false;
    *name = bytes_of(rest->p + 1, *rest->p);
    *rest = bytes_rest(*rest, 1 + name->n);
    return true;
}

static bool mark_take(struct bytes *rest, uint64_t *tag, uint8_t *bits)
{
    if (rest->n < 9) return false;
    *tag = bytes_be64(rest->p);
    *bits = rest->p[8];
    *rest = bytes_rest(*rest, 9);
    return true;
}

bool deliver_read(struct bytes payload, struct deliver *d)
{
    struct bytes rest = bytes_rest(payload, 4);
    uint8_t bits;
    if (!name_take(&rest, &d->consumer_tag) || !mark_take(&rest, &d->tag, &bits) ||
        !name_take(&rest, &d->exchange) || !name_take(&rest, &d->routing_key))
        return false;
    d->redelivered = bits & 1;
    return true;
}

bool confirm_read(struct bytes payload, struct confirm *c)
{
    struct bytes rest = bytes_rest(payload, 4);
    uint8_t bits;
    if (!mark_take(&rest, &c->tag, &bits)) return false;
    c->multiple = bits & 1;
    return true;
}

bool header_read(struct bytes payload, uint64_t *body_size, struct bytes *props)
{
    if (payload.n < HEADER_FIXED + 2 || bytes_be16(payload.p) != AMQP_BASIC_CLASS) return false;
    *body_size = bytes_be64(payload.p + 4);
    *props = bytes_rest(payload, HEADER_FIXED);
    return true;
}

uint8_t *frame_room(struct buf *out, size_t n)
{
    uint8_t *at = out->failed ? NULL : buf_room(out, n + FRAME_OVERHEAD);
    return at ? at + 7 : NULL;
}

void frame_seal(struct buf *out, uint8_t type, uint16_t channel, size_t n)
{
    uint8_t *at = buf_head(out) + out->len;
    at[0] = type;
    bytes_put_be16(at + 1, channel);
    bytes_put_be32(at + 3, (uint32_t)n);
    at[7 + n] = AMQP_FRAME_END;
    buf_added(out, n + FRAME_OVERHEAD);
}

bool frame_method(struct buf *out, uint16_t channel, amqp_method_number_t id, void *args)
{
    uint8_t *at = frame_room(out, METHOD_MAX);
    if (!at) return false;
    bytes_put_be32(at, id);
    int n = amqp_encode_method(id, args, (amqp_bytes_t){METHOD_MAX - 4, at + 4});
    if (n < 0) return false;
    frame_seal(out, AMQP_FRAME_METHOD, channel, (size_t)n + 4);
    return true;
}

static uint8_t *name_put(uint8_t *at, struct bytes name)
{
    *at++ = (uint8_t)name.n;
    if (name.n) memcpy(at, name.p, name.n);
    return at + name.n;
}

bool frame_publish(struct buf *out, uint16_t channel, struct bytes exchange, struct bytes key)
{
    static const uint8_t front[] = {0, 60, 0, 40, 0, 0}; /* the number, a reserved word */
    size_t n = sizeof front + 2 + exchange.n + key.n + 1;
    uint8_t *at = frame_room(out, n);
    if (!at) return false;
    memcpy(at, front, sizeof front);
    at = name_put(name_put(at + sizeof front, exchange), key);
    *at = 1; /* mandatory */
    frame_seal(out, AMQP_FRAME_METHOD, channel, n);
    return true;
}

bool frame_header(struct buf *out, uint16_t channel, uint64_t body_size, struct bytes props)
{
    uint8_t *at = frame_room(out, HEADER_FIXED + props.n);
    if (!at) return false;
    memset(at, 0, 4);
    at[1] = AMQP_BASIC_CLASS;
    bytes_put_be64(at + 4, body_size);
    memcpy(at + HEADER_FIXED, props.p, props.n);
    frame_seal(out, AMQP_FRAME_HEADER, channel, HEADER_FIXED + props.n);
    return true;
}

bool frame_heartbeat(struct buf *out)
{
    if (!frame_room(out, 0)) return false;
    frame_seal(out, AMQP_FRAME_HEARTBEAT, 0, 0);
    return true;
}
