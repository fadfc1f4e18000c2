/* inside.h - what the files of this room share: the client, its handles, who may touch them when.
 *
 * One mutex guards all of a client and its handles and is never held while sleeping. The exceptions
 * are fields that never change after the birth, `refs`, and a handle's `state`: it is stored last,
 * so whoever reads there that the handle has ended may read all of it without the lock.
 *
 * A handle is in `pending` until its end is known, and has a ticket on `unconfirmed` from its
 * publish to the broker's answer; the two are independent, since a result may overtake the confirm.
 * Whoever forgets an unconfirmed handle leaves it to the answer, which frees it. A million handles
 * may wait, so what few of them have is not in the handle.
 *
 * Files: client.c is born and dies, default.c is the client of those who name none, pump.c makes
 * progress and decides who sleeps where, call.c makes messages, send.c hands them over,
 * unconfirmed.c waits for the broker's answer to them, pending.c finds handles by id, reply_queue.c
 * has the queue of results, replies.c gives them to handles, result.c is the handle, group.c
 * gathers many, args.c is the values. The files of maps are in map.h. */
#ifndef CLIENT_INSIDE_H
#define CLIENT_INSIDE_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/ids.h"
#include "base/list.h"
#include "base/map.h"
#include "base/spares.h"
#include "client/client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct fault;

#define REPLY_PREFIX "ctask.reply."

/* See pending.c. */
struct pending {
    struct ctask_result **slots, **old; /* old: its slots below `moved` are in slots already */
    size_t slot_count, old_count, moved;
    size_t count;
    bool walked;
};

/* A queue that results come to; see reply_queue.c. */
struct reply_queue {
    char name[sizeof REPLY_PREFIX + ID_SIZE];
    bool asked;    /* the broker was asked for it; if not, only the current one's slot is in use */
    bool ready;    /* results can come: it is consumed */
    bool used;     /* it was ready once */
    int64_t until; /* when an old one is given up; CLOCK_NEVER: the current one */
};
#define REPLY_QUEUES 8 /* three bits in a handle */

struct ctask_client {
    pthread_mutex_t lock;
    atomic_uint refs; /* its owner's, one a handle, one a call that is under way */
    pid_t pid;        /* whose it is; 0: anybody's */
    bool in_task;     /* over a relay */
    char reply_queue[sizeof REPLY_PREFIX + ID_SIZE]; /* the first one */
    char queue[NAME_MAX_BYTES + 2]; /* where tasks go that name none; one too long is seen to be */
    char origin[96];

    struct transport *x;       /* NULL: never opened, or closed */
    struct ctask_error broken; /* then, or when closing: why calls fail */
    bool closing;
    double publish_timeout;

    /* pump.c */
    struct list waiters;
    pthread_cond_t left; /* the last of them did */
    bool driven;         /* somebody drives it and sleeps, on epoll_fd or for a pause */
    bool fd_given;       /* so does somebody outside, perhaps */
    int epoll_fd, timer_fd;
    int64_t alarm;              /* when timer_fd rings */
    int watched_of, watched_fd; /* the connection's descriptor, and its duplicate in the set */
    short watched_events;
    int64_t turned_at;
    uint64_t happened; /* events so far */

    /* The connection, as its events told. */
    bool up;
    bool failed; /* an attempt failed since it was up last */
    int64_t failed_at;
    int64_t flowing_since; /* up and not blocked */
    struct ctask_error blocked;
    struct ctask_error differs; /* a queue has other arguments than were asked for */

    struct spares results, tickets; /* handles with an id of ID_SIZE; of unconfirmed.c */

    /* send.c */
    unsigned corks, gathered;
    struct map queues;

    /* unconfirmed.c */
    struct list unconfirmed; /* tickets in order of sent_at */
    size_t unconfirmed_count;
    struct ctask_error lost; /* the first failure nobody has a handle for */
    size_t lost_count;

    /* reply_queue.c */
    struct reply_queue replies[REPLY_QUEUES];
    unsigned reply_at;   /* the slot of the current one */
    int64_t reply_since; /* not ready since then, the connection being up; else CLOCK_NEVER */
    struct ctask_error reply_error;

    /* replies.c */
    uint64_t dropped;         /* replies that nobody waits for */
    struct ctask_error retry; /* why a task is tried again, as told last; CTASK_OK: none was */
    struct pending pending;
};

/* What few handles have. */
struct extras {
    json_t *progress, *news; /* as shown last, as came last */
    struct ctask_error *error;
    struct ctask_error *trouble; /* of the last wait that did not end well, as a timeout */
};

struct ctask_result {
    struct ctask_result *next; /* in pending */
    struct ctask_client *client;
    struct member *member;           /* of a group or map */
    _Atomic(struct extras *) extras; /* NULL: none; set with the lock held */
    json_t *value;
    union {
        uint64_t hash;  /* while it is pending */
        double runtime; /* afterwards */
    };
    _Atomic(uint8_t) state; /* enum ctask_state */
    bool redelivered;
    bool pending : 1, unconfirmed : 1, sent : 1, forgotten : 1, no_result : 1; /* locked */
    uint8_t reply_at : 3; /* sent: the slot of its reply queue; locked */
    char id[];
};

