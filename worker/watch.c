/* watch.c - see watch.h. */
#include "worker/watch.h"

#include "worker/limits.h"
#include "worker/proc.h"
#include "worker/report.h"
#include "worker/worker.h"

#define LOOK CLOCK_SECOND          /* between two looks, and before the first one */
#define STOPPED (2 * CLOCK_SECOND) /* before it is reported */
#define PROOF CLOCK_SECOND
#define BARREN CLOCK_SECOND
#define LEAVING (5 * CLOCK_SECOND) /* before one that was told to leave is killed */

/* ---- What is wrong with a child -------------------------------------------------------------- */

/* k has not begun its job, so another child may. */
static bool is_unread(const struct worker *w, const struct child *k)
{
    return k->state == CHILD_BUSY && w->now - k->since >= JOBS_UNREAD && !jobs_begun(k);
}

/* The thread that runs the task has ended, and others live: the task will never end. */
static const char headless[] = "has no main thread any more";

static const char *trouble_of(struct worker *w, struct child *k)
{
    char state = proc_state(k->pid);
    if (state == 'Z') return headless;
    if (state != 'T' && state != 't')
        k->stopped = 0;
    else if (k->stopped == 0)
        k->stopped = w->now;
    if (k->stopped && w->now - k->stopped >= STOPPED)
        return state == 't' ? "is held by a debugger" : "is stopped (SIGSTOP?)";
    return is_unread(w, k) ? "has not read its job" : NULL;
}

static void look(struct worker *w, struct child *k)
{
    const char *was = k->trouble;
    k->trouble = trouble_of(w, k);
    const struct request *r = jobs_first(k);
    if (k->trouble && !was && r)
        log_warn("child pid=%d %s while " TASK_FMT " %s, %.0f s after the child got it",
                 (int)k->pid, k->trouble, TASK_ARG(r), jobs_begun(k) ? "runs" : "waits",
                 clock_seconds(w->now - k->since));
    else if (was && !k->trouble)
        log_info("child pid=%d goes on again", (int)k->pid);
    /* Not at the first look: perhaps all of us were frozen, and it is about to read. */
    if (was && is_unread(w, k))
        pool_lose(w, k, "takes no jobs");
    else if (was == headless && k->trouble == headless) /* the others were not about to end */
        pool_lose(w, k, "ended its main thread");
}

/* ---- No child at all ------------------------------------------------------------------------- */

/* After some that died at once, a new one counts when it has lived for a second. One that leaves
 * counts for the one that comes in its place: it has five seconds. */
static bool can_work(const struct worker *w, const struct child *k)
{
    bool proven = w->pool.failures == 0 || k->given > 0 || w->now - k->started >= PROOF;
    return k->state < CHILD_LOST && !k->trouble && proven;
}

static bool one_can_work(const struct worker *w)
{
    struct child *k;
    list_each(k, &w->pool.all, struct child, link) {
        if (can_work(w, k)) return true;
    }
    return false;
}

bool watch_is_barren(const struct worker *w)
{
    return w->pool.barren;
}

static void count_the_living(struct worker *w)
{
    struct pool *p = &w->pool;
    bool was = p->barren;
    if (one_can_work(w))
        p->barren_since = 0;
    else if (p->barren_since == 0)
        p->barren_since = w->now;
    p->barren = p->barren_since != 0 && w->now - p->barren_since >= BARREN;
    if (p->barren && !was)
        log_error(
            "no child can take a job: no tasks are taken from the queue until one can, and those "
            "held go back when another worker is there");
    else if (was && !p->barren)
        log_info("a child can take jobs again");
}

/* When what count_the_living says changes by itself. */
static int64_t recount_at(const struct worker *w)
{
    int64_t at = CLOCK_NEVER;
    struct child *k;
    if (w->pool.barren_since == 0) return at;
    if (!w->pool.barren) at = w->pool.barren_since + BARREN;
    list_each(k, &w->pool.all, struct child, link) {
        if (k->state < CHILD_RETIRING && !k->trouble && k->started + PROOF < at)
            at = k->started + PROOF;
    }
    return at;
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* When k is to be looked at, but for the pause between two looks. */
static int64_t look_at(const struct child *k)
{
    if (k->trouble && k->state < CHILD_RETIRING) return k->since;
    return k->state == CHILD_BUSY ? k->since + LOOK : CLOCK_NEVER;
}

static int64_t leave_at(const struct child *k)
{
    return k->state == CHILD_RETIRING ? k->since + LEAVING : CLOCK_NEVER;
}

static bool may_look(const struct worker *w)
{
    return w->now >= w->pool.looked + LOOK;
}

/* Of what it has ended meanwhile nothing is its fault. */
static void memory_over(struct worker *w, struct child *k)
{
    child_read(w, k, POOL_READ_MAX);
    if (k->state == CHILD_BUSY) pool_lose(w, k, w->options->memory_offence);
}

void watch_turn(struct worker *w)
{
    struct child *k;
    bool looks = may_look(w);
    list_each(k, &w->pool.all, struct child, link) {
        if (looks && w->now >= look_at(k)) {
            w->pool.looked = w->now;
            look(w, k);
            if (k->state == CHILD_BUSY && limits_outgrown(w, k)) memory_over(w, k);
        }
        if (w->now >= leave_at(k)) pool_lose(w, k, "was told to leave and did not");
    }
    if (w->drain == DRAIN_RUN) count_the_living(w);
}

int64_t watch_next(const struct worker *w)
{
    int64_t next = w->drain == DRAIN_RUN ? recount_at(w) : CLOCK_NEVER;
    struct child *k;
    list_each(k, &w->pool.all, struct child, link) {
        int64_t look = look_at(k), leave = leave_at(k);
        if (look < w->pool.looked + LOOK) look = w->pool.looked + LOOK;
        if (look < next) next = look;
        if (leave < next) next = leave;
    }
    return next;
}
