/* gather.c - when results leave. Where they come one by one, every few milliseconds, the broker
 * sleeps between two of them, and to wake it costs more than they do. So while the children have
 * enough to do, what they have done gathers: for half of the time at most for which what waits here
 * keeps them busy. Then they never run dry, and a result waits for less than its task did. On the
 * way out nothing waits here, so nothing is held. */
#include "worker/worker.h"

#define HOLD_MAX 0.05  /* seconds */
#define HOLD_MIN 0.002 /* it is gone that soon anyway: a way to the broker and back */
#define GATHERED_MAX 64
#define BYTES_MAX ((size_t)1 << 20) /* large ones are work for the broker, however they come */

/* Seconds from one time that they leave to the next. */
static double hold(struct worker *w)
{
    bool enough = w->gathered >= GATHERED_MAX || w->unconfirmed_bytes >= BYTES_MAX;
    if (enough || pool_idle(&w->pool)) return 0;
    double busy =
        (double)w->count[REQUEST_READY] * w->task_cost / (w->pool.size ? w->pool.size : 1);
    double seconds = busy / 2 < HOLD_MAX ? busy / 2 : HOLD_MAX;
    return seconds < HOLD_MIN ? 0 : seconds;
}

void gather_turn(struct worker *w)
{
    int64_t until = clock_after(w->left_at, hold(w));
    if (until <= w->now) {
        until = 0;
        if (w->gathered > 0) w->left_at = w->now;
        w->gathered = 0;
    }
    broker_hold(w->out, until);
}

void gather_end(struct worker *w)
{
    w->left_at = 0;
}
