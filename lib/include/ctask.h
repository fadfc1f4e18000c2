/* ctask.h - send tasks to workers over RabbitMQ and collect their results.
 *
 *     AsyncResult *r = task_delay("is_prime", 112272535095293);
 *     bool prime = false;
 *     if (result_get(r, 10.0, &prime) != CTASK_OK)
 *         fprintf(stderr, "%s\n", result_error(r)->text);
 *     result_forget(r);
 *
 * Rules that hold for every call here:
 *   - Times are seconds, as double. A negative one means: no limit of its own.
 *   - A failed send returns a failed handle, never NULL, so one check at result_get is enough.
 *   - int functions return CTASK_OK (0) or a negative CTASK_E... code.
 *   - A client that is NULL means ctask_default(), but for ctask_close.
 *   - Functions that declare json_t * parameters consume the reference, also when they fail.
 *     A json_t * among the arguments of task_delay and its kin is borrowed.
 *   - A client may be shared by threads; a handle, a group and a map are used by one thread at a
 *     time.
 *   - No thread is started and no signal handler installed: a client makes progress while one of
 *     its calls runs. What the broker refused becomes known at the next call; ctask_flush and
 *     result_get are the points of certainty.
 *   - pthread_cancel ends a thread after the call that it is in, not inside of it.
 *   - A signal handler calls nothing here: the client that it interrupted answers CTASK_EINVAL, and
 *     ctask_close leaves it open. If it calls exit, that client is not flushed.
 *   - A named client is not usable after fork (CTASK_EFORKED); ctask_default() opens anew.
 *   - Host names are resolved in the calling thread by getaddrinfo, which has no deadline of its
 *     own; numbers and "localhost" need no resolver.
 *
 * The typed sugar (task_delay, result_get, ...) needs C11; see ctask/args.h. Define
 * CTASK_NO_SUGAR to keep only names that start with ctask_ and CTASK_. */
#ifndef CTASK_H
#define CTASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTASK_VERSION "0.1.0"

#if defined(__GNUC__)
#define CTASK_API __attribute__((visibility("default")))
#define CTASK_MUST_USE __attribute__((warn_unused_result))
#define CTASK_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define CTASK_API
#define CTASK_MUST_USE
#define CTASK_PRINTF(fmt, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

/* X(name, value, flags, sentence). RETRIABLE: the same call may succeed later. */
#define CTASK_ERRORS(X)                                                                         \
    X(OK, 0, 0, "no error")                                                                     \
    X(EINVAL, -1, 0, "a wrong argument")                                                        \
    X(ENOMEM, -2, CTASK_RETRIABLE, "out of memory")                                             \
    X(ECONN, -3, CTASK_RETRIABLE, "no broker could be reached")                                 \
    X(EAUTH, -4, 0, "the broker refused this user, password or virtual host")                   \
    X(EBLOCKED, -5, CTASK_RETRIABLE, "the broker takes no messages at the moment")              \
    X(ETIMEDOUT, -6, CTASK_RETRIABLE, "not done in the given time")                             \
    X(EROUTE, -7, 0, "the broker knows no queue for this message")                              \
    X(ENACK, -8, CTASK_RETRIABLE, "the broker did not accept this message")                     \
    X(ETASK, -9, 0, "the task failed")                                                          \
    X(ETYPE, -10, 0, "the value does not fit the type asked for")                               \
    X(EFORKED, -11, 0, "a client is not usable after fork: open one in the child")              \
    X(EINTASK, -12, 0, "a task cannot wait for another task's result")                          \
    X(ETOOBIG, -13, 0, "the message is over the size limit")                                    \
    X(EAGAIN, -14, CTASK_RETRIABLE, "no room at the moment")                                    \
    X(EPROTO, -15, 0, "the broker or a peer sent what the protocol does not allow")             \
    X(ECLOSED, -16, 0, "the client is closed")                                                  \
    X(EREFUSED, -17, 0, "the broker refused this operation")                                    \
    X(EUNCONFIRMED, -18, CTASK_RETRIABLE, "the broker did not say whether it has this message") \
    X(EUNAVAILABLE, -19, CTASK_RETRIABLE,                                                       \
      "the queue is on a node that is down or does not answer")                                 \
    X(ELOST, -20, CTASK_RETRIABLE, "the node that keeps the result is gone: the task may have run")

