/* fill.c - what is due is put into the buffer of the connection: acks first, since they free the
 * broker's memory, then questions, then messages. */
#include "base/clock.h"
#include "transport/session.h"

#define OUT_FULL ((size_t)256 << 10)

/* What each room would write now. */
static bool consumers_due(const struct intake *in, int64_t now)
{
    return lane_usable(&in->lane, now) && consumers_pending(&in->consumers, now);
}

static bool acks_due(const struct intake *in, int64_t now)
{
    return in->settle.acked > 0 && !consumers_hold_acks(&in->consumers, now);
}

static bool intakes_due(const struct broker *b, int64_t now)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (acks_due(in, now) || consumers_due(in, now)) return true;
    return false;
}

static bool replies_awaited(const struct broker *b, int64_t now)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (consumers_awaited(&in->consumers, now)) return true;
    return false;
}

/* One of these queues is to be asked about alone. */
static bool is_suspicious(const struct broker *b)
{
    return b->topology.suspects > 0 && !b->topology.suspects_wait;
}

/* No further message is begun; one that is partly written is finished. */
static bool posts_held(const struct broker *b, int64_t now)
{
    return (now < b->held_until && !b->closing) || is_suspicious(b) || b->link.blocked ||
           renewal_holds(b, now) || replies_awaited(b, now);
}

static bool posts_due(const struct broker *b, int64_t now)
{
    return outbox_pending(&b->out) && lane_usable(&b->publish, now) &&
           (b->out.begun || !posts_held(b, now));
}

static bool consumers_write(struct broker *b, struct intake *in, int64_t now)
{
    return lane_open(b, &in->lane, now) &&
           consumers_ask(&in->consumers, &b->link.out, in->lane.number, now);
}

void session_consume(struct broker *b, struct intake *in, int64_t now)
{
    if (session_up(b) && consumers_due(in, now) && !consumers_write(b, in, now))
        link_fail(&b->link, CTASK_ENOMEM, "out of memory");
}

/* First of all, since acks free the broker's memory. A cancel goes before the acks that it held
 * back: they let the consumer have more. */
static bool intakes_write(struct broker *b, int64_t now)
{
    struct intake *in;
    bool ok = true;
    list_each(in, &b->intakes, struct intake, link)
        if (ok && consumers_due(in, now)) ok = consumers_write(b, in, now);
    list_each(in, &b->intakes, struct intake, link)
        if (ok && acks_due(in, now)) ok = settle_flush(&in->settle, &b->link.out, in->lane.number);
    return ok;
}

/* In alarm the broker reads nothing from a connection that publishes: it could not answer. */
static bool looks_due(const struct broker *b, int64_t now)
{
    bool room = !is_suspicious(b) || b->out.flying == 0;
    return room && !b->link.blocked && topology_pending(&b->topology, now);
}

bool fill_due(const struct broker *b, int64_t now)
{
    return session_up(b) && (looks_due(b, now) || delays_due(b, now) || intakes_due(b, now) ||
                             renewal_due(b, now) || posts_due(b, now));
}

static bool looks_write(struct broker *b, int64_t now)
{
    struct queue *verdict;
    while (topology_overdue(&b->topology, &b->link.out, now, &verdict)) route_verdict(b, verdict);
    return topology_ask(&b->topology, &b->link.out, now);
}

bool fill_out(struct broker *b, int64_t now)
{
    struct buf *out = &b->link.out;
    if (!session_up(b) || out->len >= OUT_FULL) return true;
    if (!intakes_write(b, now)) return false;
    if (looks_due(b, now) && !looks_write(b, now)) return false;
    if (delays_due(b, now) && !delays_write(b, now)) return false;
    if (renewal_due(b, now) && !renewal_write(b, now)) return false;
    if (posts_due(b, now) &&
        (!lane_open(b, &b->publish, now) ||
         !outbox_write(&b->out, out, CHANNEL_PUBLISH, b->link.frame_max, OUT_FULL, b->link.sent)))
        return false;
    if (b->closing && !fill_due(b, now)) link_close(&b->link);
    return true;
}
