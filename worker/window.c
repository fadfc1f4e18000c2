/* window.c - how many deliveries to hold.
 *
 * Enough that no child waits for the network: a tenth of a second of work, and twice the time that
 * confirms take. While tasks take under half a second, at least one waits for each child; up to a
 * second, one in all: of more, some would wait so long that they go back. Not more, because an
 * idle worker elsewhere cannot take what is held here. A child whose task runs for over a second
 * has none waiting. While every child runs such a task, nothing is held but what runs.
 *
 * A prefetch belongs to its consumer and counts that consumer's unsettled deliveries only. To hold
 * more, a further consumer is opened; where there are WINDOWS_MAX, it takes the place of the
 * smallest. Otherwise one is cancelled only when much too much is held: on a quorum queue what is
 * on its way to a cancelled consumer comes again as redelivered, and its task would be told that it
 * may have been started before. So broker_cancel waits 20 ms and twice the round trip for what is
 * on its way, and for so long the broker has one consumer more.
 *
 * A basic.consume or basic.cancel of a quorum queue whose leader does not answer blocks its
 * channel, with all deliveries and acks on it, until the leader's node is back or is taken for
 * lost: 20 to 65 s, also where the queue has a new leader after 10 s. So when a window is to
 * change, its queue has to answer first: with a delivery, or to a look over another channel.
 *
 * Tasks for later are not counted: etas, waiting here or on their way into the broker's delay
 * queues, large bodies that wait for the spool, and tasks with a message that the broker refuses.
 * They keep no child busy and must not starve the pool; WAITING_MAX, SKIPPED_MAX and REFUSED_MAX
 * bound them.
 *
 * What is not getting its turn for a second goes back, so that others run it; for fifteen seconds
 * if its queue holds more for them; while nobody else consumes its queue it stays. */
#include "worker/watch.h"
#include "worker/worker.h"

#include <stdlib.h>

#define HORIZON 0.1   /* seconds of work to hold */
#define LONG 1.0      /* seconds: a long task */
#define PATIENCE 15.0 /* seconds that a task waits while others have enough to do */
#define HELD_MAX 1000
#define ENOUGH 0.75               /* of what should be held: no reason for a change, */
#define ENOUGH_FIXED 0.5          /* nor of what the user said, */
#define TOO_MUCH 2                /* up to so many times as much */
#define SETTLE_MAX 1.0            /* seconds: an alarm tells nothing of the broker's speed */
#define PAUSE (CLOCK_SECOND / 10) /* between two changes, so that the broker is not worn out */
#define ANSWER_LIMIT CLOCK_SECOND /* a queue that takes longer keeps its window */
/* A mean over less work would follow the few tasks that happened to come last; over more it would
 * be late when tasks become long. */
#define MEAN_SECONDS 0.5 /* of all children's work */
#define MEAN_COUNT 1000  /* tasks */

void window_cost(struct worker *w, double seconds)
{
    double children = w->pool.size ? w->pool.size : 1;
    double fade = seconds / (children * MEAN_SECONDS);
    if (fade < 1.0 / MEAN_COUNT) fade = 1.0 / MEAN_COUNT;
    if (fade > 1) fade = 1;
    w->cost_sum += seconds - w->cost_sum * fade;
    w->cost_count += 1 - w->cost_count * fade;
    w->task_cost = w->cost_sum / w->cost_count;
}

void window_settled(struct worker *w, double seconds)
{
    w->settle_time += ((seconds < SETTLE_MAX ? seconds : SETTLE_MAX) - w->settle_time) / 20;
}

/* ---- A source's consumers -------------------------------------------------------------------- */

struct window *window_find(struct source *s, uint32_t number)
{
    for (unsigned i = 0; i < s->window_count; i++)
        if (s->windows[i].number == number) return &s->windows[i];
    return NULL;
}