#define CTASK_RETRIABLE 1u /* struct ctask_error.flags */

enum ctask_code {
#define CTASK_ERROR_ENUM(name, value, flags, text) CTASK_##name = value,
    CTASK_ERRORS(CTASK_ERROR_ENUM)
#undef CTASK_ERROR_ENUM
};

/* A code, and one sentence for a person. Yours, of fixed size; nothing in it is to be freed. */
struct ctask_error {
    int code;       /* CTASK_OK or CTASK_E... */
    unsigned flags; /* CTASK_RETRIABLE */
    char type[64];  /* CTASK_ETASK: the exception's type, as "ValueError"; else "" */
    char text[512];
};

/* The general sentence for a code; static. */
CTASK_API const char *ctask_strerror(int code);

/* The last error of a call of this thread that returned a failure. Never NULL, valid until the
 * thread's next failing call, or its next ctask_group_next. */
CTASK_API const struct ctask_error *ctask_error(void);

/* ---- Clients --------------------------------------------------------------------------------- */

struct ctask_client;
struct ctask_result;
struct ctask_map;
struct ctask_group;

/* Opens a client: connects, and waits for the broker at most publish_timeout (5 s). url is
 * amqp://user:password@host:port/vhost; NULL means $CTASK_BROKER_URL, else the first
 * line of the file $CTASK_BROKER_FILE, else amqp://localhost.
 * amqps:// is TLS of version 1.2 or later, with the broker's certificate and name verified against
 * the system's authorities, or those of ?cafile=FILE or ?capath=DIRECTORY; certfile=FILE and
 * keyfile=FILE are the client's own certificate. It never falls back to plain TCP, and nothing
 * switches verification off.
 * Up to eight URLs with ; between, best the nodes of one cluster. A client begins at the first;
 * after a loss the last good one is tried first, unless it fell silent. When one fails another,
 * drawn at random, is tried at once. If they share nothing, handles that are open when the
 * connection moves end with CTASK_ELOST. After ten to fifteen minutes without a loss
 * a client goes back to the first URL, in a call while no handle is open and nothing unconfirmed.
 * Results come to a reply queue of the client's own. If its node is down, or it does not answer for
 * 3 s although the connection is up, later sends use a new reply queue. The old one is tried for
 * 60 s; if it is not back then, the handles that wait for it end with CTASK_ELOST. With
 * $CTASK_QUEUE_TYPE=quorum the queue is replicated, and that does not happen.
 * NULL on failure, with the reason in *e (which may be NULL) and in ctask_error(). */
CTASK_API struct ctask_client *ctask_open(const char *url, struct ctask_error *e) CTASK_MUST_USE;

/* Flushes for at most publish_timeout, deletes the reply queue and frees the client. Handles stay
 * readable and must still be forgotten; pending ones fail with CTASK_ECLOSED, which is also what
 * calls of other threads return that wait on the client; no call that names it may begin after this
 * one. NULL is fine. The default client of a task is its worker's and stays open. */
CTASK_API void ctask_close(struct ctask_client *c);

/* The client of calls that name none; opened at first use as ctask_open(NULL) does, anew in a
 * forked child. Never NULL: when it cannot be opened, calls on it fail with the reason, and the
 * next call tries again. At exit it is flushed for at most publish_timeout; one line on stderr
 * says how many tasks could not be handed over, if any. */
CTASK_API struct ctask_client *ctask_default(void);

/* Makes c (borrowed) the default client of this process; NULL restores the automatic one. */
CTASK_API void ctask_set_default(struct ctask_client *c);

/* True if a queue that this client has sent tasks to exists with other arguments than
 * $CTASK_QUEUE_ARGUMENTS asks for; *why is a sentence with the broker's own words, about the last
 * such queue. It is used as it is, and nothing that was sent is lost. why is not NULL; its code is
 * CTASK_OK when this is false. */
CTASK_API bool ctask_queue_differs(struct ctask_client *c, struct ctask_error *why);

/* Waits until the broker has confirmed all that was sent. Returns how many messages are still
 * unconfirmed when the time is over (0 is the good case), or a negative code: what is wrong with
 * the client, or a message that has no handle (any more) failed since the last flush; the first
 * such reason, told once. */
CTASK_API long ctask_flush(struct ctask_client *c, double timeout);

