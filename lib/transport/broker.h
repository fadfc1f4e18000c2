/* broker.h - one connection to the broker that heals itself.
 *
 * It is a state machine over a non-blocking socket: nothing here waits. The owner asks which fd to
 * poll and until when (broker_poll), lets it work (broker_turn), and takes what happened one event
 * at a time (broker_next). A lost connection is made again after 0.1 to 4 s with full jitter, or
 * after 15 to 30 s when the broker refused who we are; one that lived for less than a second counts
 * as a failed attempt, and nothing shortens the wait for the next. Then queues are looked at again,
 * consumers started again and unconfirmed messages published again with the header x-ctask-again,
 * so that a second start is visible to the task. Of several URLs the last good one is tried first,
 * unless the broker there fell silent, then the others without a pause, in any order; only a round
 * in which all of them failed is told. The first URL is where it begins, and where its owner can
 * have it go back to (broker_go_home). A connection over which the oldest message stays unconfirmed
 * for 30 s (10 s with several URLs) while the broker takes messages counts as lost. The
 * wait doubles each time, up to 32-fold, until the message is confirmed.
 *
 * Channels: one publishes with confirms and mandatory, some look at queues and declare them, one
 * sees to the delay queues, and each consumed queue has one of its own, so that a queue that does
 * not answer delays no other. Each is opened when first needed. A channel closed by the broker is
 * opened again without touching the others; its consumers resume, deliveries of its earlier
 * generation can no longer be settled and their settling is a no-op.
 *
 * Not thread-safe; the owner locks. Events borrow nothing but what is said. */
#ifndef TRANSPORT_BROKER_H
#define TRANSPORT_BROKER_H

#include "amqp/types.h"
#include "base/addr.h"
#include "base/url.h"

#include <poll.h>

struct broker;

struct broker_config {
    const struct url *url; /* copied */
    unsigned url_count;    /* so many at url, tried in turn (see base/urls.h); 0: 1 */
    /* Connects only where this one is connected, to its very address, and leaves when it is
     * connected elsewhere, before another byte is written. Turn it first; it lives longer. NULL:
     * goes its own way. */
    const struct broker *follow;
    const char *name;   /* connection_name, as rabbitmqctl list_connections shows it; copied */
    unsigned heartbeat; /* seconds, unless a URL says; 0: none (clients of one URL, which rely on
                           the kernel: see stream.h) */
    unsigned window; /* unconfirmed messages before CTASK_EAGAIN; 0: 256, more for a far broker */
    size_t window_bytes;         /* their bytes; 0: 64 MiB */
    uint64_t body_max;           /* deliveries above it are spooled to a file; 0: 4 MiB */
    enum queue_type queue_type;  /* of queues that are missing; */
    const char *queue_arguments; /* and of those of tasks, as queue_arguments_read has found sound;
                                    copied; NULL: none */
    /* How names become addresses: CTASK_OK, CTASK_EAGAIN (asked again next turn)
     * or CTASK_ECONN. NULL: addrs_resolve, which blocks. Never asked for addrs_literal hosts. */
    int (*resolve)(void *ctx, const char *host, uint16_t port, struct addrs *out,
                   struct ctask_error *e);
    void *ctx;
};

/* NULL when out of memory. Connects at the first turn. */
struct broker *broker_new(const struct broker_config *cfg);
/* Says goodbye if it can do so without waiting, closes and frees. Outcomes never given are lost
 * with it, so ask for them before. */
void broker_free(struct broker *b);
/* For a program's start: what TLS frees is zeroed from now on. False if it is too late for that. */
bool broker_wipe_memory(void);
/* In a forked child: frees the keys of its connection and leaves the rest. NULL is fine. */
void broker_forget_keys(struct broker *b);
/* In a forked child: closes the descriptor without a word on the wire, frees nothing else. */
void broker_abandon(struct broker *b);

/* Fills *p with what to poll for (fd -1: nothing) and lowers *wake to when to turn again. */
void broker_poll(const struct broker *b, struct pollfd *p, int64_t *wake);
/* What poll said of that: the next turn reads only if there was something. Without it a turn looks.
 */
void broker_polled(struct broker *b, short revents);
/* Does all that can be done without waiting: connect, read, act, time out, write. Call it before
 * sleeping too: publishes and acks leave here, many in one send. */
