/* lane.c - channels: opened when they are needed, closed within a time, and the one that publishes
 * opened anew when the broker goes on refusing what is sent over it (see amqp/nacks.h).
 *
 * Before that one is closed, nothing more is begun on it, and what it has under way has a second to
 * be confirmed: what is not is sent again, and a task that comes twice is told so. */
#include "base/clock.h"
#include "transport/session.h"

#define CLOSE_OK_LIMIT (60 * CLOCK_SECOND) /* for a queue that is down it may take a minute */
#define CONFIRMS_LIMIT CLOCK_SECOND
/* Between two renewals, doubled each time: a queue may also be full. */
#define RENEW_FIRST CLOCK_SECOND
#define RENEW_MOST (64 * CLOCK_SECOND)
#define RENEW_FORGET (5 * 60 * CLOCK_SECOND) /* without one: the next counts as the first */

bool lane_usable(const struct lane *lane, int64_t now)
{
    return !lane->closing && (lane->open || lane->retry_at <= now);
}

bool lane_open(struct broker *b, struct lane *lane, int64_t now)
{
    if (lane->open) return true;
    amqp_channel_open_t open = {0};
    amqp_confirm_select_t select = {0};
    if (!frame_method(&b->link.out, lane->number, AMQP_CHANNEL_OPEN_METHOD, &open)) return false;
    lane->open = true;
    lane->opened_at = now;
    return lane->number != CHANNEL_PUBLISH ||
           frame_method(&b->link.out, lane->number, AMQP_CONFIRM_SELECT_METHOD, &select);
}

bool lane_close(struct broker *b, struct lane *lane, int64_t now)
{
    amqp_channel_close_t close = {.reply_code = AMQP_REPLY_SUCCESS};
    lane->open = false;
    lane->closing = true;
    lane->close_by = now + CLOSE_OK_LIMIT;
    return frame_method(&b->link.out, lane->number, AMQP_CHANNEL_CLOSE_METHOD, &close);
}

bool lane_closed(struct broker *b, struct lane *lane, int64_t now)
{
    amqp_channel_close_ok_t ok = {0};
    lane->retry_at = now - lane->opened_at < CLOCK_SECOND ? now + CLOCK_SECOND / 2 : now;
    lane->open = false;
    return frame_method(&b->link.out, lane->number, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

/* ---- Closing --------------------------------------------------------------------------------- */

struct lane *lane_closing(struct broker *b, uint16_t channel)
{
    struct intake *in;
    if (b->publish.closing && b->publish.number == channel) return &b->publish;
    if (b->delays.closing && b->delays.number == channel) return &b->delays;
    list_each(in, &b->intakes, struct intake, link)
        if (in->lane.closing && in->lane.number == channel) return &in->lane;
    return NULL;
}

const char *lane_late(struct broker *b, struct lane *lane, const struct frame *f)
{
    if (f->type != AMQP_FRAME_METHOD) return NULL;
    amqp_method_number_t id = method_number(f->payload);
    amqp_channel_close_ok_t ok = {0};
    if (id == AMQP_CHANNEL_CLOSE_OK_METHOD) lane->closing = false;
    if (id != AMQP_CHANNEL_CLOSE_METHOD) return NULL;
    return frame_method(&b->link.out, lane->number, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok)
               ? NULL
               : "out of memory";
}

/* To end the connection would have deliveries handed out again. */
static bool is_consuming(const struct broker *b)
{
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (consumers_running(&in->consumers) || settle_count(&in->settle) > 0) return true;
    return false;
}

int64_t lanes_deadline(const struct broker *b)
{
    int64_t at = b->publish.closing ? b->publish.close_by : CLOCK_NEVER;
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link)
        if (in->lane.closing && (*in->queue || !is_consuming(b)))
            at = clock_earlier(at, in->lane.close_by);
    return b->link.blocked ? CLOCK_NEVER : at;
}

void lanes_wait_anew(struct broker *b, int64_t now)
{
    struct intake *in;
    b->publish.close_by = now + CLOSE_OK_LIMIT;
    b->renewal.confirms_by = 0;
    list_each(in, &b->intakes, struct intake, link) in->lane.close_by = now + CLOSE_OK_LIMIT;
}

/* ---- The publishing channel anew ------------------------------------------------------------- */

static bool is_renewable(const struct broker *b)
{
    return b->out.nacks.many && b->publish.open && !b->link.blocked && !b->closing;
}

bool renewal_holds(const struct broker *b, int64_t now)
{
    return is_renewable(b) && now >= b->renewal.at;
}

bool renewal_due(const struct broker *b, int64_t now)
{
    return renewal_holds(b, now) && !b->out.begun &&
           (b->out.flying == 0 || b->renewal.confirms_by == 0 || now >= b->renewal.confirms_by);
}

int64_t renewal_wake(const struct broker *b)
{
    if (!is_renewable(b)) return CLOCK_NEVER;
    return b->renewal.confirms_by ? b->renewal.confirms_by : b->renewal.at;
}

bool renewal_write(struct broker *b, int64_t now)
{
    struct renewal *r = &b->renewal;
    if (r->confirms_by == 0) r->confirms_by = now + CONFIRMS_LIMIT;
    if (b->out.flying > 0 && now < r->confirms_by) return true;
    bool first = r->wait == 0 || now - r->at >= RENEW_FORGET;
    r->wait = first ? RENEW_FIRST : r->wait < RENEW_MOST ? 2 * r->wait : RENEW_MOST;
    *r = (struct renewal){.wait = r->wait, .at = now + r->wait};
    inbox_reset(&b->returns);
    outbox_reset(&b->out, b->link.sent + b->link.out.len);
    bool ok = lane_close(b, &b->publish, now);
    route_unroutable(b);
    return ok;
}
