/* ladder.h - delays in the broker: the ladder of TTL queues that Celery calls native delayed
 * delivery, of which ctask uses the one that is there.
 *
 * Level L of 27 to 0 is an exchange and a queue. The exchange leads a key whose bit L is 1 into the
 * queue, where the message stays for 2^L seconds, and one whose bit is 0 on to the exchange below;
 * so does the queue's dead-letter exchange afterwards. Below level 0 stands
 * celery_delayed_delivery. One binding leads from there to the exchange ctask.due, another one from
 * ctask.due to the target queue. The key of both is "*." 28 times and the queue's name, never "#.",
 * which would also match queues whose name only ends like that.
 *
 * ctask.due is there for queues that are gone when a message comes due. A level's queue keeps
 * messages that cannot be routed, and with 32 of these it moves no others (RabbitMQ's
 * dead-lettering at least once). A queue that is deleted loses its binding to ctask.due; the
 * binding of ctask.due stays. The alternate exchange of ctask.due, ctask.due.unrouted, then leads
 * the message to the queue ctask.undelivered, where it is kept. celery_delayed_delivery itself
 * cannot be declared with an alternate exchange, since Celery declares it without.
 *
 * Questions go over a channel of their own, since declaring 28 quorum queues takes a second. The
 * ladder is looked at passively when somebody needs it. What is missing is declared as Celery's
 * default, from the bottom up; what exists otherwise is used as it is. Where there is no ladder at
 * all, room for it is sought first: a virtual host that limits its queues would be full of levels
 * that lead nowhere. The answers are believed until something says otherwise: a message that comes
 * back, an exchange or queue that is not found, a queue that was looked at again and may be a new
 * one. Nothing says so when a lower level is deleted, or when others delete and declare a queue. So
 * whoever uses the ladder looks at it and binds again every ten seconds, without waiting for the
 * answers. Nothing is retried by itself: after a refusal it is the next ladder_want that asks
 * again, not before 1 to 30 s are over, or 1 to 4 s if the broker did not answer or a node was
 * down. A state machine without I/O, like the rest of this room. */
#ifndef AMQP_LADDER_H
#define AMQP_LADDER_H

#include "amqp/walk.h"
#include "base/ids.h"
#include "base/list.h"
#include "base/map.h"

enum ladder_state {
    LADDER_UNKNOWN, /* to be looked at when needed */
    LADDER_ABSENT,  /* wholly: to be declared when needed, if there is room */
    LADDER_MISSING, /* at least in part: to be declared when needed */
    LADDER_KNOWN,
    LADDER_REFUSED, /* until retry_at */
};

/* Where a message stands that is to be delayed. */
enum ladder_verdict {
    LADDER_WAIT,
    LADDER_READY,
    LADDER_NO,   /* the broker refuses */
    LADDER_AWAY, /* it does not answer, or a node is down */
};

/* A queue and its bindings at the ladder's foot. */
struct tie {
    struct map_node node;
    struct list link;          /* of all */
    struct list todo;          /* to be bound */
    struct list waiting;       /* of its owner: what waits for it */
    bool wanted;               /* its owner wants to hear of it */
    enum ladder_verdict told;  /* of its owner: what it was told last, */
    uint32_t told_undelivered; /* and with how many undelivered messages */
    bool known, refused;
    bool away;   /* refused: LADDER_AWAY */
    bool missed; /* its queue, or an exchange, was missing at the last bind */
    unsigned refusals;
    int64_t retry_at; /* refused: when to ask again; known: when to bind again; 0: may be new */
    char why[256];    /* refused */
    char name[];
};

struct ladder {
    enum ladder_state state;
    bool needed; /* somebody has asked for it */
    bool stale;  /* known, and to be looked at again all the same */
    bool away;   /* refused: LADDER_AWAY */
    unsigned refusals;
    int64_t retry_at;      /* as in struct tie */
    char why[256];         /* refused */
    uint32_t undelivered;  /* messages that came due for queues that were gone, as last looked at */
    enum ladder_walk walk; /* what is under way: one at a time, all its questions at once */
    unsigned step;         /* of the walk: the first without an answer */
    bool asked;            /* from there on all are written */
    bool clear;            /* what WALK_ROOM has declared is to be deleted */
    char room[ID_SIZE];    /* in the names of these */
    int64_t deadline;      /* of the next answer */
    struct tie *tie;       /* the one that WALK_BIND is for; */
    bool tie_anew;         /* it is to be bound once more */
    struct list ties, todo;
    struct map by_name;
};

void ladder_init(struct ladder *l);
void ladder_done(struct ladder *l);

/* The tie of that queue, which is bound now if it is not known to be, and the ladder looked at.
 * NULL when out of memory. */
struct tie *ladder_want(struct ladder *l, const char *queue, int64_t now);
/* Where a message for t stands. LADDER_NO, LADDER_AWAY: *why, valid until the next call. */
enum ladder_verdict ladder_says(const struct ladder *l, const struct tie *t, const char **why);
/* A message for t found no way: all is declared again when next needed. */
void ladder_doubt(struct ladder *l, struct tie *t);
/* A queue of that name may be a new one: it is bound again, now if it is wanted, else when it is
 * next needed. Nobody waits for that: what is sent meanwhile comes due later. */
void ladder_forget(struct ladder *l, const char *queue);

/* There is something to ask now. */
bool ladder_pending(const struct ladder *l);
/* Asks it. False when memory is short. */
bool ladder_ask(struct ladder *l, struct buf *out, uint16_t channel, int64_t now);
/* An answer. NULL, or what is wrong with it; static. */
const char *ladder_answer(struct ladder *l, amqp_method_number_t id, const void *method,
                          int64_t now);
/* The broker closed the channel; what is left is asked again over a new one. Returns the tie whose
 * queue is missing and is to be declared, or NULL. A tie that misses its queue twice in a row is
 * refused. */
struct tie *ladder_closed(struct ladder *l, unsigned code, struct bytes text, int64_t now);
/* When the broker's time for an answer is up; CLOCK_NEVER: it owes none. */
int64_t ladder_wake(const struct ladder *l);
/* Then: refuses what is under way, or if nothing is, what would be asked next, unless it was known.
 * The channel is to be given up. */
void ladder_overdue(struct ladder *l, int64_t now);
/* The broker could not answer until now, being in alarm. */
void ladder_wait_anew(struct ladder *l, int64_t now);
/* The connection is gone: all is to be asked for again. */
void ladder_reset(struct ladder *l);

#endif
