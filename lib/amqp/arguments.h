/* arguments.h - what a queue is declared with: the arguments by its kind. A queue that exists is
 * used as it is, whatever its arguments; see topology.h. */
#ifndef AMQP_ARGUMENTS_H
#define AMQP_ARGUMENTS_H

#include "amqp/topology.h"

#define ASKED_MAX 16                  /* arguments that a user may ask for; */
#define ARGUMENTS_MAX (ASKED_MAX + 1) /* beside their type */

/* Of a quorum queue that is read without being emptied, or by a client that loses its connection
 * again and again. From 4.0 on the broker drops a message at its 21st hand-out by itself; -1 is no
 * way to say "never", since 3.10 then drops it at the first. */
#define DELIVERY_LIMIT 1000000000

/* One argument: a number, or text. They borrow. */
amqp_table_entry_t argument_number(const char *key, int64_t n);
amqp_table_entry_t argument_text(const char *key, const char *text);

/* Points into q, to what it points to, and to `entries`, and lives as long as they do. */
amqp_table_t queue_arguments(const struct queue *q, amqp_table_entry_t entries[ARGUMENTS_MAX]);

/* Asks a about q: ASK_LOOK, ASK_QUEUE (declare it) or ASK_COMPARE (declare it though it exists,
 * which compares arguments). A QUEUE_TASK that is declared is also bound to the exchange of its
 * name. That exchange is an application's, of any type, or missing, which is no harm: Celery
 * publishes to it if its type is not direct, and is not told that a queue which was deleted is a
 * new one without its binding. False when out of memory. */
bool asker_queue(struct asker *a, enum ask what, struct queue *q, struct buf *out, int64_t now);

/* It exists, and is to be compared: arguments were asked for. */
bool queue_to_compare(const struct queue *q);

#endif