/* Makes progress for at most timeout seconds and returns as soon as something happened; CTASK_OK
 * also when nothing did. For programs with a loop of their own: poll(ctask_fd(c)) for POLLIN, then
 * ctask_poll(c, 0). The descriptor is the client's and stays the same for its life; ctask_fd is
 * CTASK_EINTASK in a task, where there is nothing to wait for. */
CTASK_API int ctask_poll(struct ctask_client *c, double timeout);
CTASK_API int ctask_fd(struct ctask_client *c);

/* Between cork and uncork sends of all threads are gathered and leave together: at the last uncork,
 * before it when there are 64 of them or a call has to wait. They nest; an uncork too many does
 * nothing. ctask_uncork returns CTASK_OK, or what is wrong with the client, as CTASK_ECLOSED; what
 * becomes of the messages is known as after any send. */
CTASK_API void ctask_cork(struct ctask_client *c);
CTASK_API int ctask_uncork(struct ctask_client *c);

/* How long a send may wait for the broker to take a message; default 5 s. Negative: no limit.
 * Mostly it waits for room: no more than 256 messages (more at a broker that is far away) and 64
 * MiB of them are unconfirmed at a time. One that gets none by then fails with CTASK_EBLOCKED, as
 * it does under the broker's alarm for memory or disk. */
CTASK_API void ctask_set_publish_timeout(struct ctask_client *c, double seconds);

/* ---- Sending --------------------------------------------------------------------------------- */

/* How a task is sent. Zero everywhere is the default; use TASK_OPTIONS(.countdown = 5). */
struct ctask_options {
    size_t size;       /* sizeof(struct ctask_options), set by TASK_OPTIONS */
    const char *queue; /* NULL: $CTASK_QUEUE, else "ctask". At most 255 bytes. One that is missing
                          is declared, as $CTASK_QUEUE_TYPE (classic or quorum) if that is set;
                          so is the queue that results come to. $CTASK_QUEUE_ARGUMENTS are more
                          arguments for queues of tasks, as x-max-priority=9,x-message-ttl=60000;
                          see ctask_queue_differs */
    const char *id;    /* NULL: a new uuid. At most 255 bytes, of no handle that is pending */
    /* Seconds to wait before the task starts, at most 2^28 - 1 (8.5 years). Up to 3 s a worker
     * waits; longer ones wait in the broker, in Celery's delay queues, which the first send
     * declares if they are missing, and cost no worker anything. Then the queue's name has at most
     * 199 bytes and no word * or # between its dots, else CTASK_EINVAL. If the queue is deleted
     * before the time has come, the task is kept until it exists again and a worker consumes it;
     * but it is lost if whoever declared the delay queues made them classic ones. */
    double countdown;
    double expires; /* seconds from now after which it must not start, at most 2^28 - 1 (8.5 years);
                       0: never expires */
    /* Nobody will ask: the worker sends none. The handle is ready, a success without a value, when
     * the broker has confirmed the task; so is the item of a map. */
    bool no_result;
    /* How long it may run, in seconds, at most 2^28 - 1: then its process is killed and the handle
     * fails with TimeLimitExceeded; and when it is asked to end (task_cancelled), which is not
     * after that. 0: what its table or its worker says, by default no limit. */
    double time_limit, soft_time_limit;
    /* Of maps: how many items go into one message, see below. 0: as many as run for a moment. */
    int chunk;
};
#define TASK_OPTIONS(...) \
    (&(struct ctask_options){.size = sizeof(struct ctask_options), __VA_ARGS__})

/* Sends task `name` with JSON args (an array, or NULL for none) and kwargs (an object, or NULL).
 * Consumes both; copies strings. o NULL: defaults. Waits at most publish_timeout, as
 * ctask_set_publish_timeout says. Names, ids and queues are UTF-8 of 1 to 255 bytes without control
 * characters, else CTASK_EINVAL; an argument nests at most 126 levels, else CTASK_EINVAL too; all
 * together have at most 15 MiB as JSON, else CTASK_ETOOBIG. */
CTASK_API struct ctask_result *ctask_send_json(struct ctask_client *c,
                                               const struct ctask_options *o, const char *name,
                                               json_t *args, json_t *kwargs) CTASK_MUST_USE;

/* ---- Results --------------------------------------------------------------------------------- */

