/* walk.h - the delay queues, one question to the broker at a time: names, keys, declares and
 * bindings. ladder.h says what they make together, and when they are asked. */
#ifndef AMQP_WALK_H
#define AMQP_WALK_H

#include "amqp/frame.h"
#include "amqp/types.h"

#define LADDER_LEVELS 28
#define LADDER_DELAY_MAX ((UINT32_C(1) << LADDER_LEVELS) - 1) /* seconds */
#define LADDER_NAME_MAX (NAME_MAX_BYTES - 2 * LADDER_LEVELS)  /* bytes of a queue's name */
#define LADDER_EXCHANGE_SIZE 32

/* NULL, or why no message can be delayed to a queue of this name; static. */
const char *ladder_unfit(const char *queue);
/* The exchange to publish to for so many seconds: that of their highest bit. Celery enters at the
 * top, whose exchange leads there too, over one exchange for each bit that is 0; each costs the
 * broker 0.1 ms of a message's way (RabbitMQ 3.10), which is ten times the rest. Returns out. */
const char *ladder_entry(uint32_t seconds, char out[LADDER_EXCHANGE_SIZE]);
/* The routing key that takes so many seconds to this queue, which is not unfit. Returns out. */
const char *ladder_key(uint32_t seconds, const char *queue, char out[NAME_MAX_BYTES + 1]);

/* LOOK asks passively whether all is there, BUILD declares it, BIND leads messages to one queue.
 * ROOM declares as many queues as BUILD will, to see whether the virtual host has room for them,
 * and CLEAR deletes these. Each ROOM has names of its own: who shared them would count queues that
 * somebody else is deleting. */
enum ladder_walk { WALK_NONE, WALK_LOOK, WALK_ROOM, WALK_CLEAR, WALK_BUILD, WALK_BIND };

/* One question. The level is that of a queue or exchange, or one of those below level 0. */
struct step {
    enum {
        STEP_EXCHANGE,
        STEP_QUEUE,
        STEP_BIND_QUEUE,
        STEP_BIND_EXCHANGE,
        STEP_TIE,
        STEP_LEAD,
        STEP_ROOM,
        STEP_CLEAR
    } what;
    int level;
    bool passive;
};

unsigned walk_length(enum ladder_walk walk);
/* Step number i of this walk. From the bottom up, so that what leads to a level exists only when
 * the level does. */
struct step walk_step(enum ladder_walk walk, unsigned i);

/* of: in WALK_BIND the queue to bind; in WALK_ROOM and WALK_CLEAR the id in the names of these
 * queues. False when memory is short. */
bool step_write(const struct step *s, const char *of, struct buf *out, uint16_t channel);
amqp_method_number_t step_answer(const struct step *s);
/* True if this refusal says that the queue exists with other arguments. It is used as it is. */
bool step_exists_otherwise(const struct step *s, unsigned code, struct bytes text);
/* True if there is no ladder at all when a look misses this: it is built from the bottom up. */
bool step_is_first(const struct step *s);
/* True if the answer to this step says how many messages came due for queues that are gone. */
bool step_counts_undelivered(const struct step *s);

#endif
