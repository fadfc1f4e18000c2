/* consumers.h - who consumes what on one channel.
 *
 * A queue may have several consumers, each with a prefetch of its own, which is fixed at
 * basic.consume (https://www.rabbitmq.com/docs/consumer-prefetch). To receive more, the owner opens
 * a further consumer. A cancel may wait until what is on its way has come, see consumers_hold_acks:
 * at basic.cancel RabbitMQ takes back what is on its way from a quorum queue, and delivers it again
 * as redelivered. */
#ifndef AMQP_CONSUMERS_H
#define AMQP_CONSUMERS_H

#include "amqp/topology.h"

struct consumers {
    struct list all; /* of this channel, oldest first */
    uint32_t serial;
    unsigned moves; /* to another channel, since the last consume-ok */
};

void consumers_init(struct consumers *c);
void consumers_done(struct consumers *c);

/* A further consumer of q, the next by number. False when out of memory. */
bool consumers_add(struct consumers *c, struct queue *q, unsigned prefetch);
/* Cancels q's consumer of this number, but not before `at`; 0: all of them. */
void consumers_cancel(struct consumers *c, const struct queue *q, uint32_t window, int64_t at);
/* True while acks are to be held back, so that a consumer that is about to be cancelled gets no
 * more deliveries: when those on their way have come there is nothing that the broker could take
 * back. */
bool consumers_hold_acks(const struct consumers *c, int64_t now);
/* q is about to be deleted. */
void consumers_forget(struct consumers *c, struct queue *q);
/* How many consumers of q the broker may have now. */
unsigned consumers_count(const struct consumers *c, const struct queue *q);

/* True if the broker may have a consumer of ours of a queue that is not one of replies. */
bool consumers_take_tasks(const struct consumers *c);

/* There is something to ask now; when next. */
bool consumers_pending(const struct consumers *c, int64_t now);
int64_t consumers_wake(const struct consumers *c);
/* Asks it. False when memory is short. */
bool consumers_ask(struct consumers *c, struct buf *out, uint16_t channel, int64_t now);

/* The broker has at least one of them: consume-ok has come, and the end has not. */
bool consumers_running(const struct consumers *c);
/* When the first of them has waited too long for consume-ok: 10 s, 20 s after one move, 40 s after
 * more. CLOCK_NEVER if none waits, or if one is running: then the channel is not given up. */
int64_t consumers_deadline(const struct consumers *c);
/* The broker answered a basic.consume on another channel, so it is well: a consumer that has waited
 * for over a second has waited too long. */
void consumers_hurry(struct consumers *c, int64_t now);
/* The broker could not answer until now, being in alarm: the time to wait begins again. */
void consumers_wait_anew(struct consumers *c, int64_t now);
/* The channel of `from` is given up: its consumers are to be started over that of `to`, which has
 * none. */
void consumers_move(struct consumers *to, struct consumers *from, int64_t now);

/* A reply queue is to be consumed, can be as far as is known, and the broker was not asked yet.
 * What is published before could be answered to a consumer of a connection that is gone, while the
 * broker takes it for alive. */
bool consumers_awaited(const struct consumers *c, int64_t now);

/* The queue that a delivery with this tag belongs to, and the number of its consumer. NULL:
 * nobody's; with a number: of a queue that was deleted meanwhile. */
struct queue *consumers_find(const struct consumers *c, struct bytes tag, uint32_t *window);
/* consume-ok: its queue, or NULL. */
struct queue *consumers_started(struct consumers *c, struct bytes tag);
/* cancel-ok, or the broker's cancel: its queue if it was not we who asked, else NULL. */
struct queue *consumers_ended(struct consumers *c, struct bytes tag);
/* The channel is gone: all that are not cancelled are to be started again. refused: because of a
 * basic.consume, which is tried again after 1 to 64 s; its queue, or NULL. */
struct queue *consumers_reset(struct consumers *c, bool refused, int64_t now);

#endif
