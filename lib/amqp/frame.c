/* frame.c - see frame.h. */
#include "amqp/frame.h"

#define METHOD_MAX 4096 /* ours: a few names of 255 bytes, the client properties */
#define HEADER_FIXED 12 /* class, weight, body size */

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

long frame_next(struct bytes stream, size_t max, struct frame *f)
{
    if (stream.n < 7) return 0;
    uint8_t type = stream.p[0];
    size_t size = be32(stream.p + 3);
    if (type != AMQP_FRAME_METHOD && type != AMQP_FRAME_HEADER && type != AMQP_FRAME_BODY &&
        type != AMQP_FRAME_HEARTBEAT)
        return -1;
    if (size > max - FRAME_OVERHEAD) return -1;
    if (stream.n < size + FRAME_OVERHEAD) return 0;
    if (stream.p[7 + size] != AMQP_FRAME_END) return -1;
    *f = (struct frame){type, (uint16_t)be16(stream.p + 1), bytes_of(stream.p + 7, size)};
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

const void *method_read(amqp_pool_t *pool, struct bytes payload, amqp_method_number_t *id)
{
    recycle_amqp_pool(pool);
    *id = payload.n < 4 ? 0 : be32(payload.p);
    if (!method_expected(*id)) return NULL;
    void *decoded = NULL;
    amqp_bytes_t args = {payload.n - 4, (void *)(uintptr_t)(payload.p + 4)};
    return amqp_decode_method(*id, pool, args, &decoded) < 0 ? NULL : decoded;
}

bool header_read(struct bytes payload, uint64_t *body_size, struct bytes *props)
{
    if (payload.n < HEADER_FIXED + 2 || be16(payload.p) != AMQP_BASIC_CLASS) return false;
    *body_size = (uint64_t)be32(payload.p + 4) << 32 | be32(payload.p + 8);
    *props = bytes_of(payload.p + HEADER_FIXED, payload.n - HEADER_FIXED);
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
    const uint8_t head[7] = {type,
                             (uint8_t)(channel >> 8),
                             (uint8_t)channel,
                             (uint8_t)(n >> 24),
                             (uint8_t)(n >> 16),
                             (uint8_t)(n >> 8),
                             (uint8_t)n};
    memcpy(at, head, sizeof head);
    at[7 + n] = AMQP_FRAME_END;
    buf_added(out, n + FRAME_OVERHEAD);
}

bool frame_method(struct buf *out, uint16_t channel, amqp_method_number_t id, void *args)
{
    uint8_t *at = frame_room(out, METHOD_MAX);
    if (!at) return false;
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(id >> (24 - 8 * i));
    int n = amqp_encode_method(id, args, (amqp_bytes_t){METHOD_MAX - 4, at + 4});
    if (n < 0) return false;
    frame_seal(out, AMQP_FRAME_METHOD, channel, (size_t)n + 4);
    return true;
}

bool frame_header(struct buf *out, uint16_t channel, uint64_t body_size, struct bytes props)
{
    uint8_t *at = frame_room(out, HEADER_FIXED + props.n);
    if (!at) return false;
    memset(at, 0, 4);
    at[1] = AMQP_BASIC_CLASS;
    for (int i = 0; i < 8; i++) at[4 + i] = (uint8_t)(body_size >> (56 - 8 * i));
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
