/* back.c - back to the first broker, when a connection there is up beside the one in use.
 *
 * Tasks are settled where they came from, so the worker goes when it has none. While tasks are
 * short it takes no more of them and finishes what it has, which is soon done. With long ones the
 * other children would have nothing to do meanwhile: then it goes if it happens to have none. The
 * same holds for what waits for something else than a child: that may take for ever. */
#include "worker/worker.h"

#define SHORT 5.0 /* seconds: tasks that are waited for take less on average, */
#define OLDEST 10 /* and none has run for longer */

/* All that the worker has. */
static bool ends_soon(const struct worker *w)
{
    const size_t *n = w->count;
    return w->task_cost < SHORT && pool_longer(&w->pool, OLDEST, w->now) == 0 &&
           n[REQUEST_WAITING] + n[REQUEST_SKIPPED] + n[REQUEST_REFUSED] == 0 &&
           !broker_blocked(w->out);
}

bool back_is_due(const struct worker *w)
{
    return broker_home_is_up(w->in) && (ends_soon(w) || requests_none(w));
}

void back_turn(struct worker *w)
{
    if (w->drain == DRAIN_RUN && back_is_due(w) && requests_none(w) &&
        broker_unconfirmed(w->out) == 0)
        broker_go_home(w->in);
}
