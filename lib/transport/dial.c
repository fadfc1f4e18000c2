/* dial.c - which broker is next, at which address, and when.
 *
 * Of several URLs the last good one is tried first after a loss, unless the broker there fell
 * silent. When one fails another is tried at once, drawn at random, so that the clients of a node
 * that is lost spread over the others; only after a round in which all of them failed there is a
 * pause, of a length that grows with the rounds.
 *
 * A broker that follows another (broker_config.follow) has no choice of its own: it connects to the
 * URL and the very address where its leader is up, and as soon as the leader is up elsewhere it
 * ends before it writes another byte. That is how a worker's results reach the broker that its
 * tasks come from: on another one nobody waits for them, and the task would be acknowledged all the
 * same. */
#include "base/clock.h"
#include "base/err.h"
#include "transport/session.h"

#include <string.h>
#include <sys/random.h>

#define NEXT_AFTER (100 * CLOCK_MS)
#define LOOK_UP_LIMIT (10 * CLOCK_SECOND)

/* ---- Following ------------------------------------------------------------------------------- */

static bool same_address(const struct stream *a, const struct stream *b)
{
    socklen_t n = a->addrs.at[a->at].len;
    return n == b->addrs.at[b->at].len &&
           memcmp(&a->addrs.at[a->at].sa, &b->addrs.at[b->at].sa, n) == 0;
}

bool dial_is_astray(const struct broker *b)
{
    const struct broker *leader = b->cfg.follow;
    if (!leader || !session_up(leader)) return false;
    bool somewhere = b->phase == PHASE_DIALING || b->phase == PHASE_CONNECTED;
    return somewhere && (b->at != leader->at || !same_address(&b->stream, &leader->stream));
}

static bool may_dial(const struct broker *b)
{
    return !b->cfg.follow || session_up(b->cfg.follow);
}

/* ---- Again ----------------------------------------------------------------------------------- */

static uint32_t random_number(void)
{
    uint32_t r = 0;
    (void)!getrandom(&r, sizeof r, 0);
    return r;
}

int64_t dial_jitter(int64_t least, int64_t most)
{
    return least + (int64_t)((double)random_number() / UINT32_MAX * (double)(most - least));
}

/* Full jitter: a fleet must not come back all at once. */
static int64_t backoff(unsigned failures, bool refused)
{
    int64_t most = 4 * CLOCK_SECOND, least = 100 * CLOCK_MS;
    if (failures < 3) most = (500 * CLOCK_MS) << failures;
    if (refused) least = 15 * CLOCK_SECOND, most = 30 * CLOCK_SECOND;
    return dial_jitter(least, most);
}

/* The one in use has failed: another is next, in this round one that has not. False when all have.
 */
static bool next_url(struct broker *b)
{
    if (b->url_count < 2 || b->cfg.follow) return false;
    b->failed |= 1U << b->at;
    bool more = b->failed != (1U << b->url_count) - 1;
    unsigned not_now = more ? b->failed : 1U << b->at, left = 0;
    for (unsigned i = 0; i < b->url_count; i++) left += !(not_now >> i & 1);
    unsigned skip = left > 1 ? random_number() % left : 0;
    do b->at = (b->at + 1) % b->url_count;
    while (not_now >> b->at & 1 || skip-- > 0);
    b->good = 0;
    if (!more) b->failed = 0;
    return more;
}

/* One more URL that failed in this round. It is refused as a whole only if all refused. */
static void tale_add(struct broker *b, const struct ctask_error *why)
{
    struct ctask_error *tale = &b->tale;
    bool first = b->tried++ == 0;
    int code = first || tale->code == why->code ? why->code : CTASK_ECONN;
    error_set(tale, code, "%s%s%s", first ? "" : tale->text, first ? "" : "; ", why->text);
}