void window_open(struct worker *w, struct source *s, unsigned prefetch)
{
    if (s->window_count == WINDOWS_MAX) bug("a further consumer without a place for it");
    if (broker_consume(w->in, s->name, prefetch) != CTASK_OK) abort();
    if (s->window_count == 0) s->idle_since = w->now;
    s->windows[s->window_count++] =
        (struct window){.number = ++s->window_last, .prefetch = prefetch};
    w->window_since = w->now;
}

void window_end(struct worker *w, struct source *s, uint32_t number, bool at_once)
{
    unsigned left = 0;
    for (unsigned i = 0; i < s->window_count; i++)
        if (number != 0 && s->windows[i].number != number) s->windows[left++] = s->windows[i];
    if (left == s->window_count && !at_once) return; /* it may be one that is ending */
    s->window_count = left;
    broker_cancel(w->in, s->name, number, at_once);
    w->window_since = w->now;
}

/* The queue has answered since it was asked. Without a consumer it has no deliveries to hold up. */
static bool answers(const struct worker *w, const struct source *s)
{
    return s->window_count == 0 || (w->window_asked != 0 && s->answered > w->window_asked);
}

static bool all_answer(const struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (!answers(w, &w->sources[i])) return false;
    return true;
}

static void end_all(struct worker *w, bool at_once)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (answers(w, &w->sources[i])) window_end(w, &w->sources[i], 0, at_once);
}

/* The one with the largest or the smallest prefetch. */
static uint32_t extreme(const struct source *s, bool largest)
{
    const struct window *found = &s->windows[0];
    for (unsigned i = 1; i < s->window_count; i++)
        if ((s->windows[i].prefetch > found->prefetch) == largest) found = &s->windows[i];
    return found->number;
}

/* How much of what its consumers may bring can keep children busy. */
static unsigned room(const struct source *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->window_count; i++)
        n += s->windows[i].prefetch - s->windows[i].later;
    return n;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static unsigned room_of_all(const struct worker *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->source_count; i++) n += room(&w->sources[i]);
    return n;
}

/* What the broker may still send. */
static unsigned open_slots(const struct worker *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->source_count; i++)
        for (unsigned k = 0; k < w->sources[i].window_count; k++)
            n += w->sources[i].windows[k].prefetch - w->sources[i].windows[k].taken;
    return n;
}

/* What occupies or will occupy a child, or waits for confirms. */
static unsigned held(const struct worker *w)
{
    return (unsigned)(w->count[REQUEST_READY] + w->count[REQUEST_BURIAL] +
                      w->count[REQUEST_RUNNING] + w->count[REQUEST_SETTLING]);
}

/* The tasks for later have reached their ceiling. */
static bool later_full(const struct worker *w)
{
    const size_t *n = w->count;
    size_t later = n[REQUEST_WAITING] + n[REQUEST_SKIPPED] + n[REQUEST_MOVING];
    /* A skipped body has to come again, so few of them are taken. While the spool is free, one that
     * was given back is on its way. */
    bool spooling = broker_spool_free_at(w->in) == CLOCK_NEVER;
    return later >= WAITING_MAX || (spooling && n[REQUEST_SKIPPED] >= SKIPPED_MAX) ||
           repost_full(w);
}

/* ---- What should be held --------------------------------------------------------------------- */

struct aim {
    unsigned want;
    bool exact; /* more would only wait here */
};

static struct aim aim_of_work(const struct worker *w)
{
    if (watch_is_barren(w) || back_is_due(w)) return (struct aim){0};
    if (w->options->prefetch) return (struct aim){w->options->prefetch, false};
    unsigned children = w->pool.size ? w->pool.size : 1, most = children + HELD_MAX;
    unsigned engaged = pool_longer(&w->pool, LONG, w->now);
    if (w->task_cost > LONG || engaged >= children) return (struct aim){children, true};
    unsigned others = children - engaged;
    double cost = w->task_cost > 1e-6 ? w->task_cost : 1e-6;
    double more = others * (HORIZON + 2 * w->settle_time) / cost;
    unsigned least = cost < LONG / 2 ? others : 1;
    if (more > HELD_MAX) return (struct aim){most, false};
    return (struct aim){children + (more < least ? least : (unsigned)more), false};
}

