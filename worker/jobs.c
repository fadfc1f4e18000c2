/* jobs.c - what children are given. While tasks take ten milliseconds or more on average
 * (task_cost) each is given to an idle child only. Shorter ones, where the way to a child and back
 * is long beside them, stand in a row at a child, so that it finds something to do while its parent
 * is busy elsewhere. A row whose first turns out to be long is dissolved, or when another child is
 * idle. What stands in a row is not begun: it goes to another child, or back to the broker, as if
 * it had never left. */
#include "wire/child.h"
#include "worker/worker.h"

#include <stdlib.h>

/* What a task costs its child, in seconds: */
#define SHORT 1e-3 /* below it: less than it takes to tell the parent and hear of the next one */
#define LINED 1e-2 /* below it: little enough to wait for behind another */
/* Work in a row at a child, in seconds, or two tasks if these are more. */
#define ROW 2e-3
#define ROW_MAX 64 /* tasks */
/* Work that a child is given before another is woken for more: what a wake-up costs; with many
 * tasks half of the parent's pause, after which it comes with more. */
#define WAKE 50e-6
#define WAKE_MANY (0.5 * JOBS_PAUSE / CLOCK_SECOND)
#define MANY 32      /* short tasks under way: with fewer somebody may wait for each of them */
#define TOO_LONG 3   /* times the average: so long the first of a row may take */
#define ENOUGH 65536 /* bytes that wait for room on a child's line */

/* How many tasks take so long; `least` at least. */
static unsigned so_many(const struct worker *w, double seconds, unsigned least)
{
    double n = seconds / (w->task_cost > 1e-6 ? w->task_cost : 1e-6);
    return n < least ? least : n < ROW_MAX ? (unsigned)n : ROW_MAX;
}

/* How long the first of a row takes, in ns. A row may be older than what the average has become. */
static int64_t usual(const struct worker *w)
{
    double cost = w->task_cost > SHORT ? w->task_cost : SHORT;
    return clock_after(0, cost < LINED ? cost : LINED);
}

static bool are_short(const struct worker *w)
{
    return w->task_cost < SHORT;
}

bool jobs_are_many(const struct worker *w)
{
    size_t under_way =
        w->count[REQUEST_READY] + w->count[REQUEST_RUNNING] + w->count[REQUEST_SETTLING];
    return are_short(w) && under_way > MANY;
}

struct request *jobs_first(const struct child *k)
{
    return list_empty(&k->jobs) ? NULL : list_first(&k->jobs, struct request, turn);
}

uint32_t jobs_begun(const struct child *k)
{
    return k->held > 0 ? line_begun(&k->ends.line) - k->done : 0;
}

int64_t jobs_begun_at(const struct child *k)
{
    int64_t at = line_begun_at(&k->ends.line), latest = k->since + JOBS_UNREAD;
    return at < k->since ? k->since : clock_earlier(at, latest);
}

double jobs_cost(const struct worker *w, const struct request *r, double said)
{
    /* Most end before this turn. The clock is read for the others only. */
    if (said <= clock_seconds(w->now - r->since)) return said;
    double most = clock_seconds(clock_now() - r->since);
    return said < most ? said : most;
}

uint32_t jobs_halt(struct child *k)
{
    return line_halt(&k->ends.line) - k->done;
}

struct request *jobs_take_first(struct child *k)
{
    struct request *r = jobs_first(k);
    list_remove(&r->turn);
    k->held--;
    return r;
}

/* ---- Giving ---------------------------------------------------------------------------------- */

static bool may_line_up(const struct worker *w, const struct child *k, unsigned most)
{
    unsigned max = w->options->max_tasks_per_child;
    bool open = k->state == CHILD_BUSY && !k->asked && !k->leaves && k->out.len < ENOUGH;
    return open && k->held < most && w->now - k->since < usual(w) && (max == 0 || k->given < max);
}

static struct child *shortest_row(const struct worker *w)
{
    unsigned most = so_many(w, ROW, 2);
    struct child *k, *best = NULL;
    list_each(k, &w->pool.all, struct child, link) {
        if (may_line_up(w, k, most) && (!best || k->held < best->held)) best = k;
    }
    return best;
}

