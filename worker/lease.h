/* lease.h - jobs that run longer than the broker lets a delivery stay unsettled.
 *
 * RabbitMQ closes a channel that has owed a settlement for `consumer_timeout` (30 minutes) and
 * hands out again all that it held. So a delivery that is still unsettled after --lease seconds
 * (10 minutes) becomes a lease: a copy of it, marked as started, in a queue of its own from which
 * RabbitMQ returns it to its home queue when the time is over. Only when the copy is confirmed is
 * the delivery acknowledged. At half of its time the lease is renewed: the next one is confirmed,
 * then the old one deleted. The last one is deleted when all that the job led to is confirmed.
 *
 * Thus whoever dies while a job runs, the job comes home within a lease's time and starts again,
 * flagged. A lease that has gone home by itself, because the broker could not be reached for that
 * long, is not taken anew: from then on another run answers for the task, and this one is an
 * orphan whose result is still sent. A lease whose queue does not answer for half of its time, as
 * when the node is down, may be lost: then a new one is taken all the same. */
#ifndef WORKER_LEASE_H
#define WORKER_LEASE_H

#include "transport/broker.h"

struct worker;
struct request;

void lease_init(struct worker *w);
/* Takes and renews what is due; gives back what has waited here too long to be held any longer. */
void lease_turn(struct worker *w);
int64_t lease_next(const struct worker *w);

/* True if the copy has gone home: r is nobody's but this worker's. */
bool lease_is_over(const struct request *r);
/* The connection that r came over is lost: what is not a lease yet need not become one. */
void lease_orphan(struct worker *w, struct request *r);
/* r is about to be freed: deletes its lease, if any. */
void lease_drop(struct worker *w, struct request *r);

/* The connection `out` is lost, and with it the word that a copy in a young queue is safe. */
void lease_doubt(struct worker *w);
/* A delivery came from this queue, as it says. If that is a lease's, it has served. */
void lease_came_home(struct worker *w, struct bytes queue);

/* What `out` says of a copy or of a queue. False if it is not a lease's. */
bool lease_published(struct worker *w, const struct broker_event *ev);
bool lease_queue_seen(struct worker *w, const struct broker_event *ev);

#endif