#define RESULT_SIZE(id_size) (offsetof(struct ctask_result, id) + (id_size))

/* A message that the broker has not answered yet; the cookie of its publish. */
struct ticket {
    struct list link; /* in unconfirmed */
    int64_t sent_at;
    struct ctask_result *r;
};

/* Many handles whose ends are taken in the order they come. */
struct gather {
    struct list waiting, ended; /* of struct member */
    size_t ended_count;         /* so far, taken or not */
};
struct member {
    struct list link;
    struct gather *gather;
    struct ctask_result *r;
    size_t index;
    struct chunk *chunk; /* of a map: its handle is that of many items; else NULL */
};

/* ---- client.c -------------------------------------------------------------------------------- */

/* A client that connects when it is driven. NULL with *e set. url NULL: as ctask_open says. */
struct ctask_client *client_new(const char *url, struct ctask_error *e);
/* Locks c and keeps it alive until client_leave. CTASK_OK, else the raised reason, and then it is
 * not locked: client_hold only for a fork, client_enter also for a client that is not open. */
int client_hold(struct ctask_client *c);
int client_enter(struct ctask_client *c);
void client_leave(struct ctask_client *c);
/* Between them the calling thread is not cancelled; they nest. From client_hold to client_leave it
 * is so. */
void uncancelled_begin(void);
void uncancelled_end(void);
bool client_forked(const struct ctask_client *c);
void client_ref(struct ctask_client *c);
void client_unref(struct ctask_client *c);
/* Ends it within publish_timeout: what is unconfirmed, the reply queue, the connection. Returns how
 * many tasks were not handed over. It stays allocated. */
size_t client_end(struct ctask_client *c);
/* In a forked child: gives up the descriptors without a word on the wire. */
void client_abandon(struct ctask_client *c);
/* One event of the transport. */
void client_event(struct ctask_client *c, struct broker_event *ev);
/* Goes back to the first broker if it can, while nothing is open. */
void client_home(struct ctask_client *c);
/* True while the last attempt to connect is known to have failed; *e says why. */
bool client_known_down(const struct ctask_client *c, struct ctask_error *e);
int raise_error(int code, const char *fmt, ...) CTASK_PRINTF(2, 3);

/* ---- default.c ------------------------------------------------------------------------------- */

/* c, or the default client for NULL. */
struct ctask_client *client_or_default(struct ctask_client *c);
/* c is about to be closed. */
void default_forget(const struct ctask_client *c);

/* ---- pump.c ---------------------------------------------------------------------------------- */

/* True when the waiter need not wait any longer. Called with the lock held, by any thread, until it
 * was true once. */
typedef bool done_fn(struct ctask_client *c, void *ctx);

bool pump_init(struct ctask_client *c);
void pump_done(struct ctask_client *c);
/* Does what can be done without waiting. True if something happened. */
bool pump_turn(struct ctask_client *c);
/* Looks again at what the transport wants to be woken for; after writing from outside of a turn. */
void pump_watch(struct ctask_client *c);
/* The connection's descriptor is another one from now on, perhaps under the same number. */
void pump_unwatch(struct ctask_client *c);
/* Drives c, or sleeps while another thread does, until done. CTASK_OK, CTASK_ETIMEDOUT after at
 * least one turn, CTASK_ECLOSED; raises nothing. */
int pump_until(struct ctask_client *c, done_fn *done, void *ctx, int64_t deadline);
/* For the one who closes it: sends all other waiters away and is the only one then. */
void pump_send_away(struct ctask_client *c);
/* pump_until for the same. */
int pump_to_end(struct ctask_client *c, done_fn *done, void *ctx, int64_t deadline);

/* ---- call.c ---------------------------------------------------------------------------------- */

/* Sends one task; consumes args and kwargs. e->code set: it fails with that. gather: it may leave
 * later, with the next ones or at send_gathered. Never NULL. */
struct ctask_result *call_send(struct ctask_client *c, const struct ctask_options *o,
                               const char *name, json_t *args, json_t *kwargs, bool gather,
                               struct ctask_error *e);
/* a[0 .. n) as an array and an object (or NULL), consuming CTASK_TAKE values. */
int call_args(size_t n, const struct ctask_arg *a, json_t **args, json_t **kwargs,
              struct ctask_error *e);
/* What cannot be sent, by the options, the name and the kinds of args and kwargs. */
int call_check(const struct ctask_options *v, const char *name, const json_t *args,
               const json_t *kwargs, struct ctask_error *e);
/* Appends the property bytes of a message of task `name`, whose id is v's; map: and of items of
 * that one, else NULL. False when out of memory. */
bool call_props(const struct ctask_client *c, const struct ctask_options *v, const char *name,
                const char *map, struct buf *props);
/* *o, or the defaults for NULL, whatever version of the header the caller was compiled with. */
struct ctask_options call_options(const struct ctask_options *o);

/* ---- send.c ---------------------------------------------------------------------------------- */