/* The last one is awake, so it is first while it has little to do. A task with CTASK_ACK_EARLY is
 * acknowledged when it is given, so it never stands behind another. One whose process was lost is
 * the first of its process: a process is not checked after each short task, and what another task
 * left there may have killed it. */
struct child *jobs_taker(struct worker *w, const struct request *r)
{
    struct pool *p = &w->pool;
    if (r->alone && !r->burial) return pool_fresh(w);
    bool rows = w->task_cost < LINED && !r->burial && r->task->ack != CTASK_ACK_EARLY;
    unsigned few = so_many(w, jobs_are_many(w) ? WAKE_MANY : WAKE, 1);
    if (rows && p->last && may_line_up(w, p->last, few)) return p->last;
    struct child *idle = pool_idle(p);
    if (idle) return idle;
    return rows ? shortest_row(w) : NULL;
}

void jobs_give(struct worker *w, struct child *k, struct request *r)
{
    struct job j = {
        .redelivered = r->m->redelivered,
        .queue = bytes_text(r->m->queue),
        .props = r->m->props,
        .body = r->m->body,
    };
    if (r->burial) {
        j.state = r->burial->state;
        j.fault = r->burial->fault;
        j.body = bytes_of("", 0);
    }
    j.nonce = r->nonce = k->nonce += 0x9e3779b97f4a7c15; /* odd: none comes twice */
    if (!job_write(&k->out, r->burial ? CHILD_BURY : CHILD_JOB, &j)) abort();
    if (!r->burial && r->task->ack == CTASK_ACK_EARLY) {
        request_ack(w, r);
        request_leave_window(w, r);
    }
    list_append(&k->jobs, &r->turn);
    k->held++;
    k->given++;
    w->pool.last = k;
    if (k->state == CHILD_IDLE) {
        k->output.tail_size = 0;
        child_move(w, k, CHILD_BUSY);
    }
    request_move(w, r, REQUEST_RUNNING);
}

/* ---- Taking back ----------------------------------------------------------------------------- */

void jobs_take_back(struct worker *w, struct child *k, bool goes_on)
{
    uint32_t begun = jobs_halt(k);
    unsigned stay = goes_on && begun == 0 ? 1 : begun;
    while (k->held > stay) { /* the last first: each goes before the others */
        struct request *r = list_last(&k->jobs, struct request, turn);
        list_remove(&r->turn);
        k->held--;
        k->given--;
        death_unbegun(w, r);
    }
    if (!goes_on) return;
    struct request *first = jobs_first(k);
    if (!bare_frame_write(&k->out, CHILD_RESUME)) abort();
    if (begun == 0 && first) { /* the child drops it, so it is written again */
        jobs_take_first(k);
        k->given--;
        jobs_give(w, k, first);
    }
    child_write(k);
}

static bool has_row(const struct child *k)
{
    return k->state == CHILD_BUSY && !k->leaves && k->held > 1 && k->held > jobs_begun(k);
}

/* When the row of k is dissolved. Short tasks are done before an idle child has them. */
static int64_t row_ends(struct worker *w, const struct child *k)
{
    if (!are_short(w) && pool_idle(&w->pool)) return w->now;
    return k->since + TOO_LONG * usual(w);
}

void jobs_turn(struct worker *w)
{
    struct child *k;
    list_each(k, &w->pool.all, struct child, link)
        if (has_row(k) && w->now >= row_ends(w, k)) jobs_take_back(w, k, true);
}

void jobs_take_back_all(struct worker *w)
{
    struct child *k;
    list_each(k, &w->pool.all, struct child, link)
        if (has_row(k)) jobs_take_back(w, k, true);
}

int64_t jobs_next(struct worker *w)
{
    int64_t at = CLOCK_NEVER;
    struct child *k;
    list_each(k, &w->pool.all, struct child, link)
        if (has_row(k)) at = clock_earlier(at, row_ends(w, k));
    return at;
}
