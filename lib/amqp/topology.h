/* topology.h - the queues that somebody needs, and whether the broker has them.
 *
 * Looks and declares go over channels of their own, many at a time (see asker.h). A look is passive
 * and a queue that exists is used as it is. A look does not see arguments: where somebody asked for
 * some, a queue of tasks that exists is declared once, and if the broker refuses that it `differs`.
 *
 * RabbitMQ answers a look at a missing queue, and any refusal, by closing the channel: the first
 * unanswered question is the one meant, the others are asked again. So are those behind one that is
 * not answered for within a second, over another channel. A queue that is refused is tried again
 * after 1 to 30 s; one that is not answered for, or whose node is down, after 1 to 4 s. */
#ifndef AMQP_TOPOLOGY_H
#define AMQP_TOPOLOGY_H

#include "amqp/asker.h"
#include "amqp/types.h"
#include "base/list.h"
#include "base/map.h"

enum queue_state {
    QUEUE_UNKNOWN, /* to be looked at */
    QUEUE_MISSING, /* to be declared */
    QUEUE_FOUND,   /* to be compared with what was asked for */
    QUEUE_ASKED,
    QUEUE_KNOWN,
    QUEUE_REFUSED, /* until retry_at */
};

struct queue {
    struct map_node node;
    struct list link;    /* its state's */
    struct list waiting; /* of its owner: what waits for it */
    enum queue_kind kind;
    enum queue_type type;  /* when it is declared, */
    const char *arguments; /* and a QUEUE_TASK's: the topology's */
    enum queue_state state;
    bool wanted; /* its owner wants to hear of it */
    bool created;
    bool declared; /* by us, once: one of ours is looked at from then on, so its loss is seen, and
                      one of tasks is not compared again */
    uint32_t messages, consumers; /* as last looked at; */
    bool empty;                   /* and it has none: false if it may not be looked at */
    unsigned refusals;
    int64_t retry_at;
    bool differs;    /* it exists otherwise than asked for (`why`); its owner is to be told */
    bool suspect;    /* was asked about when the connection was closed: is asked about alone */
    unsigned closes; /* how often the broker closed the connection while only it was asked about */
    uint32_t window; /* the number of its newest consumer, see consumers.h */
    int64_t consume_at;
    unsigned consume_refusals;
    int code;      /* refused: CTASK_EREFUSED, _EUNAVAILABLE, or missing: CTASK_EROUTE; */
    char why[256]; /* in the broker's words */
    const char *home_exchange; /* QUEUE_LEASE: where its messages go, static, */
    const char *home_key;      /* with this routing key, behind the name, */
    unsigned ttl;              /* after so many seconds */
    char name[];
};

struct topology {
    enum queue_type type;  /* of the queues that it declares */
    const char *arguments; /* and of those of tasks; borrowed; NULL, "": none, see types.h */
    struct map by_name;
    struct list todo, known, refused, asking; /* queues by state */
    struct list askers;
    struct list deletes; /* questions to be put: queues to delete */
    unsigned suspects;
    bool suspects_wait;   /* they are not asked about for now; set by the owner */
    uint16_t first, last; /* channels that its askers may use */
};

void topology_init(struct topology *t);
void topology_done(struct topology *t);

struct queue *topology_find(struct topology *t, const char *name);
/* New, QUEUE_UNKNOWN. NULL when out of memory. */
struct queue *topology_add(struct topology *t, const char *name, enum queue_kind kind);
/* The same for a QUEUE_LEASE, whose messages go to an exchange (static) with this routing key after
 * `ttl` seconds. */
struct queue *topology_add_lease(struct topology *t, const char *name, const char *exchange,
                                 const char *key, unsigned ttl);
/* Looks at it anew. */
void topology_doubt(struct topology *t, struct queue *q);
/* Forgets it and has it deleted; best effort. Nothing waits for it any more. */
void topology_delete(struct topology *t, struct queue *q);
/* Forgets it; the broker is not told. Nothing waits for it any more. */
void topology_forget(struct topology *t, struct queue *q);

/* There is something to ask now. */
bool topology_pending(const struct topology *t, int64_t now);
int64_t topology_wake(const struct topology *t);
/* Asks it, over channels from `last` down. False when out of memory. */
bool topology_ask(struct topology *t, struct buf *out, int64_t now);
/* True if this channel is one of its askers'. */
bool topology_owns(const struct topology *t, uint16_t channel);
/* What the broker says on it. *verdict: the queue that became KNOWN or REFUSED by it, or NULL.
 * NULL, or what is wrong with it; static. */
const char *topology_answer(struct topology *t, uint16_t channel, amqp_method_number_t id,
                            const void *method, struct buf *out, int64_t now,
                            struct queue **verdict);
/* A question is overdue: its queue becomes REFUSED (*verdict), its channel is given up. False when
 * none is. */
bool topology_overdue(struct topology *t, struct buf *out, int64_t now, struct queue **verdict);
/* The broker could not answer until now, being in alarm. */
void topology_wait_anew(struct topology *t, int64_t now);
/* How many queues are being asked about, without those that got no answer within a second. */
size_t topology_asked(const struct topology *t, int64_t now);
/* The broker closed the connection for something that it was sent; topology_reset follows. Each
 * queue that was asked about is a suspect and asked about alone; nothing else should be sent while
 * there are suspects that do not wait. alone: nothing else was under way. One that was alone
 * CLOSES_MAX times is REFUSED for good, and returned. */
struct queue *topology_blamed(struct topology *t, bool alone, struct bytes why, int64_t now);
/* The connection is gone: everything is to be looked at again. */
void topology_reset(struct topology *t);

#endif
