/* limits.c - see limits.h. Decides when a job is over; ending it is the pool's. */
#include "worker/limits.h"

#include "task/chunk.h"
#include "wire/starmap.h"
#include "worker/proc.h"
#include "worker/report.h"
#include "worker/worker.h"

/* A last result takes milliseconds; a child that is stopped over one must not keep it. */
#define BURIAL_MAX 30.0

/* ---- Time ------------------------------------------------------------------------------------ */

static double first_of(double a, double b, double c)
{
    return a > 0 ? a : b > 0 ? b : c;
}

struct limits limits_of(const struct worker *w, const struct ctask_task *t, const struct message *m)
{
    const struct limits *o = &w->options->limits;
    struct limits l = {
        .hard = first_of(m->limits.hard, t ? t->hard_limit : 0, o->hard),
        .soft = first_of(m->limits.soft, t ? t->soft_limit : 0, o->soft),
    };
    double slice = starmap_itemized(m) ? CHUNK_SLICE : 0;
    if (l.hard > 0) l.hard += slice;
    if (l.soft > 0) l.soft += slice;
    return l;
}

static int64_t limit_at(const struct child *k, double seconds)
{
    return seconds > 0 ? clock_after(jobs_begun_at(k), seconds) : CLOCK_NEVER;
}

static double hard_limit(const struct request *r)
{
    return r->burial ? BURIAL_MAX : r->limits.hard;
}

static int64_t hard_at(const struct child *k)
{
    return limit_at(k, hard_limit(jobs_first(k)));
}

static int64_t soft_at(const struct child *k)
{
    const struct request *r = jobs_first(k);
    return k->asked || r->burial ? CLOCK_NEVER : limit_at(k, r->limits.soft);
}

static void hard_over(struct worker *w, struct child *k)
{
    struct fault why;
    fault_set(&why, "TimeLimitExceeded", "the hard time limit of %g s is over",
              hard_limit(jobs_first(k)));
    pool_condemn(w, k, &why);
}

static void soft_over(struct worker *w, struct child *k)
{
    const struct request *r = jobs_first(k);
    log_warn(TASK_FMT " runs for over %g s, its soft time limit: child pid=%d is asked to end it",
             TASK_ARG(r), r->limits.soft, (int)k->pid);
    pool_ask(w, k);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

bool limits_outgrown(const struct worker *w, struct child *k)
{
    const uint64_t max = w->options->memory_max;
    /* After short tasks a child is weighed once a second. A task during which it was weighed may
     * have grown since, so the child is weighed again after it. */
    bool lately = k->weighed && k->weighed < k->since && w->now - k->weighed < CLOCK_SECOND;
    if (max == 0 || lately) return false;
    k->weighed = w->now;
    int64_t is = proc_rss(k->pid);
    if (is < 0 || (uint64_t)is <= max) return false;
    log_info("child pid=%d occupies %" PRId64 " MiB", (int)k->pid, is >> 20);
    return true;
}

/* ---- All of them ----------------------------------------------------------------------------- */

void limits_turn(struct worker *w)
{
    struct child *k;
    if (w->drain >= DRAIN_NOW) return; /* they are killed already */
    list_each(k, &w->pool.all, struct child, link) {
        if (k->state != CHILD_BUSY || !jobs_begun(k)) continue;
        if (w->now >= hard_at(k))
            hard_over(w, k);
        else if (w->now >= soft_at(k))
            soft_over(w, k);
    }
}

int64_t limits_next(const struct worker *w)
{
    int64_t next = CLOCK_NEVER;
    struct child *k;
    if (w->drain >= DRAIN_NOW) return next;
    list_each(k, &w->pool.all, struct child, link) {
        if (k->state != CHILD_BUSY) continue;
        int64_t at = clock_earlier(hard_at(k), soft_at(k));
        if (at > w->now || jobs_begun(k)) next = clock_earlier(next, at);
    }
    return next;
}
