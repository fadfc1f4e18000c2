/* session.c - reads, writes, and cleans up after an end. Nothing here waits; a turn reads and
 * writes a bounded amount, so that its owner is never held up for long. */
#include "transport/session.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#define HANDSHAKE_LIMIT (10 * CLOCK_SECOND)
#define CLOSE_LIMIT (5 * CLOCK_SECOND)
#define PULSE_EACH (2 * CLOCK_SECOND)
#define READ_SMALL ((size_t)16 << 10)
#define READ_LARGE ((size_t)128 << 10)
#define READ_ROUNDS 4
#define WRITE_ROUNDS 16
/* A far broker gets one message more for so much of the way there and back: as many as it could
 * take meanwhile, at 50,000 a second. */
#define FLIGHT_EACH (20 * CLOCK_MS / 1000)
/* Bytes of a frame that properties may not use: for what is around them, and for the mark of a
 * second sending. */
#define PROPS_ROOM 96
#define KEPT_BYTES ((size_t)64 << 10) /* a buffer above that is let go when little moves: */
#define IDLE_BYTES 4096

bool session_up(const struct broker *b)
{
    return b->phase == PHASE_CONNECTED && b->link.state == LINK_UP;
}

/* ---- Down ------------------------------------------------------------------------------------ */

/* Told when it is new: not at each of a hundred equal attempts. The first attempt after a loss is
 * new, also if the words for it are the same. */
static void down_tell(struct broker *b, const struct ctask_error *e, bool was_up)
{
    bool known = b->attempt_told && !was_up && e->code == b->error.code &&
                 strcmp(e->text, b->error.text) == 0;
    b->attempt_told = !was_up;
    b->error = *e;
    struct broker_event *ev = known ? NULL : news_add(b, BROKER_DOWN, NULL);
    if (ev) ev->error = *e;
}

/* The broker closed the connection for something that was sent: the only thing that was under way,
 * or one of them. */
static void session_blamed(struct broker *b, struct bytes why, int64_t now)
{
    bool asked = topology_asked(&b->topology, now) > 0, flying = b->out.flying > 0;
    route_verdict(b, topology_blamed(&b->topology, !flying, why, now));
    outbox_blamed(&b->out, b->link.sent, !asked, why);
}

/* A suspect may end this connection too. It waits until the connection is old enough that the next
 * one follows without a long back-off. Meanwhile everything else is sent. */
static void suspects_turn(struct broker *b, int64_t now)
{
    bool wait = session_up(b) && !b->closing && now < b->up_at + SETTLED_AFTER;
    b->out.suspects_wait = b->topology.suspects_wait = wait;
}

/* No channel is open yet: those of queues that were deleted are not needed any more. */
static void intakes_pack(struct broker *b)
{
    uint16_t number = CHANNEL_CONSUME;
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) {
        if (*in->queue)
            in->lane.number = number++;
        else
            intake_free(in);
    }
}

/* The connection is up. */
static void session_opened(struct broker *b, int64_t now)
{
    intakes_pack(b);
    if (!session_channels(b)) return;
    b->up_at = now;
    suspects_turn(b, now);
    b->props_max = b->link.frame_max - PROPS_ROOM;
    b->out.flying_max = FLIGHT + (size_t)(b->stream.rtt / FLIGHT_EACH);
    if (b->cfg.window == 0) b->out.window = b->out.flying_max; /* all that is accepted leaves */
    home_wait(b, now);
    news_add(b, BROKER_UP, NULL);
}

static void session_reset(struct broker *b)
{
    b->phase = PHASE_CONNECTED;
    b->read_size = READ_SMALL;
    b->pulse_at = CLOCK_NEVER;
    patience_begin(&b->patience);
}

static bool is_leaving(const struct broker *b)
{
    return b->phase == PHASE_CONNECTED && b->leaving && home_is_up(b);
}

static void leaving_explain(const struct broker *b, struct ctask_error *why)
{
    char where[LINK_WHERE_SIZE];
    error_set(why, CTASK_OK, "back to the broker at %s, the first of the URLs",
              link_where(&b->urls[0], where));
}