/* No more than there is memory for. */
static struct aim aim(const struct worker *w)
{
    struct aim a = aim_of_work(w);
    unsigned fits = memory_fits(w), most = held(w) + fits;
    if (a.want <= most) return a;
    return memory_full(w) ? (struct aim){0} : (struct aim){most, true};
}

/* How much more is to be opened. What consumers that were cancelled have brought settles soon and
 * is then missing; where a number is meant to be exact it counts until then. */
static unsigned missing(const struct worker *w, struct aim a)
{
    unsigned is = a.exact || w->options->prefetch ? open_slots(w) + held(w) : room_of_all(w);
    unsigned enough = a.exact                ? a.want
                      : w->options->prefetch ? (unsigned)(a.want * ENOUGH_FIXED) + 1
                                             : (unsigned)(a.want * ENOUGH) + 1;
    return is >= enough || later_full(w) ? 0 : a.want - is;
}

/* All that the consumers of s may hold waits for its time, and what others may bring does not help
 * the tasks in this queue. */
static bool is_deaf(const struct worker *w, const struct source *s, struct aim a)
{
    bool enough = a.want == 0 || (a.exact && held(w) >= a.want);
    return room(s) == 0 && !enough && !later_full(w);
}

static bool any_deaf(const struct worker *w, struct aim a)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (is_deaf(w, &w->sources[i], a)) return true;
    return false;
}

static bool too_much(const struct worker *w, struct aim a)
{
    unsigned most = a.exact ? a.want : TOO_MUCH * a.want;
    return room_of_all(w) >= most + w->source_count; /* shares are rounded up */
}

static bool may_adjust(const struct worker *w)
{
    return w->drain == DRAIN_RUN && broker_state(w->in) == BROKER_IS_UP;
}

static bool window_fits(const struct worker *w)
{
    struct aim a = aim(w);
    if (a.want == 0) return room_of_all(w) == 0;
    return !too_much(w, a) && missing(w, a) == 0 && !any_deaf(w, a);
}

/* A child has nothing to do and the broker may send nothing: waiting requests have used up the
 * window. */
static bool starving(const struct worker *w)
{
    return open_slots(w) == 0 && held(w) < aim(w).want && !later_full(w);
}

/* When the window may be changed. */
static int64_t change_at(const struct worker *w)
{
    int64_t at = starving(w) ? w->window_since : w->window_since + PAUSE;
    bool waits = w->window_asked != 0 && !all_answer(w);
    return waits ? w->window_asked + ANSWER_LIMIT : at;
}

/* Of each source, rounded up. */
static unsigned share(const struct worker *w, unsigned n)
{
    size_t sources = w->source_count > 1 ? w->source_count : 1;
    return (unsigned)((n + sources - 1) / sources);
}

/* Asks the queues before a change. False: all have answered, or their time is over. */
static bool ask(struct worker *w)
{
    if (w->window_asked != 0 || all_answer(w)) return false;
    w->window_asked = w->now;
    for (size_t i = 0; i < w->source_count; i++)
        if (!answers(w, &w->sources[i])) broker_look(w->in, w->sources[i].name);
    return true;
}