bool dial_again(struct broker *b, struct ctask_error *why, bool was_up, int64_t now)
{
    bool settled = was_up && now - b->up_at >= SETTLED_AFTER;
    if (was_up) b->failed = 0;
    if (settled) b->failures = 0;
    bool more = (!settled || b->silent) && next_url(b);
    b->silent = false;
    if (!was_up) {
        tale_add(b, why);
        if (more) {
            b->retry_at = now + NEXT_AFTER;
            return false;
        }
        *why = b->tale;
    }
    b->tried = 0;
    b->retry_at = now + backoff(b->failures++, why->code == CTASK_EAUTH);
    return true;
}

/* ---- Connecting ------------------------------------------------------------------------------ */

int dial_resolve(struct broker *b, const struct url *u, struct addrs *to, struct ctask_error *e)
{
    if (addrs_literal(u->host, u->port, to)) return CTASK_OK;
    if (!b->cfg.resolve) return addrs_resolve(u->host, u->port, to, e);
    return b->cfg.resolve(b->cfg.ctx, u->host, u->port, to, e);
}

static int address_find(struct broker *b, struct addrs *to, struct ctask_error *e)
{
    const struct broker *leader = b->cfg.follow;
    if (leader) {
        to->count = 1;
        to->at[0] = leader->stream.addrs.at[leader->stream.at];
        return CTASK_OK;
    }
    return dial_resolve(b, &b->urls[b->at], to, e);
}

static void dial(struct broker *b, int64_t now)
{
    struct addrs to = {0};
    struct ctask_error e = {0};
    if (b->cfg.follow) b->at = b->cfg.follow->at;
    if (!b->resolving) b->deadline = now + LOOK_UP_LIMIT;
    int rc = address_find(b, &to, &e);
    b->resolving = rc == CTASK_EAGAIN;
    if (b->resolving && now < b->deadline) return;
    if (b->resolving)
        error_set(&e, CTASK_ECONN, "looking up the host %s takes too long: is its name server up?",
                  b->urls[b->at].host);
    if (rc != CTASK_OK) {
        session_end(b, &e, now);
        return;
    }
    if (b->at == 0) b->home.addrs = to;
    stream_dial(&b->stream, &b->urls[b->at], &to, b->good, now);
    b->phase = PHASE_DIALING;
}

static void failure_explain(const struct broker *b, struct ctask_error *e)
{
    const struct stream *s = &b->stream;
    char where[LINK_WHERE_SIZE];
    link_where(&b->urls[b->at], where);
    if (s->error.code != CTASK_OK)
        error_set(e, s->error.code, "%s: %s", where, s->error.text);
    else
        error_set(e, CTASK_ECONN, "cannot reach %s: %s (is RabbitMQ running there?)", where,
                  strerror(s->reason));
}

static void dial_check(struct broker *b, int64_t now)
{
    struct ctask_error e;
    switch (stream_connect(&b->stream, now)) {
    case 0: return;
    case 1:
        b->good = b->stream.at;
        session_begin(b, clock_now()); /* TLS took its time, which is not the broker's */
        return;
    default: failure_explain(b, &e); session_end(b, &e, now);
    }
}

/* ---- A turn ---------------------------------------------------------------------------------- */

static void stray_end(struct broker *b, int64_t now)
{
    char where[LINK_WHERE_SIZE];
    struct ctask_error e;
    error_set(&e, CTASK_ECONN, "tasks come from %s now, and their results go there",
              link_where(&b->urls[b->cfg.follow->at], where));
    session_end(b, &e, now);
    b->retry_at = now;
}

void dial_turn(struct broker *b, int64_t now)
{
    if (dial_is_astray(b)) stray_end(b, now);
    if (b->phase == PHASE_WAITING && may_dial(b) && (b->resolving || now >= b->retry_at))
        dial(b, now);
    if (b->phase == PHASE_DIALING) dial_check(b, now);
}

void dial_poll(const struct broker *b, struct pollfd *p, int64_t *wake)
{
    int64_t at = CLOCK_NEVER;
    if (b->phase == PHASE_WAITING && may_dial(b)) at = b->resolving ? b->deadline : b->retry_at;
    if (b->phase == PHASE_DIALING) {
        p->events = stream_events(&b->stream, false);
        at = b->stream.deadline;
    }
    if (at < *wake) *wake = at;
}