void session_end(struct broker *b, const struct ctask_error *e, int64_t now)
{
    struct ctask_error why = *e; /* may live in the link */
    bool leaving = is_leaving(b);
    bool was_up = b->up_at != 0;
    if (b->phase == PHASE_CONNECTED) {
        if (b->link.blames) session_blamed(b, bytes_text(why.text), now);
        outbox_reset(&b->out, b->link.sent);
        link_done(&b->link);
    }
    stream_close(&b->stream);
    inbox_reset(&b->returns);
    topology_reset(&b->topology);
    delays_reset(b);
    route_unroutable(b);
    b->publish = (struct lane){.number = b->publish.number};
    b->renewal.confirms_by = 0;
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) {
        in->lane = (struct lane){.number = in->lane.number};
        consumers_reset(&in->consumers, false, now);
        route_stale(b, in);
    }
    bool tell = dial_again(b, &why, was_up, now) || b->closing;
    b->up_at = 0;
    b->resolving = false;
    b->phase = b->closing ? PHASE_CLOSED : PHASE_WAITING;
    if (b->closing) error_set(&why, CTASK_ECLOSED, "closed");
    if (leaving) leaving_explain(b, &why);
    if (tell) down_tell(b, &why, was_up || b->closing);
    b->leaving = false;
    bool taken = home_take(b);
    home_end(b);
    if (!taken) return;
    session_reset(b);
    session_opened(b, now);
}

static void link_broke(struct broker *b, int64_t now)
{
    session_end(b, &b->link.error, now);
}

void session_link(const struct broker *b, struct link *link, const struct url *u, int64_t now)
{
    link_init(link, u, b->name, u->heartbeat >= 0 ? (unsigned)u->heartbeat : b->cfg.heartbeat, now);
}

void session_begin(struct broker *b, int64_t now)
{
    session_reset(b);
    b->deadline = now + HANDSHAKE_LIMIT;
    session_link(b, &b->link, &b->urls[b->at], now);
}

void session_leave(struct broker *b, int64_t now)
{
    link_close(&b->link);
    b->leaving = true;
    b->deadline = now + CLOSE_LIMIT;
}

