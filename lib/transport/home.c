/* home.c - the way back to the first URL.
 *
 * A connection that was made elsewhere, because the first broker was gone, goes back after ten calm
 * minutes, and up to half as long again, so that a fleet does not come back all at once. A second
 * connection is made to the first broker, through TLS and login, while the one in use works on. If
 * that fails, the next attempt follows after twice the time. Once the second connection is up its
 * owner has HOME_WAIT to finish what is under way and to say broker_go_home; then the one in use is
 * closed in order, so that the broker has read the last acks, and the second takes its place. If
 * the one in use is lost meanwhile, the second takes its place at once. */
#include "base/clock.h"
#include "base/err.h"
#include "transport/session.h"

#define HOME_WAIT (30 * CLOCK_SECOND)
#define TRIAL_LIMIT (30 * CLOCK_SECOND) /* look-up, connection and login */
#define TRIAL_EACH (20 * CLOCK_MS)      /* its descriptor is not polled */
#define UP_EACH (CLOCK_SECOND / 2)      /* for its heartbeats */
#define READ_SIZE ((size_t)16 << 10)
#define DOUBLINGS_MAX 3

static bool is_away(const struct broker *b)
{
    return b->at != 0 && !b->cfg.follow;
}

bool home_is_up(const struct broker *b)
{
    return b->home.step == HOME_LOGIN && b->home.link.state == LINK_UP;
}

void home_wait(struct broker *b, int64_t now)
{
    int64_t wait = HOME_CALM << b->home.failures;
    b->home.at = is_away(b) ? now + dial_jitter(wait, wait + wait / 2) : CLOCK_NEVER;
}

static void trial_end(struct broker *b)
{
    struct home *h = &b->home;
    if (home_is_up(b)) {
        link_close(&h->link);
        stream_send(&h->stream, &h->link.out);
    }
    if (h->step == HOME_LOGIN) link_done(&h->link);
    stream_close(&h->stream);
    h->step = HOME_AWAY;
}

/* The next attempt comes later. */
static void trial_fail(struct broker *b, int64_t now)
{
    trial_end(b);
    if (b->home.failures < DOUBLINGS_MAX) b->home.failures++;
    home_wait(b, now);
}

/* The connection in use must not stand still for a look-up. */
static int first_find(struct broker *b, struct addrs *to)
{
    struct ctask_error ignored;
    if (b->cfg.resolve) return dial_resolve(b, &b->urls[0], to, &ignored);
    *to = b->home.addrs;
    return to->count > 0 ? CTASK_OK : CTASK_ECONN;
}

static void trial_begin(struct broker *b, int64_t now)
{
    struct addrs to = {0};
    int rc = first_find(b, &to);
    if (b->home.step == HOME_AWAY) b->home.until = now + TRIAL_LIMIT;
    b->home.step = HOME_NAME;
    if (rc == CTASK_EAGAIN) return;
    b->home.step = HOME_DIAL;
    if (rc == CTASK_OK)
        stream_dial(&b->home.stream, &b->urls[0], &to, 0, now);
    else
        trial_fail(b, now);
}

static void trial_dial(struct broker *b, int64_t now)
{
    int rc = stream_connect(&b->home.stream, now);
    if (rc < 0) trial_fail(b, now);
    if (rc <= 0) return;
    session_link(b, &b->home.link, &b->urls[0], clock_now());
    b->home.step = HOME_LOGIN;
}

/* False when it ended. What it hears before it is in use is answers to its login and heartbeats. */
static bool trial_read(struct broker *b, int64_t now)
{
    struct home *h = &b->home;
    struct frame f;
    long n = stream_recv(&h->stream, &h->link.in, READ_SIZE);
    if (n < 0) return false;
    if (n > 0) link_heard(&h->link, now);
    enum link_event event = link_next(&h->link, &f);
    if (event == LINK_OPENED) h->until = now + HOME_WAIT;
    return event == LINK_NONE || event == LINK_OPENED;
}

static bool trial_write(struct home *h, int64_t now)
{
    long n = stream_send(&h->stream, &h->link.out);
    if (n > 0) link_sent(&h->link, (size_t)n, now);
    return n >= 0;
}

static void trial_login(struct broker *b, int64_t now)
{
    bool alive = trial_read(b, now) && link_tick(&b->home.link, now) && trial_write(&b->home, now);
    if (!alive) trial_fail(b, now);
}

void home_turn(struct broker *b, int64_t now)
{
    if (b->home.step == HOME_AWAY) {
        bool calm = session_up(b) && !b->link.blocked && !b->closing;
        if (is_away(b) && calm && now >= b->home.at) trial_begin(b, now);
        return;
    }
    switch (b->home.step) {
    case HOME_AWAY: break;
    case HOME_NAME: trial_begin(b, now); break;
    case HOME_DIAL: trial_dial(b, now); break;
    case HOME_LOGIN: trial_login(b, now); break;
    }
    bool late = now >= b->home.until && !b->leaving; /* else it is about to be taken */
    if (b->home.step != HOME_AWAY && late) trial_fail(b, now);
}

int64_t home_wake(const struct broker *b, int64_t now)
{
    if (b->home.step == HOME_AWAY)
        return is_away(b) && !b->link.blocked && !b->closing ? b->home.at : CLOCK_NEVER;
    return clock_earlier(b->home.until, now + (home_is_up(b) ? UP_EACH : TRIAL_EACH));
}

/* ---- Going ----------------------------------------------------------------------------------- */

/* Nothing would be lost with the connection, or come twice. */
static bool is_idle(const struct broker *b, int64_t now)
{
    struct intake *in;
    bool unsent = b->link.out.len > 0 || stream_unsent(&b->stream) || fill_due(b, now);
    if (unsent || b->out.count > 0 || !list_empty(&b->arrived)) return false;
    list_each(in, &b->intakes, struct intake, link)
        if (settle_count(&in->settle) > 0 || consumers_take_tasks(&in->consumers)) return false;
    return true;
}

bool broker_home_is_up(const struct broker *b)
{
    return session_up(b) && home_is_up(b);
}

bool broker_go_home(struct broker *b)
{
    int64_t now = clock_now();
    if (!broker_home_is_up(b) || !is_idle(b, now)) return false;
    session_leave(b, now);
    return true;
}

bool home_take(struct broker *b)
{
    struct home *h = &b->home;
    if (!home_is_up(b) || b->closing) return false;
    b->stream = h->stream;
    b->link = h->link;
    b->at = 0;
    stream_init(&h->stream);
    h->step = HOME_AWAY;
    return true;
}

void home_end(struct broker *b)
{
    trial_end(b);
    b->home.failures = 0;
    b->home.at = CLOCK_NEVER;
}