static void fit(struct worker *w)
{
    struct aim a = aim(w);
    if (a.want == 0) {
        end_all(w, !back_is_due(w));
        return;
    }
    bool narrow = too_much(w, a);
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        while (narrow && answers(w, s) && room(s) > share(w, a.want))
            window_end(w, s, extreme(s, true), false);
    }
    /* Place for those that are opened below; only now is it known what is missing. */
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        if (s->window_count == WINDOWS_MAX && answers(w, s) &&
            (missing(w, a) > 0 || is_deaf(w, s, a)))
            window_end(w, s, extreme(s, false), false);
    }
    unsigned more = share(w, missing(w, a)), all = a.exact ? a.want - held(w) : a.want;
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        unsigned own = is_deaf(w, s, a) ? share(w, all) : 0;
        if (answers(w, s) && (more > 0 || own > 0)) window_open(w, s, more > own ? more : own);
    }
}

/* ---- What goes back -------------------------------------------------------------------------- */

static bool is_shared(const struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (w->sources[i].shared) return true;
    return false;
}

/* How long a task waits here while others consume its queue. As long as there is more in the queue
 * they have enough to do: a machine that is busy, or a broker that chooses new leaders, holds up
 * all of them, and each delivery that goes back then makes more work for it. */
static double patience(const struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (w->sources[i].shared && w->sources[i].empty) return LONG;
    return PATIENCE;
}

/* The first READY request, if it may have to wait for as long as a long task takes. shared: the
 * first one from a queue that others consume too. */
static const struct request *unserved(struct worker *w, bool shared)
{
    const struct request *r;
    bool kept = pool_idle(&w->pool) || w->options->prefetch;
    if ((kept && !watch_is_barren(w)) || (shared && !is_shared(w))) return NULL;
    list_each(r, &w->requests[REQUEST_READY], struct request, link)
        if (!shared || r->source->shared) return r;
    return NULL;
}

/* When that one has waited for too long. */
static int64_t overdue_at(struct worker *w, bool shared)
{
    const struct request *r = unserved(w, shared);
    double most = shared ? patience(w) : LONG;
    return r ? clock_after(r->since, most) + CLOCK_MS : CLOCK_NEVER;
}

/* When the queues are to be looked at again for who else consumes them. */
static int64_t look_at(const struct worker *w)
{
    return clock_after(w->window_looked, LONG);
}

static void look(struct worker *w)
{
    w->window_looked = w->now;
    for (size_t i = 0; i < w->source_count; i++) {
        w->sources[i].shared = false; /* until the broker has answered */
        broker_look(w->in, w->sources[i].name);
    }
}

/* Of a queue that others consume: first no more, and back with them in the next turn, when the
 * broker has been told. The other way round they would come here again. */
static void give_back(struct worker *w)
{
    bool closed = true;
    struct request *r;
    for (size_t i = 0; i < w->source_count; i++) {
        struct source *s = &w->sources[i];
        if (!s->shared || s->window_count == 0) continue;
        window_end(w, s, 0, true);
        closed = false;
    }
    if (!closed) return;
    list_each(r, &w->requests[REQUEST_READY], struct request, link)
        if (r->source->shared && w->now > clock_after(r->since, patience(w)))
            request_give_back(w, r);
}

void window_adjust(struct worker *w)
{
    if (!may_adjust(w)) return;
    if (w->now >= overdue_at(w, false) && w->now >= look_at(w)) look(w);
    if (w->now >= overdue_at(w, true)) {
        give_back(w);
        return;
    }
    bool fits = window_fits(w);
    if (!fits && (w->now < change_at(w) || ask(w))) return;
    if (!fits) fit(w);
    w->window_asked = 0;
}

int64_t window_next(struct worker *w)
{
    if (!may_adjust(w)) return CLOCK_NEVER;
    int64_t at = overdue_at(w, true), overdue = overdue_at(w, false);
    if (!window_fits(w)) at = clock_earlier(at, change_at(w));
    if (overdue != CLOCK_NEVER) at = clock_earlier(at, look_at(w) > overdue ? look_at(w) : overdue);
    double oldest = pool_oldest(&w->pool, w->now);
    if (oldest > 0 && oldest <= LONG)
        at = clock_earlier(at, clock_after(w->now, LONG - oldest) + CLOCK_MS);
    return at;
}
