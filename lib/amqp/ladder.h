/* ladder.h - delays in the broker: the ladder of TTL queues that Celery calls native delayed
 * delivery, of which ctask uses the one that is there.
 *
 * Level L of 27 to 0 is an exchange and a queue. The exchange leads a key whose bit L is 1 into the
 * queue, where the message stays for 2^L seconds, and one whose bit is 0 on to the exchange below;
 * so does the queue's dead-letter exchange afterwards. Below level 0 stands
 * celery_delayed_delivery, to which the queue that is meant is bound with "*." 28 times and its
 * name: the queue itself, never its exchange, and never with "#.", which would also catch queues
 * whose name only ends like that.
 *
 * Questions go over a channel of their own, since declaring 28 quorum queues takes a second. The
 * ladder is looked at passively, once a connection and when somebody needs it. What is missing is
 * declared as Celery's default, from the bottom up; what exists otherwise is used as it is. Nothing
 * is retried by itself: what was refused is asked for again by the next who needs it, 1 to 30 s
 * later. A state machine without I/O, like the rest of this room. */
#ifndef AMQP_LADDER_H
#define AMQP_LADDER_H

#include "amqp/frame.h"
#include "amqp/types.h"
#include "base/list.h"
#include "base/map.h"

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

enum ladder_state {
    LADDER_UNKNOWN, /* to be looked at when needed */
    LADDER_MISSING, /* at least in part: to be declared when needed */
    LADDER_KNOWN,
    LADDER_REFUSED, /* until retry_at */
};

/* Where a message stands that is to be delayed. */
enum ladder_verdict { LADDER_WAIT, LADDER_READY, LADDER_NO };

/* A queue and its binding at the ladder's foot. */
struct tie {
    struct map_node node;
    struct list link;         /* of all */
    struct list todo;         /* to be bound */
    struct list waiting;      /* of its owner: what waits for it */
    bool wanted;              /* its owner wants to hear of it */
    enum ladder_verdict told; /* of its owner: what was heard last */
    bool known, refused;
    unsigned refusals;
    int64_t retry_at;
    char why[256]; /* refused */
    char name[];
};

/* What is under way: one walk at a time, all its questions at once. */
enum ladder_walk { WALK_NONE, WALK_LOOK, WALK_BUILD, WALK_BIND, WALK_BIND_ANEW };

struct ladder {
    enum ladder_state state;
    bool needed; /* somebody has asked for all of it */
    unsigned refusals;
    int64_t retry_at;
    char why[256]; /* refused */
    enum ladder_walk walk;
    unsigned step;    /* of the walk: the first without an answer */
    bool asked;       /* from there on all are written */
    int64_t deadline; /* of the next answer */
    struct tie *tie;  /* the one that WALK_BIND is for */
    struct list ties, todo;
    struct map by_name;
};

void ladder_init(struct ladder *l);
void ladder_done(struct ladder *l);

/* The tie of that queue, which is bound now if it is not known to be. all: the ladder is needed
 * too. NULL when out of memory. */
struct tie *ladder_want(struct ladder *l, const char *queue, bool all, int64_t now);
/* Where a message for t stands. LADDER_NO: *why, valid until the next call. */
enum ladder_verdict ladder_says(const struct ladder *l, const struct tie *t, const char **why);
/* A message for t found no way: all is declared again when next needed. */
void ladder_doubt(struct ladder *l, struct tie *t);

/* There is something to ask now. */
bool ladder_pending(const struct ladder *l);
/* Asks it. False when memory is short. */
bool ladder_ask(struct ladder *l, struct buf *out, uint16_t channel, int64_t now);
/* An answer. NULL, or what is wrong with it; static. */
const char *ladder_answer(struct ladder *l, amqp_method_number_t id, int64_t now);
/* The broker closed the channel; what is left is asked again over a new one. */
void ladder_closed(struct ladder *l, unsigned code, struct bytes text, int64_t now);
/* When the broker's time for an answer is up; CLOCK_NEVER: it owes none. */
int64_t ladder_wake(const struct ladder *l);
/* Then: what is under way is refused, or else what would be asked next; the channel is to be given
 * up. */
void ladder_overdue(struct ladder *l, int64_t now);
/* The broker could not answer until now, being in alarm. */
void ladder_wait_anew(struct ladder *l, int64_t now);
/* The connection is gone: all is to be asked for again. */
void ladder_reset(struct ladder *l);

#endif
