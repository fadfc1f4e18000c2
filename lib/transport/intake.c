/* intake.c - the channels that consume, one a queue. A queue whose basic.consume the broker does
 * not answer is moved to another channel.
 *
 * A channel of RabbitMQ does one thing after the other. If its node believes that a queue's leader
 * is on a node which is gone, basic.consume blocks the channel for 30 s and more, even if the queue
 * gets a new leader meanwhile. A channel that is opened later asks the new leader. */
#include "base/clock.h"
#include "transport/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct intake *intake_new(struct broker *b, uint16_t number)
{
    struct intake *in = calloc(1, sizeof *in);
    if (!in) return NULL;
    in->lane.number = number;
    inbox_init(&in->deliveries, b->cfg.body_max);
    in->deliveries.spares = &b->parcels;
    consumers_init(&in->consumers);
    settle_begin(&in->settle, ++b->generation);
    list_append(&b->intakes, &in->link);
    if (session_up(b)) session_channels(b);
    return in;
}

/* Its queue was deleted, or moved to another channel, and its own channel is closed. */
static bool is_unused(const struct intake *in)
{
    return !*in->queue && !in->lane.open && !in->lane.closing;
}

/* An unused one, or a new one with the next channel number. NULL when out of memory. */
static struct intake *intake_without_queue(struct broker *b)
{
    struct intake *in, *unused = NULL;
    uint16_t next = CHANNEL_CONSUME;
    list_each(in, &b->intakes, struct intake, link) {
        if (is_unused(in)) unused = in;
        next++;
    }
    return unused ? unused : intake_new(b, next);
}

struct intake *intake_for(struct broker *b, const struct queue *q)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (strcmp(in->queue, q->name) == 0) return in;
    in = intake_without_queue(b);
    if (in) snprintf(in->queue, sizeof in->queue, "%s", q->name);
    return in;
}

void intake_free(struct intake *in)
{
    list_remove(&in->link);
    inbox_reset(&in->deliveries);
    settle_done(&in->settle);
    consumers_done(&in->consumers);
    free(in);
}

/* ---- A consumer that does not come ----------------------------------------------------------- */

/* An intake is unused, or the next channel number can be had: the topology does not look at queues
 * over it, and keeps another one. */
static bool another_channel_left(const struct broker *b)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (is_unused(in)) return true;
    uint16_t next = b->topology.first;
    return next < b->topology.last && !topology_owns(&b->topology, next);
}

/* A channel with unsettled deliveries stays: they can be settled over no other one. */
static int64_t move_at(const struct intake *in)
{
    bool movable = in->lane.open && *in->queue && settle_count(&in->settle) == 0;
    return movable ? consumers_deadline(&in->consumers) : CLOCK_NEVER;
}

int64_t intakes_deadline(const struct broker *b)
{
    int64_t at = CLOCK_NEVER;
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) at = clock_earlier(at, move_at(in));
    if (at == CLOCK_NEVER || b->link.blocked) return CLOCK_NEVER;
    return another_channel_left(b) ? at : CLOCK_NEVER;
}

void intakes_wait_anew(struct broker *b, int64_t now)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) consumers_wait_anew(&in->consumers, now);
}

void intakes_hurry(struct broker *b, int64_t now)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) consumers_hurry(&in->consumers, now);
}

/* False when out of memory; then nothing has moved, or the close could not be written. */
static bool intake_move(struct broker *b, struct intake *from, int64_t now)
{
    struct intake *to = intake_without_queue(b);
    if (!to) return false;
    memcpy(to->queue, from->queue, sizeof to->queue);
    from->queue[0] = 0;
    consumers_move(&to->consumers, &from->consumers, now);
    route_stale(b, from);
    return lane_close(b, &from->lane, now);
}

/* Where there is no other channel, close-ok is waited for. An ack that has not left yet goes first:
 * its delivery would run again. */
bool intake_reopen(struct broker *b, struct intake *in, int64_t now)
{
    if (!settle_flush(&in->settle, &b->link.out, in->lane.number)) return false;
    if (another_channel_left(b)) return intake_move(b, in, now);
    consumers_reset(&in->consumers, false, now);
    route_stale(b, in);
    return lane_close(b, &in->lane, now);
}

bool intakes_move(struct broker *b, int64_t now)
{
    if (!session_up(b) || intakes_deadline(b) > now) return true;
    struct intake *in;
    bool ok = true;
    list_each(in, &b->intakes, struct intake, link)
        if (ok && move_at(in) <= now && another_channel_left(b)) ok = intake_move(b, in, now);
    return ok;
}