void broker_turn(struct broker *b, int64_t now);
/* Writes what is waiting to be written, without reading. True if nothing is left. */
bool broker_flush(struct broker *b);
/* What is published stays here until then (clock.h), to leave together; all else goes on. Not once
 * the connection is closing. 0: it leaves at once. */
void broker_hold(struct broker *b, int64_t until);
/* Begins an orderly end: what is written leaves, connection.close follows; BROKER_DOWN with code
 * CTASK_ECLOSED when the broker has agreed. It does not reconnect. */
void broker_close(struct broker *b);

/* True while a connection that is not at the first of several URLs could go back: for half a minute
 * there is a second one, to the first URL, while this one works on. Tried after ten calm minutes
 * and up to half as long again; after twice that if it fails or is not taken, at most two hours. */
bool broker_home_is_up(const struct broker *b);
/* Goes there: BROKER_DOWN without an error code and BROKER_UP follow. False, and to be called
 * again, while something is unsettled, unconfirmed or not written yet, or tasks are consumed. */
bool broker_go_home(struct broker *b);

enum broker_state { BROKER_IS_DOWN, BROKER_IS_CONNECTING, BROKER_IS_UP };
enum broker_state broker_state(const struct broker *b);
/* Why it is down, or was last: CTASK_OK if it never was. CTASK_EAUTH: user, password or vhost. */
const struct ctask_error *broker_error(const struct broker *b);
/* True while the broker refuses to take messages (connection.blocked). */
bool broker_blocked(const struct broker *b);
/* Publishes whose outcome has not been given as an event yet. */
size_t broker_unconfirmed(const struct broker *b);

/* ---- Queues ---------------------------------------------------------------------------------- */

/* Makes sure that the queue exists, now and after each reconnect. The name is copied. Asking again
 * is cheap. Outcome: BROKER_QUEUE. */
int broker_queue(struct broker *b, const char *name, enum queue_kind kind);
/* Makes sure that there is a queue of ours, now and after each reconnect, whose messages go to
 * queue `home` after `ttl` seconds (1 to 1,000,000); if home is gone then, to QUEUE_UNDELIVERED
 * where broker_delays is true of it. Asking again looks at it anew. Outcome: BROKER_QUEUE. */
int broker_lease(struct broker *b, const char *name, const char *home, unsigned ttl);
/* Sees to it that messages can be delayed to a queue that exists, now and after each reconnect:
 * looks at the ladder (amqp/ladder.h) or declares it, and binds the queue at its foot; once more if
 * anew. True if all of that is known to be there. Otherwise BROKER_DELAYS tells; what was refused
 * is asked for again only by another call, after 1 to 30 s. False without more for a queue that is
 * broker_undelayable. */
bool broker_delays(struct broker *b, const char *queue, bool anew);
/* NULL, or why no message can be delayed to a queue of this name; static. */
const char *broker_undelayable(const char *queue);
/* Looks again at a queue that broker_queue was asked for. Outcome: BROKER_QUEUE. CTASK_EINVAL if it
 * was not. */
int broker_look(struct broker *b, const char *name);
/* Forgets a lease that others delete. */
void broker_lease_leave(struct broker *b, const char *name);
/* Deletes a queue that is ours, or was another worker's lease, and forgets it; best effort. */
void broker_delete_queue(struct broker *b, const char *name);

/* Opens a consumer of a queue that broker_queue was asked for, with `prefetch` unsettled deliveries
 * (1 to 65,535): a further one if the queue is consumed already. They are numbered from 1, and each
 * is started again after a loss. */
int broker_consume(struct broker *b, const char *queue, unsigned prefetch);
/* Cancels the queue's consumer of this number, or all of them (0). at_once: what is on its
 * way from a quorum queue is delivered again, as redelivered. Otherwise acks are held back for some
 * 20 ms first, so that it arrives. What a consumer has brought stays here until it is settled. */
void broker_cancel(struct broker *b, const char *queue, uint32_t window, bool at_once);

/* Closes the channel that consumes the queue and opens another. False, and nothing is done, if
 * there is no such channel, or if deliveries of the channel are not settled: the broker would
 * deliver them again, also those that the owner has not had from broker_next yet. */
bool broker_reopen(struct broker *b, const char *queue);

