/* arguments.h - what a queue is declared with: the arguments by its kind. A queue that exists is
 * used as it is, whatever its arguments; see topology.h. */
#ifndef AMQP_ARGUMENTS_H
#define AMQP_ARGUMENTS_H

#include "amqp/topology.h"

#define ARGUMENTS_MAX 7

/* Of a quorum queue that is read without being emptied, or by a client that loses its connection
 * again and again. From 4.0 on the broker drops a message at its 21st hand-out by itself; -1 is no
 * way to say "never", since 3.10 then drops it at the first. */
#define DELIVERY_LIMIT 1000000000

/* One argument: a number, or text. They borrow. */
amqp_table_entry_t argument_number(const char *key, int64_t n);
amqp_table_entry_t argument_text(const char *key, const char *text);

/* Points into q and to `entries`, and lives as long as they do. */
amqp_table_t queue_arguments(const struct queue *q, amqp_table_entry_t entries[ARGUMENTS_MAX]);

/* Asks a to declare q, with exchange and binding as Celery if it is a QUEUE_TASK, or to look at it.
 * False when out of memory. */
bool asker_declare(struct asker *a, struct queue *q, struct buf *out, int64_t now);
bool asker_look(struct asker *a, struct queue *q, struct buf *out, int64_t now);

#endif
