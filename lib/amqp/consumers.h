/* consumers.h - who consumes what on one channel.
 *
 * What is wanted is in the queues (struct queue.prefetch); consumers_turn makes the broker's side
 * follow. A window is fixed at basic.consume, so a new one means a second consumer, and the first
 * is cancelled when the second runs: the queue is never without
 * (https://www.rabbitmq.com/docs/consumer-prefetch). */
#ifndef AMQP_CONSUMERS_H
#define AMQP_CONSUMERS_H

#include "amqp/topology.h"

struct consumers {
    struct list running; /* all of this channel, oldest first */
    struct list wanted;  /* queues, by their `consumed` */
    uint32_t serial;
};

void consumers_init(struct consumers *c);
void consumers_done(struct consumers *c);

/* Gives q a window of its own, the next by number, even if it is as large as the last; 0 stops. */
void consumers_want(struct consumers *c, struct queue *q, unsigned prefetch);
/* q is about to be deleted. */
void consumers_forget(struct consumers *c, struct queue *q);

/* There is something to ask now; when next. */
bool consumers_pending(const struct consumers *c, int64_t now);
int64_t consumers_wake(const struct consumers *c);
bool consumers_ask(struct consumers *c, struct buf *out, uint16_t channel, int64_t now);

/* A reply queue is to be consumed, can be as far as is known, and the broker was not asked yet.
 * What is published before could be answered to a consumer of a connection that is gone, while the
 * broker takes it for alive. */
bool consumers_awaited(const struct consumers *c, int64_t now);

/* The queue that a delivery with this tag belongs to, and the number of its window. NULL: nobody's;
 * with a window: of a queue that was deleted meanwhile. */
struct queue *consumers_find(const struct consumers *c, struct bytes tag, uint32_t *window);
/* consume-ok: its queue, or NULL. */
struct queue *consumers_started(struct consumers *c, struct bytes tag);
/* cancel-ok, or the broker's cancel: its queue if it was not we who asked, else NULL. */
struct queue *consumers_ended(struct consumers *c, struct bytes tag);
/* The channel is gone, and with it all consumers. refused: because of a basic.consume, which is
 * tried again after 1 to 60 s; its queue, or NULL. */
struct queue *consumers_reset(struct consumers *c, bool refused, int64_t now);

#endif
