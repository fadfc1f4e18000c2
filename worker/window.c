/* window.c - how many deliveries to hold.
 *
 * Enough that no child waits for the network: a tenth of a second of work, and what a slow broker
 * keeps under way, confirms to come and deliveries that follow an ack. At least one that waits for
 * each child while tasks take under half a second; one in all up to a second, since of more some
 * would wait so long that they go back. Not more, because what is held here no idle worker
 * elsewhere can take. While tasks take longer than a second nothing is held beyond what runs, and
 * what was taken before and is not getting its turn goes back.
 *
 * A prefetch belongs to its consumer and counts that consumer's unsettled deliveries only, so a new
 * one is given what is missing now, and enough for itself. What is for later is not counted: etas,
 * waiting here or on its way into the broker's delay queues, and tasks with a message that the
 * broker refuses. They keep no child busy and must not starve the pool; WAITING_MAX bounds them. */
#include "worker/watch.h"
#include "worker/worker.h"

#include <stdlib.h>

#define HORIZON 0.1 /* seconds of work to hold */
#define LONG 1.0    /* seconds: a long task */
#define HELD_MAX 1000
#define ENOUGH 0.75               /* of what should be held: no reason for a change, */
#define ENOUGH_FIXED 0.5          /* nor of what the user said */
#define SETTLE_MAX 1.0            /* seconds: an alarm tells nothing of the broker's speed */
#define PAUSE (CLOCK_SECOND / 10) /* between two changes, so that the broker is not worn out */

void window_cost(struct worker *w, double seconds)
{
    w->task_cost += (seconds - w->task_cost) / 20;
}

void window_settled(struct worker *w, double seconds)
{
    w->settle_time += ((seconds < SETTLE_MAX ? seconds : SETTLE_MAX) - w->settle_time) / 20;
}

void window_set(struct worker *w, struct source *s, unsigned prefetch)
{
    if (prefetch == 0 && s->window == 0) return;
    if (broker_consume(w->in, s->name, prefetch) == CTASK_ENOMEM) abort();
    s->windows++;
    s->window = prefetch;
    s->taken = 0;
    w->window_since = w->now;
}

static bool tasks_are_long(const struct worker *w)
{
    return w->task_cost > LONG || pool_oldest(&w->pool, w->now) > LONG;
}

static unsigned limit(const struct worker *w)
{
    if (watch_is_barren(w)) return 0;
    if (w->options->prefetch) return w->options->prefetch;
    unsigned children = w->pool.size ? w->pool.size : 1;
    if (tasks_are_long(w)) return children;
    double hold = HORIZON + 2 * w->settle_time;
    double more = children * hold / (w->task_cost > 1e-6 ? w->task_cost : 1e-6);
    if (more > HELD_MAX) return children + HELD_MAX;
    unsigned least = w->task_cost < LONG / 2 ? children : 1;
    return children + (more < least ? least : (unsigned)more);
}

/* What occupies or will occupy a child, or waits for confirms. */
static unsigned held(const struct worker *w)
{
    return (unsigned)(w->count[REQUEST_READY] + w->count[REQUEST_BURIAL] +
                      w->count[REQUEST_RUNNING] + w->count[REQUEST_SETTLING]);
}

/* What only waits for its time, or goes to where it will, has reached its ceiling. */
static bool later_full(const struct worker *w)
{
    const size_t *n = w->count;
    size_t later = n[REQUEST_WAITING] + n[REQUEST_SKIPPED] + n[REQUEST_MOVING] + n[REQUEST_REFUSED];
    /* A skipped body has to come again, so few of them are taken. While the spool is free, one that
     * was given back is on its way. */
    bool spooling = broker_spool_free_at(w->in) == CLOCK_NEVER;
    return later >= WAITING_MAX || (spooling && n[REQUEST_SKIPPED] >= SKIPPED_MAX) ||
           w->refused_bytes >= REFUSED_BYTES_MAX;
}

