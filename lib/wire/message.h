/* message.h - Celery's task message, protocol 2: headers in the properties, the rest
 * in the body (body.h). Reading headers allocates nothing and never looks at the body, so a
 * worker's parent can do it. Field names appear in lib/wire only. */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "base/props.h"
#include "wire/fault.h"

/* ---- Headers --------------------------------------------------------------------------------- */

/* How long a task may run, in seconds; 0: as long as it likes. */
struct limits {
    double hard; /* then it is killed */
    double soft; /* then it is asked to end */
};

/* One task message's head. Borrows from the property bytes. Absent or null: empty, 0, false. */
struct message {
    struct bytes task, id;
    struct bytes item_task; /* x-ctask-map: see starmap.h */
    struct bytes root_id, parent_id, group;
    struct bytes reply_to, correlation_id; /* properties; correlation_id falls back to id */
    struct bytes origin;
    struct bytes compression; /* of its body, as it came; p NULL: none */
    double eta, expires;      /* seconds since 1970; 0: none */
    struct limits limits;
    int64_t retries;
    bool ignore_result;
    bool again;             /* x-ctask-again: a copy of it may have been started before */
    int64_t attempt;        /* x-ctask-attempt: starts before this one that did not end */
    int64_t crashes;        /* x-ctask-crashes: those of them that were the task's own doing */
    int64_t unknown;        /* x-ctask-unknown: how often a worker did not know this task */
    int64_t delivery_count; /* x-delivery-count of quorum queues */
    struct bytes came_from; /* x-first-death-queue: the queue in which its time was over */
    struct props props;
};

/* Reads the head. True, or false with *f set: DecodeError, InvalidTaskError, ContentDisallowed.
 * Also then everything that could be read is set, so that a reply can be sent. Ids and names are at
 * most 255 bytes of UTF-8 without control characters. */
bool message_read(struct bytes props, struct message *m, struct fault *f);
/* What can be read of the head, for those whom its faults concern no more. */
struct message message_peek(struct bytes props);
/* True if its task may have been started before. redelivered: as the broker said. */
static inline bool message_started(const struct message *m, bool redelivered)
{
    return redelivered || m->again || m->attempt > 0;
}

/* True if results may be sent to this reply address: ctask.reply.*, amq.gen-* or 36 hex digits and
 * dashes. Any other could be somebody's task queue, and a forged amq.rabbitmq.reply-to.* makes the
 * broker close the connection. */
bool message_reply_sane(struct bytes reply_to);
/* Also sends results to addresses that match this glob (fnmatch(3), borrowed); for a program's
 * start. */
void message_reply_allow(const char *glob);

/* What a producer sends. Strings are borrowed. */
struct send {
    const char *task, *id;
    const char *item_task;           /* NULL, or the task of the items: see starmap.h */
    const char *reply_to;            /* NULL: no result wanted or possible */
    const char *root_id, *parent_id; /* NULL outside of a task */
    const char *origin;              /* "gen<pid>@<host>" */
    double eta, expires;             /* seconds since 1970; 0: none */
    struct limits limits;
    bool ignore_result;
};

/* Appends the property bytes: only headers that say something, since the broker pays for each.
 * False when out of memory or id or reply_to are over 255 bytes. */
bool message_write(const struct send *s, struct buf *props);

/* ---- Delays ---------------------------------------------------------------------------------- */

#define MESSAGE_DELAY_MAX ((1 << 28) - 1) /* seconds; what Celery's delay queues can count */
#define MESSAGE_DELAY_MIN 3               /* seconds; so short waits are a worker's affair */

/* How many whole seconds a message that is to run in so many spends in the broker's delay queues,
 * at most MESSAGE_DELAY_MAX; 0: none. What is left a worker waits, by its eta. */
uint32_t message_delay(double seconds);

/* ---- Copies ---------------------------------------------------------------------------------- */

/* How the process died that ran it last. */
struct death {
    int signal, status;  /* the signal that killed it; 0: it left with this exit status */
    int64_t attempts;    /* starts in all */
    int64_t peak_kib;    /* the most memory it had */
    struct bytes output; /* the last of what it printed, as text */
};

/* How a copy differs from the message it is made of; zero: not. Header bytes are kept as they came,
 * entries cut and appended. x-death and its kin, CC, BCC, expiration and user_id, which would drop,
 * double or refuse the copy, never travel on; the user goes to x-ctask-user. */
struct copy {
    bool again;                        /* mark as maybe started before */
    int64_t attempt, crashes, unknown; /* > 0: set these counters */
    bool retry;                /* the task asked to run again: retries + 1, eta, parent_id; its
                                  attempts count from 0, but it stays marked if there were any */
    double eta;                /* with retry: when, seconds since 1970; 0: at once */
    const char *id;            /* a part of it, see starmap.h: its id; NULL: all */
    const char *task;          /* with id: one item, of this task */
    const struct fault *dead;  /* a dead letter: why */
    const char *dead_by;       /* node name */
    const char *dead_queue;    /* where it was consumed */
    bool body_dropped;         /* with dead: nothing is left of its body */
    const struct death *death; /* with dead: the death of its process, NULL if that was not why */
    size_t most;               /* bytes that the copy may have; 0: any number */
};

/* Appends the property bytes of the copy, which is always persistent. Headers beyond the limits of
 * table.h, or beyond `most`, are left out, a sender's own ones first, and the copy says so
 * (x-ctask-headers-dropped). Total; false only when out of memory. */
bool message_copy(struct bytes props, const struct copy *c, struct buf *out);

#endif
