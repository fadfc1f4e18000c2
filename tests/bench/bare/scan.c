/* scan.c - frames to events, in place: of a method two numbers and a tag are looked at, of a header
 * the id, of a body its length. */
#include "wire.h"

#define DELIVER 0x003c003cu /* class 60, method 60 */
#define ACK 0x003c0050u
#define NACK 0x003c0078u
#define RETURN 0x003c0032u

static inline uint64_t be(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static const int8_t digits[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16};

static uint64_t number_of(const struct wire *w, const uint8_t *props, size_t n)
{
    if (!w->id_at) return 0;
    if (n < w->id_at + ID_SIZE || memcmp(props + w->id_at, w->id_prefix, ID_PREFIX) != 0)
        die("a message that is none of ours was delivered");
    uint64_t v = 0;
    for (size_t i = w->id_at + ID_PREFIX; i < w->id_at + ID_SIZE; i++) {
        if (!digits[props[i]]) die("an id does not end in digits");
        v = v << 4 | (uint64_t)(digits[props[i]] - 1);
    }
    return v;
}

static enum event_kind method_take(struct wire *w, const uint8_t *p, struct event *ev)
{
    uint32_t id = (uint32_t)be(p, 4);
    if (id == ACK) {
        *ev = (struct event){.kind = EVENT_CONFIRM, .tag = be(p + 4, 8), .multiple = p[12] & 1};
        return EVENT_CONFIRM;
    }
    if (id == DELIVER) {
        w->message = (struct event){.kind = EVENT_DELIVERY, .tag = be(p + 5 + p[4], 8)};
        return EVENT_NONE;
    }
    if (id == NACK) die("the broker did not take a message");
    if (id == RETURN) die("the broker knows no queue for a message: %.*s", p[6], p + 7);
    if (id == AMQP_CONNECTION_CLOSE_METHOD || id == AMQP_CHANNEL_CLOSE_METHOD)
        die("the broker ended it: %.*s", p[6], p + 7);
    die("method %08x came", id);
}

/* Class and weight, the body's size, flags and properties. */
static void header_take(struct wire *w, const uint8_t *p, size_t n)
{
    w->message.size = w->body_left = be(p + 4, 8);
    if (w->keep_props)
        buf_append(w->keep_props, p + 12, n - 12);
    else
        w->message.number = number_of(w, p + 12, n - 12);
}

static void body_take(struct wire *w, const uint8_t *p, size_t n)
{
    if (n > w->body_left) die("a body is longer than its header says");
    w->body_left -= n;
    if (w->keep_body) buf_append(w->keep_body, p, n);
}

enum event_kind wire_next(struct wire *w, struct event *ev)
{
    while (w->in_to - w->in_from >= 7) {
        const uint8_t *p = w->in + w->in_from;
        size_t n = (size_t)be(p + 3, 4);
        if (n > FRAME_MAX) die("no frame came");
        if (w->in_to - w->in_from < n + FRAME_OVERHEAD) break;
        w->in_from += n + FRAME_OVERHEAD;
        switch (p[0]) {
        case AMQP_FRAME_METHOD:
            if (method_take(w, p + 7, ev) == EVENT_CONFIRM) return EVENT_CONFIRM;
            continue;
        case AMQP_FRAME_HEADER: header_take(w, p + 7, n); break;
        case AMQP_FRAME_BODY: body_take(w, p + 7, n); break;
        default: continue; /* a heartbeat */
        }
        if (w->body_left > 0) continue;
        *ev = w->message;
        return EVENT_DELIVERY;
    }
    return EVENT_NONE;
}
