/* refusal.h - what it means that the broker refuses a question about a queue, which it does by
 * closing the channel with a code and a sentence. */
#ifndef AMQP_REFUSAL_H
#define AMQP_REFUSAL_H

#include "amqp/topology.h"
#include "base/clock.h"

/* A declare was refused since the queue exists with other arguments. */
bool refused_as_inequivalent(unsigned code, struct bytes text);
/* What was asked about is there, on a node that is down or in trouble. */
bool refused_for_now(unsigned code, struct bytes text);

/* What q is when `what` was refused. QUEUE_UNKNOWN: it exists otherwise than asked for, and is to
 * be looked at again. */
enum queue_state refusal_state(const struct queue *q, enum ask what, unsigned code,
                               struct bytes text);
/* How long to wait before the same is asked again: 1, 2, 4 s and so on to REFUSAL_WAIT_MOST. Up to
 * 4 s if the queue's node is away: the queue answers as soon as the node is back. */
#define REFUSAL_WAIT_MOST (30 * CLOCK_SECOND)
int64_t refusal_wait(unsigned refusals, bool away);
/* QUEUE_REFUSED: the error that its owner gets. */
int refusal_code(const struct queue *q, unsigned code, struct bytes text);

#endif
