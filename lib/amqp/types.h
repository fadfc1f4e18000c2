/* types.h - what this room and its owners hand each other: a message in, a message out, a queue's
 * kind. Plain data; nothing of AMQP's encoding shows. */
#ifndef AMQP_TYPES_H
#define AMQP_TYPES_H

#include "base/bytes.h"

#define NAME_MAX_BYTES 255 /* of queues, exchanges, routing keys: one length byte on the wire */

enum queue_kind {
    QUEUE_TASK,  /* looked at passively, and compared once with what was asked for; if missing:
                    durable, and bound to the exchange of its name if there is one */
    QUEUE_DEAD,  /* looked at passively; if missing: durable, and may be read without end */
    QUEUE_REPLY, /* ours: declared durable, x-expires 30 min, looked at after a reconnect: `created`
                    then says that it was lost */
    QUEUE_LEASE, /* ours: a quorum queue with a time to live after which what it holds goes to its
                    home queue; expires when long unused. See worker/lease.h */
    QUEUE_FOREIGN, /* somebody else's, or an old one of ours: looked at passively, never declared */
};

/* After so many closes of the connection the only thing that was under way is given up: a message
 * or a queue's name. */
#define CLOSES_MAX 3

/* Leads what is due to its queue, and what has none any more to the one that keeps it; see
 * ladder.h.
 */
#define EXCHANGE_DUE "ctask.due"
#define QUEUE_UNDELIVERED "ctask.undelivered"

/* What every queue is declared as when it is missing; one that exists is used as it is. Leases and
 * Celery's delay queues are always quorum queues. */
enum queue_type { QUEUE_AS_BROKER_LIKES, QUEUE_CLASSIC, QUEUE_QUORUM };
/* "classic" or "quorum"; NULL and "": as the broker likes. False for anything else. */
bool queue_type_read(const char *text, enum queue_type *out);

/* What QUEUE_TASK is declared with beside that: "x-max-priority=9,x-overflow=reject-publish".
 * Digits are a number, true and false a truth value, all else is text. True if that can be asked
 * for; NULL and "" ask for nothing. An x-queue-type becomes *type. Otherwise *why goes on from the
 * option's name: "takes ...". */
#define QUEUE_ARGUMENTS_MAX 1000 /* bytes, so that they fit one frame */
bool queue_arguments_read(const char *text, enum queue_type *type, char *why, size_t size);

/* A delivery's name. Settling one of an earlier generation does nothing. */
struct delivery {
    uint64_t tag;
    uint32_t generation; /* 0: none */
};

#define SPOOL_MEMORY_MAX ((uint64_t)64 << 20) /* bytes of a body that is spooled in memory */

/* One message as it came. One allocation, apart from the spool. */
struct envelope {
    struct delivery delivery;
    bool redelivered;
    const char *exchange, *routing_key;
    const char *queue;  /* the queue consumed from, never the routing key */
    uint32_t window;    /* which consumer of that queue brought it, from 1 */
    struct bytes props; /* property bytes as they came */
    struct bytes body;  /* empty when spooled or skipped */
    uint64_t body_size; /* as the sender said; above body_max the body is in `spool` */
    /* body_size > body_max: the body is in this unlinked file. -1: the body was read past, because
     * another message has the spool, or for want of a file. */
    int spool;
    int spool_error; /* errno: there is no file on disk, so the spool is in memory, or there is none
                        at all; 0: no trouble */
};
void envelope_free(struct envelope *m);

struct publish {
    const char *exchange; /* "" for the default exchange */
    const char *routing_key;
    struct bytes props; /* encoded, see base/props.h */
    struct bytes body;
    int spool; /* -1, or a file that holds the body instead: all of it, from its start.
                  Borrowed until the outcome */
    uint64_t spool_size;
    const char *ensure; /* a task queue to look at, and to declare if missing, before this leaves;
                           NULL: none. A queue that does not answer delays only its own messages */
    bool look; /* if the broker does not take it, the queue that is its routing key is looked at,
                  and never declared: it ends with CTASK_EROUTE if there is none, CTASK_EUNAVAILABLE
                  if its node is down or it does not answer, CTASK_ENACK if it is there */
    uint32_t delay; /* > 0: reach the queue `ensure`, which is the routing key too, after so many
                       seconds, at most 2^28 - 1, by way of the broker's delay queues. What
                       becomes of it there is between broker and queue */
    void *cookie;   /* comes back with the outcome, exactly once; so do: */
    uint8_t kind;   /* what it is to its owner */
    uint8_t tries;  /* how often its owner has sent it before */
};

#endif
