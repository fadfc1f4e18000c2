/* settle.h - which deliveries of the consuming channel are unsettled, and which acks wait to leave.
 *
 * Acks gather until settle_flush: one `multiple` for the settled prefix of the channel, single ones
 * for the rest. An ack names only tags that the broker has outstanding, since it answers any other
 * by closing the channel: settling twice, or a delivery of an earlier channel, does nothing. */
#ifndef AMQP_SETTLE_H
#define AMQP_SETTLE_H

#include "amqp/types.h"
#include "base/buf.h"

struct mark {
    uint64_t tag;
    enum { MARK_OPEN, MARK_ACKED, MARK_GONE } state; /* ACKED: waits to leave */
};

struct settle {
    uint32_t generation;
    struct mark *marks; /* ascending by tag; the live ones are [first, end) */
    size_t first, end, cap;
    size_t acked, gone; /* how many of them are ACKED, GONE */
};

void settle_done(struct settle *s);
/* A new channel: everything before is history. generation: not 0, and no other channel's. */
void settle_begin(struct settle *s, uint32_t generation);
/* Notes a delivery that came. NULL, or what is wrong; static. */
const char *settle_add(struct settle *s, uint64_t tag);
/* True if it was unsettled until now. */
bool settle_ack(struct settle *s, struct delivery d);
/* Gives it back at once. False when memory for the frame is short. */
bool settle_give_back(struct settle *s, struct delivery d, struct buf *out, uint16_t channel);
bool settle_flush(struct settle *s, struct buf *out, uint16_t channel);
/* How many the broker takes for unsettled. */
size_t settle_count(const struct settle *s);
/* How many of them their owner has not acknowledged either. */
size_t settle_open(const struct settle *s);
bool settle_is_open(const struct settle *s, struct delivery d);

#endif
