/* refusal.c - see refusal.h. */
#include "amqp/refusal.h"

#include <ctask.h>

#define WAIT_MOST_AWAY (4 * CLOCK_SECOND)

bool refused_as_inequivalent(unsigned code, struct bytes text)
{
    return code == AMQP_PRECONDITION_FAILED && /* which is also the code for a limit of queues */
           bytes_has(text, "inequivalent");
}

bool refused_for_now(unsigned code, struct bytes text)
{
    bool missing = bytes_has(text, "no queue") || bytes_has(text, "no exchange");
    return code == AMQP_INTERNAL_ERROR || (code == AMQP_NOT_FOUND && !missing);
}

enum queue_state refusal_state(const struct queue *q, enum ask what, unsigned code,
                               struct bytes text)
{
    bool foreign = q->kind == QUEUE_FOREIGN, task = q->kind == QUEUE_TASK;
    if (foreign && code == AMQP_RESOURCE_LOCKED)
        return QUEUE_KNOWN; /* exclusive: others may not look, and may publish to it */
    if (what == ASK_LOOK && code == AMQP_NOT_FOUND && !foreign) return QUEUE_MISSING;
    if (what == ASK_BIND) return QUEUE_KNOWN; /* it was declared; there is no such exchange */
    if (what == ASK_COMPARE) return QUEUE_UNKNOWN;
    if (what == ASK_QUEUE && task && refused_as_inequivalent(code, text))
        /* Another has declared it meanwhile; the second time: it is on a node that is down. */
        return q->differs ? QUEUE_REFUSED : QUEUE_UNKNOWN;
    return QUEUE_REFUSED;
}

int64_t refusal_wait(unsigned refusals, bool away)
{
    int64_t wait = CLOCK_SECOND << (refusals < 5 ? refusals : 5);
    return clock_earlier(wait, away ? WAIT_MOST_AWAY : REFUSAL_WAIT_MOST);
}

/* "Not found" in answer to a declare means that the queue is on a node that is down; so does that a
 * task queue has other arguments, since a look has not found it. In answer to a look only the
 * broker's words tell that from a missing queue. */
int refusal_code(const struct queue *q, unsigned code, struct bytes text)
{
    if (q->kind == QUEUE_TASK && refused_as_inequivalent(code, text)) return CTASK_EUNAVAILABLE;
    if (code != AMQP_NOT_FOUND) return CTASK_EREFUSED;
    return q->kind == QUEUE_FOREIGN && bytes_has(text, "no queue") ? CTASK_EROUTE
                                                                   : CTASK_EUNAVAILABLE;
}