/* What the broker may still send. */
static unsigned open_slots(const struct worker *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->source_count; i++)
        if (w->sources[i].window > w->sources[i].taken)
            n += w->sources[i].window - w->sources[i].taken;
    return n;
}

static bool may_adjust(const struct worker *w)
{
    return w->drain == DRAIN_RUN && broker_state(w->in) == BROKER_IS_UP;
}

/* True for all that window_adjust can bring about, or it would never come to rest. */
static bool window_fits(const struct worker *w)
{
    unsigned open = open_slots(w), busy = held(w), is = open + busy, want = limit(w);
    if (want == 0) return open == 0;
    unsigned most = want + (unsigned)w->source_count - 1; /* shares are rounded up */
    if (busy >= want && open == 0) return true;
    if (later_full(w) && is < want) return true;
    if (tasks_are_long(w) && !w->options->prefetch) return busy < want && is >= want && is <= most;
    return is < want + most && is > want * (w->options->prefetch ? ENOUGH_FIXED : ENOUGH);
}

/* What a new consumer is given. */
static unsigned missing(const struct worker *w)
{
    unsigned want = limit(w), have = held(w);
    if (have >= want) return 0;
    if (w->options->prefetch || tasks_are_long(w)) return want - have;
    /* What is held is another consumer's, and with each ack there is less of it: without enough of
     * its own the next change would be near. */
    unsigned least = (unsigned)(want * ENOUGH) + 1;
    return want - have > least ? want - have : least;
}

/* A child has nothing to do and the broker may send nothing: waiting requests have used up the
 * window. */
static bool starving(const struct worker *w)
{
    return open_slots(w) == 0 && held(w) < limit(w) && !later_full(w);
}

/* When the window may be changed. */
static int64_t change_at(const struct worker *w)
{
    return starving(w) ? w->window_since : w->window_since + PAUSE;
}

/* The oldest that is READY, if others may have it when it has waited for as long as a long task. */
static struct request *unserved(struct worker *w)
{
    bool kept = pool_idle(&w->pool) || w->options->prefetch;
    if (list_empty(&w->requests[REQUEST_READY]) || (kept && !watch_is_barren(w))) return NULL;
    return list_first(&w->requests[REQUEST_READY], struct request, link);
}

static struct request *overdue(struct worker *w)
{
    struct request *r = unserved(w);
    return r && w->now > clock_after(r->since, LONG) ? r : NULL;
}

static bool open_window(const struct worker *w)
{
    for (size_t i = 0; i < w->source_count; i++)
        if (w->sources[i].window > 0) return true;
    return false;
}

void window_adjust(struct worker *w)
{
    if (!may_adjust(w)) return;
    bool hoarding = overdue(w) != NULL;
    if (!hoarding && (window_fits(w) || w->now < change_at(w))) return;
    if (hoarding && open_window(w)) {
        /* First no more, and back with them in the next turn, when the broker has been told: the
         * other way round they would come here again. */
        for (size_t i = 0; i < w->source_count; i++) window_set(w, &w->sources[i], 0);
        return;
    }
    for (struct request *r; (r = overdue(w));) request_give_back(w, r);
    unsigned share = (unsigned)((missing(w) + w->source_count - 1) / w->source_count);
    for (size_t i = 0; i < w->source_count; i++) window_set(w, &w->sources[i], share);
}

int64_t window_next(struct worker *w)
{
    if (!may_adjust(w)) return CLOCK_NEVER;
    int64_t at = CLOCK_NEVER;
    if (!window_fits(w)) at = change_at(w);
    const struct request *r = unserved(w);
    if (r) at = clock_earlier(at, clock_after(r->since, LONG) + CLOCK_MS);
    double oldest = pool_oldest(&w->pool, w->now);
    if (oldest > 0 && oldest <= LONG)
        at = clock_earlier(at, clock_after(w->now, LONG - oldest) + CLOCK_MS);
    return at;
}