enum ctask_state { CTASK_PENDING, CTASK_STARTED, CTASK_RETRY, CTASK_SUCCESS, CTASK_FAILURE };

/* The task's id; valid as long as the handle. */
CTASK_API const char *ctask_result_id(const struct ctask_result *r);
/* What is known without any I/O. CTASK_FAILURE covers failed, revoked and never sent. */
CTASK_API enum ctask_state ctask_result_state(const struct ctask_result *r);
CTASK_API bool ctask_result_ready(const struct ctask_result *r);
/* Waits for the end of the task. The one thing that ends the wait for a result which is lost (its
 * queue was purged by hand, a Python worker died that had acknowledged early) or for a task that no
 * worker takes is the timeout, so give one; a worker of ours answers whatever becomes of the task.
 * CTASK_OK: it succeeded; CTASK_ETASK: it failed, an ordinary answer; CTASK_ETIMEDOUT: not yet, ask
 * again (no handle fails with that); CTASK_EINTASK: a task may not wait; CTASK_EUNCONFIRMED: the
 * broker has not confirmed the task within 30 s, so it may or may not run, and the handle no longer
 * takes its result; CTASK_ELOST: the queue of the result is gone, or its node did not come back
 * (see ctask_open), so the task may have run: sent again it may run twice; else what went wrong
 * with the sending. */
CTASK_API int ctask_result_wait(struct ctask_result *r, double timeout) CTASK_MUST_USE;
/* The returned value, or of a failed task Celery's exception object; borrowed, valid as long as the
 * handle. NULL if not ready. */
CTASK_API const json_t *ctask_result_json(const struct ctask_result *r);
/* The last progress that the task reported (task_progress), or in state CTASK_RETRY why it is tried
 * again, as Celery's exception object. Borrowed until the next call; NULL if none. */
CTASK_API const json_t *ctask_result_progress(const struct ctask_result *r);
/* True if a worker has told this client that one of its tasks is tried again; *why is the last
 * reason, as the error of a failed task. For a task that no worker knows, that is told in the first
 * of ten rounds, which take some three minutes. A wait for its handle that times out gives the
 * reason too; one for any of many gives the last reason. why is not NULL; its code is CTASK_OK when
 * this is false. */
CTASK_API bool ctask_retried(struct ctask_client *c, struct ctask_error *why);
/* How long the task function ran, in seconds; 0 if unknown (a Python worker does not say). */
CTASK_API double ctask_result_runtime(const struct ctask_result *r);
/* True if the task may have been started more than once, as after a worker was lost: what it does
 * besides returning may have been done more than once. False if not ready, and of a Python worker,
 * which does not say. When a task that ran twice answers twice, the first answer counts. */
CTASK_API bool ctask_result_redelivered(const struct ctask_result *r);
/* Why the handle failed; else why the last ctask_result_wait or _get on it did not return CTASK_OK,
 * as a timeout; else code CTASK_OK. Never NULL; valid until the next call on the handle. */
CTASK_API const struct ctask_error *ctask_result_error(const struct ctask_result *r);
/* Frees the handle; the task runs on. NULL is fine. Every handle is forgotten once. */
CTASK_API void ctask_result_forget(struct ctask_result *r);
/* Waits until one of n handles is ready and returns its index, else a negative code as
 * ctask_result_wait's. NULL entries are passed over; CTASK_EINVAL if there is no other, or if the
 * handles are of more than one client. */
CTASK_API long ctask_result_wait_any(struct ctask_result *const *r, size_t n,
                                     double timeout) CTASK_MUST_USE;

/* ---- Many ------------------------------------------------------------------------------------ */

/* A group of handles of one client. They are taken over: forgotten with the group, and at once when
 * it cannot be made (NULL, see ctask_error()); a handle that is given twice, or is in another group
 * already, is CTASK_EINVAL. The array is copied. */
CTASK_API struct ctask_group *ctask_group_of(struct ctask_result *const *r,
                                             size_t n) CTASK_MUST_USE;
/* Waits for all. CTASK_OK if all succeeded, CTASK_ETASK if one failed, for whatever reason;
 * CTASK_ETIMEDOUT: not yet, ask again; else it is broken, as CTASK_EINTASK or CTASK_ECLOSED. */