/* ---- Messages in ----------------------------------------------------------------------------- */

/* Deliveries and envelopes: see amqp/types.h. */

/* Acks gather and leave with the next turn, as few as possible. */
void broker_ack(struct broker *b, struct delivery d);
/* As envelope_free, of one that came from here, and its memory is used for another. */
void broker_recycle(struct broker *b, struct envelope *m);
/* Back to the queue, at once (basic.nack with requeue). */
void broker_give_back(struct broker *b, struct delivery d);
/* One body over body_max is spooled at a time, until its delivery is settled; others are skipped
 * meanwhile. When (clock.h) one of those can be given back, to be spooled when it comes again;
 * CLOCK_NEVER while the spool is in use. */
int64_t broker_spool_free_at(const struct broker *b);
/* Until then a free spool is kept for a redelivery: one was given back to come again. */
void broker_spool_keep(struct broker *b, int64_t until);

/* ---- Messages out ---------------------------------------------------------------------------- */

/* Copies everything but the spool. CTASK_OK; CTASK_EAGAIN: the window is full; CTASK_ETOOBIG:
 * the properties do not fit one frame; CTASK_EINVAL: a name over 255 bytes, a delay that is none;
 * CTASK_ENOMEM. While the connection is down messages are held and leave when it is up. */
int broker_publish(struct broker *b, const struct publish *p);
/* How many bytes of properties fit one frame of this broker, or of the last one. */
size_t broker_props_max(const struct broker *b);
/* The major version of RabbitMQ, 3 for 3.10; 0 for another broker, or while down. */
unsigned broker_rabbitmq_major(const struct broker *b);
/* Takes all messages with this cookie back: no outcome will come. Whether they were delivered is
 * unknown. */
void broker_recall(struct broker *b, void *cookie);

/* ---- What happened --------------------------------------------------------------------------- */

enum broker_event_kind {
    BROKER_UP,        /* connected; messages flow */
    BROKER_DOWN,      /* lost, refused or closed: `error`; left for the first URL: CTASK_OK and a
                         text. All deliveries so far are stale */
    BROKER_MESSAGE,   /* `message`, yours: envelope_free or broker_recycle */
    BROKER_PUBLISHED, /* `cookie`, `error`: CTASK_OK confirmed; CTASK_EROUTE came back unroutable;
                         CTASK_ENACK (`empty`: its queue, which is looked at then, has no messages);
                         CTASK_EUNAVAILABLE: its queue does not answer or its node is
                         down; CTASK_EREFUSED: may not publish there, or `refused`: not this
                         message, which is not to be sent again */
    BROKER_QUEUE,     /* `queue` exists (CTASK_OK; `created`, `messages`, `consumers` besides ours;
                         `leaderless`: the broker could not ask the queue's leader, so these two
                         numbers are not known) or was refused (`error`) and is tried again later */
    BROKER_DIFFERS,   /* `queue`, one of tasks, exists with other arguments than were asked for, and
                         is used as it is: `error`. Once, before what else comes of it */
    BROKER_DELAYS,    /* `queue` can be delayed to (CTASK_OK; `messages` in QUEUE_UNDELIVERED) or
                         cannot (`error`); of queues that broker_delays was asked for */
    BROKER_CONSUMING, /* `queue`: consume-ok */
    BROKER_CANCELLED, /* `queue`: the broker ended our consumer (queue deleted); it is declared and
                         consumed again by itself */
    BROKER_STALE,     /* the channel that consumes `queue` was closed: `error`; its deliveries so
                         far are stale. `refused`: it may not be consumed, which is tried again
                         later */
    BROKER_BLOCKED,   /* `error.text`: why; BROKER_UNBLOCKED when over */
    BROKER_UNBLOCKED,
};

struct broker_event {
    enum broker_event_kind kind;
    struct ctask_error error; /* CTASK_OK: its texts are empty, and not zeroed to their ends */
    struct envelope *message;
    void *cookie;
    const struct publish *publish; /* BROKER_PUBLISHED: what was sent, so that a failed one can be
                                      published again; valid until the next broker_next */
    const char *queue;             /* valid until the queue is deleted */
    bool created, refused, empty, leaderless;
    uint32_t messages, consumers;
};

/* The next event; false when there is none. */
bool broker_next(struct broker *b, struct broker_event *ev);

#endif