/* Shares the channels out. A broker that allows too few is refused before the first is opened. */
bool session_channels(struct broker *b)
{
    char why[160];
    unsigned consumed = 0, most = b->link.channel_max;
    const struct list *in;
    for (in = b->intakes.next; in != &b->intakes; in = in->next) consumed++;
    unsigned least = CHANNEL_CONSUME + (consumed ? consumed : 1) + 1; /* asks; sees to delays */
    b->topology.first = (uint16_t)(least - 1);
    b->topology.last = (uint16_t)(most - 1);
    if (least <= most) return true;
    snprintf(why, sizeof why,
             "it allows %u channels a connection (channel_max) and %u are needed, one of them for "
             "each queue that is consumed: raise channel_max",
             most, least);
    link_fail(&b->link, CTASK_EREFUSED, why);
    return false;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool link_event_take(struct broker *b, enum link_event event, const struct frame *f,
                            int64_t now)
{
    struct broker_event *ev;
    const char *wrong = NULL;
    switch (event) {
    case LINK_NONE: return false;
    case LINK_FRAME: wrong = route_frame(b, f, now); break;
    case LINK_OPENED: session_opened(b, now); break;
    case LINK_BLOCKED:
        ev = news_add(b, BROKER_BLOCKED, NULL);
        if (ev)
            error_set(&ev->error, CTASK_EBLOCKED, "the broker takes no messages: %s", b->link.why);
        break;
    case LINK_UNBLOCKED:
        topology_wait_anew(&b->topology, now);
        ladder_wait_anew(&b->ladder, now);
        lanes_wait_anew(b, now);
        intakes_wait_anew(b, now);
        home_wait(b, now);
        news_add(b, BROKER_UNBLOCKED, NULL);
        break;
    case LINK_ENDED:
        if (b->link.out.len > 0) stream_send(&b->stream, &b->link.out); /* close-ok */
        return false;
    }
    if (wrong) link_fail(&b->link, CTASK_EPROTO, wrong);
    return true;
}

static void stream_broke(struct broker *b, int reason)
{
    const struct ctask_error *e = &b->stream.error;
    if (e->code != CTASK_OK && b->link.state < LINK_CLOSING)
        link_fail(&b->link, e->code, e->text);
    else
        link_lost(&b->link, reason);
}

/* False when the link is dead. */
static bool session_read(struct broker *b, int64_t now)
{
    bool idle = true, quiet = b->quiet && !stream_ready(&b->stream);
    b->quiet = false;
    for (int round = 0; round < READ_ROUNDS && !quiet; round++) {
        struct frame f;
        long n = stream_recv(&b->stream, &b->link.in, b->read_size);
        if (n < 0) stream_broke(b, b->stream.reason);
        if (n <= 0) break;
        link_heard(&b->link, now);
        while (link_event_take(b, link_next(&b->link, &f), &f, now)) {
        }
        if (b->link.state == LINK_DEAD) break;
        idle = n < IDLE_BYTES;
        bool full = (size_t)n == b->read_size;
        b->read_size = full ? READ_LARGE : READ_SMALL;
        if (!full) break;
    }
    if (idle && b->link.in.len == 0 && b->link.in.cap > KEPT_BYTES) buf_done(&b->link.in);
    return b->link.state != LINK_DEAD;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* Clients have no heartbeats, and keepalive is silent while data is under way. */
static void pulse_expect(struct broker *b, int64_t now)
{
    if (b->pulse_at != CLOCK_NEVER || b->link.heartbeat > 0) return;
    b->pulse_at = now + PULSE_EACH;
    b->stream.taken_at = now;
}

/* False when the link is dead. */
static bool session_write(struct broker *b, int64_t now)
{
    uint64_t before = b->link.sent;
    for (int round = 0; round < WRITE_ROUNDS; round++) {
        if (!fill_out(b, now)) {
            link_fail(&b->link, CTASK_ENOMEM, "what is to be sent could not be put together");
            return false;
        }
        if (b->link.out.len == 0 && !stream_unsent(&b->stream)) break;
        long n = stream_send(&b->stream, &b->link.out);
        if (n < 0) {
            int reason = b->stream.reason;
            if (session_read(b, now)) stream_broke(b, reason); /* its last words first */
            return false;
        }
        if (n > 0) link_sent(&b->link, (size_t)n, now);
        if (n > 0) pulse_expect(b, now);
        if (b->link.out.len > 0 || stream_unsent(&b->stream)) break;
    }
    bool idle = b->link.out.len == 0 && b->link.sent - before < IDLE_BYTES;
    if (idle && b->link.out.cap > KEPT_BYTES) buf_done(&b->link.out);
    patience_await(b, now);
    return true;
}

bool session_flush(struct broker *b, int64_t now)
{
    if (b->phase != PHASE_CONNECTED) return list_empty(&b->out.ready);
    if (dial_is_astray(b)) return false; /* the next turn ends it */
    if (!session_write(b, now)) {
        link_broke(b, now);
        return false;
    }
    return b->link.out.len == 0 && !stream_unsent(&b->stream) && list_empty(&b->out.ready) &&
           !fill_due(b, now);
}

/* ---- A turn ---------------------------------------------------------------------------------- */

/* False when the link is dead. */
static bool pulse_felt(struct broker *b, int64_t now)
{
    if (now < b->pulse_at) return true;
    enum stream_pulse pulse = stream_pulse(&b->stream, now);
    b->pulse_at = pulse == STREAM_CALM ? CLOCK_NEVER : now + PULSE_EACH;
    if (pulse == STREAM_GONE)
        link_fail(&b->link, CTASK_ECONN,
                  "its machine does not acknowledge what is sent: it is gone, or cut off");
    return pulse != STREAM_GONE;
}

/* What the broker owes us and does not say, or NULL. */
static const char *answer_missed(struct broker *b, int64_t now)
{
    if (patience_over(b, now)) return "a confirm does not come";
    return now >= lanes_deadline(b) ? "the broker does not answer that a channel is to be closed"
                                    : NULL;
}

/* The node is alive: only a channel of this connection stands still. */
static bool heartbeats_come(const struct broker *b, int64_t now)
{
    return now - b->link.heard_at < b->link.heartbeat * CLOCK_SECOND;
}

static void connected_turn(struct broker *b, int64_t now)
{
    bool alive = session_read(b, now);
    b->silent = alive && !(link_tick(&b->link, now) && pulse_felt(b, now));
    alive = alive && !b->silent;
    if (alive && b->link.state < LINK_UP && now >= b->deadline) {
        link_fail(&b->link, CTASK_ECONN, "the broker does not finish the handshake");
        alive = false;
    }
    const char *missed = alive ? answer_missed(b, now) : NULL;
    if (missed) {
        link_fail(&b->link, CTASK_ECONN, missed);
        b->silent = !heartbeats_come(b, now) || b->patience.strikes > 1;
        alive = false;
    }
    if (alive && (b->closing || b->leaving) && now >= b->deadline) {
        link_lost(&b->link, 0);
        alive = false;
    }
    if (alive && !intakes_move(b, now)) {
        link_fail(&b->link, CTASK_ENOMEM, "out of memory");
        alive = false;
    }
    suspects_turn(b, now);
    if (!alive || !session_write(b, now)) link_broke(b, now);
}

void session_turn(struct broker *b, int64_t now)
{
    dial_turn(b, now);
    if (b->phase == PHASE_CONNECTED) connected_turn(b, now);
    home_turn(b, now);
}

/* Only what is still to come: what is due already leaves as soon as the socket takes it. */
static int64_t to_come(int64_t at, int64_t t, int64_t now)
{
    return t > now ? clock_earlier(at, t) : at;
}

static int64_t connected_wake(const struct broker *b, int64_t now)
{
    int64_t at = clock_earlier(clock_earlier(link_wake(&b->link), b->pulse_at), b->patience.until);
    if (b->link.state < LINK_UP || b->closing || b->leaving) at = clock_earlier(at, b->deadline);
    if (!session_up(b)) return at;
    at = to_come(at, topology_wake(&b->topology), now);
    at = to_come(at, b->publish.retry_at, now);
    at = to_come(at, lanes_deadline(b), now);
    /* This may be in the past: an unsettled delivery has held the move back. */
    at = clock_earlier(at, intakes_deadline(b));
    at = to_come(at, renewal_wake(b), now);
    at = to_come(at, b->held_until, now);
    at = to_come(at, b->up_at + SETTLED_AFTER, now); /* suspects */
    at = clock_earlier(at, home_wake(b, now));
    at = to_come(at, ladder_wake(&b->ladder), now);
    at = to_come(at, b->delays.retry_at, now);
    struct intake *in;
    list_each(in, &b->intakes, struct intake, link) {
        at = to_come(at, consumers_wake(&in->consumers), now);
        at = to_come(at, in->lane.retry_at, now);
    }
    return at;
}

void session_poll(const struct broker *b, struct pollfd *p, int64_t *wake)
{
    *p = (struct pollfd){.fd = b->stream.fd};
    if (b->phase != PHASE_CONNECTED) {
        dial_poll(b, p, wake);
        return;
    }
    int64_t now = clock_now();
    bool more = b->link.out.len > 0 || fill_due(b, now);
    bool at_once = stream_ready(&b->stream) || b->link.state == LINK_DEAD; /* it failed since */
    p->events = stream_events(&b->stream, more);
    *wake = at_once ? clock_earlier(*wake, now) : clock_earlier(*wake, connected_wake(b, now));
}

void session_close(struct broker *b, int64_t now)
{
    struct ctask_error e;
    if (b->closing) return;
    b->closing = true;
    home_end(b);
    b->out.flying_max = SIZE_MAX; /* nothing waits for confirms any more */
    b->deadline = now + CLOSE_LIMIT;
    if (session_up(b)) return;
    error_set(&e, CTASK_ECLOSED, "closed");
    session_end(b, &e, now);
}