CTASK_API int ctask_group_wait(struct ctask_group *g, double timeout) CTASK_MUST_USE;
/* The next handle in order of completion (borrowed) and, if index is not NULL, its place. NULL
 * when there is none; ctask_error() tells why: CTASK_OK: all were given; CTASK_ETIMEDOUT: not yet,
 * ask again; else it is broken. */
CTASK_API struct ctask_result *ctask_group_next(struct ctask_group *g, double timeout,
                                                size_t *index);
/* Number i, borrowed; NULL beyond the last. */
CTASK_API struct ctask_result *ctask_group_at(const struct ctask_group *g, size_t i);
CTASK_API size_t ctask_group_size(const struct ctask_group *g);
/* Frees the group and forgets its handles; the tasks run on. NULL is fine. */
CTASK_API void ctask_group_forget(struct ctask_group *g);

/* A stream of calls of one task in bounded memory: at most `window` items are between put and next;
 * 0: 1,000, or 128 messages' worth if that is more. The options' strings are copied; their id is
 * not used. NULL on failure, see ctask_error().
 *
 * Items that take microseconds travel together. By default (chunk 0) a message has as many as run
 * for 5 ms, at most 4,096 of them or 64 KiB, fewer with a window below eight times that, and one
 * until it is known how long they run, which workers of Celery and maps without results do not
 * tell. With chunk 1 each item is a task by itself; with chunk n there are n in a message, fewer
 * at 64 KiB of arguments, when next has to wait, and at the end. One with keyword arguments goes
 * alone. An item of many has its own value or failure, its retries (then it is a message of its
 * own, as when its arguments do not fit, so that it can be kept) and its time limits, which end up
 * to 0.1 s late. But:
 *   - It waits for the end of its message: a worker answers for what ran within 0.1 s and sends the
 *     rest on, in smaller messages.
 *   - When one ends its process or overruns its limit, those of its message run again, each alone
 *     and flagged (ctask_result_redelivered).
 *   - Its id is the message's with a colon and its number, and it shows no progress.
 *   - Its run time, if it is below 0.1 ms, is its share of the message's.
 *   - On a worker of Celery the message is one celery.starmap, which ends at the first failure.
 *     That is the failure of all its items.
 *   - What counts or names tasks in a worker, as --max-tasks-per-child and its log, means messages.
 */
CTASK_API struct ctask_map *ctask_map_open(struct ctask_client *c, const struct ctask_options *o,
                                           const char *name, size_t window) CTASK_MUST_USE;
/* Adds one call; consumes args and kwargs. CTASK_EAGAIN when the window is full: take results with
 * ctask_map_next first. Anything else negative: this item was not sent and has no index. An item
 * that waits for others leaves at the latest when next has to wait, at the end and at close, not
 * with ctask_flush; if that fails for good, it fails. Waits like any send, and by default up to 5
 * ms a few times for the first results. */
CTASK_API int ctask_map_put_json(struct ctask_map *m, json_t *args, json_t *kwargs) CTASK_MUST_USE;
/* No more items will be put. Sends what was put, for at most publish_timeout; what could not leave
 * ctask_map_next tries again. */
CTASK_API void ctask_map_end(struct ctask_map *m);
/* The next finished item; what was put and has to leave first may take publish_timeout. 1: *r is
 * its handle, borrowed until the next call, and *index its place in the order of puts. 0: the end,
 * after ctask_map_end. CTASK_ETIMEDOUT: nothing yet. CTASK_EAGAIN: nothing is under way, put
 * something. Else broken. */
CTASK_API int ctask_map_next(struct ctask_map *m, double timeout, size_t *index,
                             struct ctask_result **r) CTASK_MUST_USE;
struct ctask_map_stat {
    size_t sent, done, failed; /* items put, taken by ctask_map_next, and of these not succeeded */
    double serial;             /* run time of all finished items added up, in seconds */
    double wall;               /* since ctask_map_open */
    size_t window;             /* how many items may be between put and next at the moment */
};
CTASK_API struct ctask_map_stat ctask_map_stat(const struct ctask_map *m);
/* Sends what was put, for at most publish_timeout, frees the map and forgets what is under way; the
 * tasks run on. NULL is fine. */
CTASK_API void ctask_map_close(struct ctask_map *m);

#ifdef __cplusplus
}
#else
#include <ctask/args.h>
#endif

#endif
