/* idle.c - a queue that is not empty, and nothing comes from it.
 *
 * After its leader stood still a quorum queue may take messages for delivered that never came here.
 * So 10 s after the last delivery, if nothing of the queue is here any more and there is room, the
 * queue is looked at, and if messages are ready in it its consuming channel is opened anew: the
 * broker then delivers again what it believed to be there. It may be as it should be (a single
 * active consumer, consumers with a higher priority), so each further time comes later, up to
 * 10 min, until a delivery comes.
 *
 * While the node of the old leader cannot be reached, the broker does not know how many messages
 * the queue holds. It may also not close a channel then, and the messages that were delivered over
 * the channel would wait for the node. So the channel stays, and the queue is looked at again after
 * a second. */
#include "worker/worker.h"

/* A quorum queue whose leader's node is gone has a new one after some ten seconds. */
#define FIRST (10 * CLOCK_SECOND)
#define MOST (600 * CLOCK_SECOND)
#define REFILL (5 * CLOCK_SECOND) /* until a consumer that has room again gets something */
#define AGAIN CLOCK_SECOND        /* until the next look, when the broker did not know */

/* With a delivery here that is not settled a new channel would have it run again. */
static bool is_idle(const struct worker *w, const struct source *s)
{
    return w->drain == DRAIN_RUN && s->consuming && s->window_count > 0 && s->held == 0;
}

static int64_t wait_of(const struct source *s)
{
    return s->idle_wait > FIRST ? s->idle_wait : FIRST;
}

/* When the queue is to be looked at. */
static int64_t look_at(const struct worker *w, const struct source *s)
{
    if (!is_idle(w, s) || broker_state(w->in) != BROKER_IS_UP) return CLOCK_NEVER;
    return s->idle_since + wait_of(s);
}

void idle_delivered(struct worker *w, struct source *s)
{
    s->idle_since = w->now;
    s->idle_wait = 0;
    s->idle_looked = false; /* what it says is of before */
}

void idle_room(struct worker *w, struct source *s)
{
    int64_t least = w->now + REFILL - wait_of(s);
    if (s->idle_since < least) s->idle_since = least;
}

void idle_consuming(struct worker *w, struct source *s)
{
    if (s->consuming)
        idle_room(w, s); /* a further consumer */
    else
        s->idle_since = w->now;
}

void idle_seen(struct worker *w, struct source *s, const struct broker_event *ev)
{
    if (!s->idle_looked) return;
    s->idle_looked = false;
    if (!is_idle(w, s)) return;
    if (ev->leaderless) s->idle_since = w->now + AGAIN - wait_of(s);
    if (ev->messages == 0 || !broker_reopen(w->in, s->name)) return;
    s->idle_wait = s->idle_wait < FIRST ? 2 * FIRST : 2 * s->idle_wait;
    if (s->idle_wait > MOST) s->idle_wait = MOST;
    log_info("queue %s holds %u messages and none comes: it is consumed over a new channel",
             s->name, ev->messages);
}

void idle_turn(struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        if (w->now < look_at(w, s)) continue;
        s->idle_since = w->now;
        s->idle_looked = broker_look(w->in, s->name) == CTASK_OK;
    }
}

int64_t idle_next(const struct worker *w)
{
    int64_t at = CLOCK_NEVER;
    for (size_t i = 0; i < w->source_count; i++) at = clock_earlier(at, look_at(w, &w->sources[i]));
    return at;
}
