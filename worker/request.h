/* request.h - one delivery from its arrival to its settling.
 *
 * A request's state is the list it is on, and request_move is the only one that moves it. The
 * straight way is NEW, READY, RUNNING, SETTLING.
 *
 *   NEW       being looked at; to any other but RUNNING
 *   WAITING   for its time; then READY, or MOVING if a copy goes back or once it can be
 *   SKIPPED   its body was too large for memory while another one had the spool; given back when
 *             the spool is free, one at a time
 *   READY     for a child; then RUNNING, or BURIAL if it has expired
 *   BURIAL    for an idle child that builds the last result of what will not run; then RUNNING
 *   RUNNING   a child has it, perhaps behind others; then SETTLING or REFUSED, or MOVING if it is
 *             to run again, or BURIAL if it may not; READY or BURIAL again if the child had not
 *             begun it
 *   SETTLING  the messages that follow from it are unconfirmed; then it is acknowledged and freed,
 *             or MOVING or WAITING if its task is not known here, or REFUSED
 *   REFUSED   the broker did not take one of these messages, which is sent again after a while (see
 *             repost.c); then as SETTLING. It keeps no child busy, so others are taken meanwhile
 *   MOVING    its copy, to its queue or into the broker's delay queues, is unconfirmed; then
 *             acknowledged and freed, or WAITING if the broker cannot delay it, or BURIAL if
 *             the broker goes on refusing it
 *
 * A delivery of a lost connection is settled by doing nothing. One that is RUNNING or SETTLING for
 * long is leased meanwhile: see lease.h. */
#ifndef WORKER_REQUEST_H
#define WORKER_REQUEST_H

#include "base/heap.h"
#include "base/list.h"
#include "transport/broker.h"
#include "wire/message.h"

#include <ctask/task.h>

enum request_state {
    REQUEST_NEW,
    REQUEST_WAITING,
    REQUEST_SKIPPED,
    REQUEST_READY,
    REQUEST_BURIAL,
    REQUEST_RUNNING,
    REQUEST_SETTLING,
    REQUEST_REFUSED,
    REQUEST_MOVING,
    REQUEST_STATES
};

/* What a WAITING request does when its time has come. */
enum request_then {
    THEN_RUN,     /* an eta */
    THEN_PASS_ON, /* an unknown task: a copy goes back to the queue, for a worker that knows it */
    THEN_GO_BACK, /* the same, and does not count as a round */
};

/* Why a message will not run. */
struct burial {
    const char *state; /* what its caller sees: STATE_FAILURE, STATE_REVOKED, STATE_RETRY */
    struct fault fault;
    bool pass_on;       /* unknown task: afterwards it is passed on */
    struct death death; /* attempts > 0: its processes died of it */
    char *output;       /* what death.output is of */
};

struct request {
    struct list link;
    enum request_state state;
    struct heap_node due; /* WAITING */
    enum request_then then;

    struct envelope *m;
    struct bytes id; /* in m->props */
    const struct ctask_task *task;
    struct limits limits; /* of its run */
    bool alone; /* a process that ran it was lost: no other task runs before it in the next */
    struct burial *burial; /* NULL: it is to run */
    struct source *source; /* the queue it came from */
    uint32_t window;       /* which of its consumers brought it; 0: of a lost connection */

    struct list turn; /* of its child's jobs, while it has one */
    uint64_t nonce;   /* of what its child says of it */

    struct lease *lease; /* NULL: its delivery answers for it */

    int64_t arrived;      /* when it was delivered */
    int64_t since;        /* when it entered its state */
    unsigned unconfirmed; /* messages under way that must be confirmed first */
    size_t unconfirmed_bytes;
    struct list refused; /* those of them that the broker did not take, to be sent again */
    bool finished;       /* its child has said DONE, or none is needed */
    double expires;      /* wall time after which it must not start; 0: none */
};

struct worker;
struct lease;

struct request *request_new(struct worker *w, struct envelope *m, struct source *s);
void request_move(struct worker *w, struct request *r, enum request_state to);
/* WAITING until `at`. */
void request_wait(struct worker *w, struct request *r, int64_t at, enum request_then then);
/* To BURIAL, for this reason. Logs it with id and reason, one line a minute for each name and
 * reason. */
void request_bury(struct worker *w, struct request *r, const char *state, const struct fault *why);
/* Its delivery is settled: it has no place in its consumer's window any more. */
void request_leave_window(struct worker *w, struct request *r);
/* Acknowledges its delivery while it lives on: from now on the broker does not know of it. */
void request_ack(struct worker *w, struct request *r);
/* True since then. */
bool request_is_acked(const struct request *r);
/* True if its delivery, or its lease, is back in the queue: another run answers for it. */
bool request_is_orphan(const struct request *r);
/* Back to the queue, unfinished, and freed; if its delivery is settled already, when the copy that
 * goes back is confirmed. */
void request_give_back(struct worker *w, struct request *r);
/* Acknowledges and frees it if it is finished and nothing is unconfirmed any more. */
void request_settle(struct worker *w, struct request *r);
/* True if the worker has none. */
bool requests_none(const struct worker *w);
/* Frees it without settling: its connection is gone. */
void request_drop(struct worker *w, struct request *r);

#endif