/* A message that is to be handed over, and what of its handle is known before there is one. */
struct sending {
    const char *id, *queue;
    uint32_t delay; /* seconds that the broker keeps it (message_delay) before the queue has it */
    struct bytes props, body;
    bool no_result, gather;
    struct gather *into; /* what its handle is gathered by from the start, as m; or NULL */
    struct member *m;
};
/* Hands it over and tracks it from there. Waits at most publish_timeout. Its handle; with *e set
 * one that is not sent, or NULL. */
struct ctask_result *send_message(struct ctask_client *c, const struct sending *s,
                                  struct ctask_error *e);
/* What was gathered leaves. */
void send_gathered(struct ctask_client *c);
void send_queue_event(struct ctask_client *c, const struct broker_event *ev);
void send_done(struct ctask_client *c);

/* ---- unconfirmed.c --------------------------------------------------------------------------- */

/* A ticket for r, which is about to be published. NULL when out of memory. */
struct ticket *unconfirmed_new(struct ctask_client *c, struct ctask_result *r);
/* It is published. */
void unconfirmed_add(struct ctask_client *c, struct ticket *t);
/* The broker's answer to its publish, the only one. */
void unconfirmed_answer(struct ctask_client *c, struct ticket *t, const struct ctask_error *e);
/* When the oldest one is over time: CLOCK_NEVER while no answer can be expected. */
int64_t unconfirmed_deadline(const struct ctask_client *c);
void unconfirmed_expire(struct ctask_client *c, int64_t now);
/* No answers will come any more: handles that wait for one fail. */
void unconfirmed_drop(struct ctask_client *c);

/* ---- pending.c ------------------------------------------------------------------------------- */

/* NULL if none has this id. */
struct ctask_result *pending_find(const struct pending *p, struct bytes id);
/* CTASK_OK; CTASK_EINVAL: one with its id is there; CTASK_ENOMEM. */
int pending_add(struct pending *p, struct ctask_result *r);
/* r is in it. */
void pending_remove(struct pending *p, struct ctask_result *r);
/* Calls fn with each, which it may remove, and no other. */
typedef void pending_fn(struct ctask_result *r, void *ctx);
void pending_walk(struct pending *p, pending_fn *fn, void *ctx);
/* Frees the table, not the handles. */
void pending_done(struct pending *p);

/* ---- reply_queue.c --------------------------------------------------------------------------- */

void replies_init(struct ctask_client *c);
/* True if results can come; else asks for the queue. reply_error may say that it was refused. */
bool replies_ready(struct ctask_client *c);
/* The connection is up, or down. */
void replies_connection(struct ctask_client *c);
/* False if ev is about another queue. */
bool replies_queue_event(struct ctask_client *c, const struct broker_event *ev);
/* BROKER_CONSUMING, _CANCELLED or _STALE. */
void replies_consuming(struct ctask_client *c, const struct broker_event *ev);
/* When to call replies_expire. */
int64_t replies_deadline(struct ctask_client *c);
void replies_expire(struct ctask_client *c, int64_t now);
/* Deletes the queues. */
void replies_done(struct ctask_client *c);

/* ---- replies.c ------------------------------------------------------------------------------- */

/* CTASK_EINVAL if a handle with this id is awaited already. */
int replies_expect(struct ctask_client *c, struct ctask_result *r, struct ctask_error *e);
void replies_forget(struct ctask_client *c, struct ctask_result *r);
void replies_deliver(struct ctask_client *c, const struct envelope *m);
/* A task is tried again for this reason. */
void replies_retry(struct ctask_client *c, const struct fault *why);
/* All that are still pending fail. */
void replies_fail(struct ctask_client *c, const struct ctask_error *e);

/* ---- result.c -------------------------------------------------------------------------------- */

/* NULL when out of memory. locked: by the caller, and then memory is used again. */
struct ctask_result *result_new(struct ctask_client *c, const char *id, bool locked);
/* The one that stands for those that memory was short for. Ended. */
struct ctask_result *result_of_no_memory(void);
void result_free(struct ctask_result *r);
bool result_ended(const struct ctask_result *r);
/* r's, with the lock held. NULL when out of memory. */
struct extras *result_extras(struct ctask_result *r);
/* Adds to the error that is raised what is known of its reason: that there is no broker, or why a
 * task is tried again: the one waited for (type "": it is not), or NULL: the last of c's. Returns
 * its code. With the lock held. */
int raise_reason(struct ctask_client *c, const struct fault *again);
/* The end of a handle, of which the first counts. Consumes value (may be NULL). */
void result_succeed(struct ctask_result *r, json_t *value, double runtime);
void result_fail(struct ctask_result *r, const struct ctask_error *e, json_t *value,
                 double runtime);

/* ---- group.c --------------------------------------------------------------------------------- */

void gather_init(struct gather *g);
/* r is of this gather from now on; m->index is set. */
void gather_add(struct gather *g, struct member *m, struct ctask_result *r);
/* The next that has ended, NULL if none. */
struct member *gather_take(struct gather *g);
void member_ended(struct member *m);

#endif
