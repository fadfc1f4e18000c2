/* patience.c - a confirm that does not come. Nothing in AMQP says that one was lost, so the oldest
 * message under way is watched: when it stays unconfirmed for too long, the connection is made
 * again and what is unconfirmed is published again, marked.
 *
 * In a cluster a node that stands still holds up channels of the others: each waits for the leader
 * of some queue to answer, and what was published behind that waits too. A new channel finds the
 * new leader, so with several URLs the first wait is shorter.
 *
 * Not counted: time in which the broker said that it takes no messages, and a message that has not
 * left whole. A broker that is only slow gets twice the time at each attempt. */
#include "base/clock.h"
#include "transport/session.h"

#define PATIENCE (30 * CLOCK_SECOND)
#define PATIENCE_IN_CLUSTER (10 * CLOCK_SECOND) /* longer than the choice of a leader takes */
#define DOUBLINGS_MAX 5
#define LAST_CALL CLOCK_SECOND

/* A new connection counts its messages anew. */
void patience_begin(struct patience *p)
{
    *p = (struct patience){.until = CLOCK_NEVER, .strikes = p->strikes};
}

void patience_await(struct broker *b, int64_t now)
{
    struct patience *p = &b->patience;
    const struct list *sent = &b->out.sent;
    const struct post *oldest = list_empty(sent) ? NULL : list_first(sent, struct post, link);
    uint64_t seq = oldest ? oldest->seq : 0;
    bool counts = oldest && oldest->end <= b->link.sent && !b->link.blocked;
    if (p->awaited && p->awaited != seq) p->strikes = 0; /* it was confirmed */
    if (p->awaited != seq || !counts) p->until = CLOCK_NEVER;
    p->awaited = seq;
    if (!counts || p->until != CLOCK_NEVER) return;
    p->until = now + ((b->url_count > 1 ? PATIENCE_IN_CLUSTER : PATIENCE) << p->strikes);
    p->last_call = false;
}

bool patience_over(struct broker *b, int64_t now)
{
    struct patience *p = &b->patience;
    patience_await(b, now);
    if (now < p->until) return false;
    bool over = p->last_call;
    p->last_call = true; /* maybe it is we who slept: what has come since is read first */
    p->until = now + LAST_CALL;
    if (over && p->strikes < DOUBLINGS_MAX) p->strikes++;
    return over;
}
