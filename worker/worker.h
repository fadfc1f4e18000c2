/* worker.h - the worker as a whole: what its files share.
 *
 *   main.c      the program: the apps that are linked in
 *   options     the command line
 *   worker.c    start, the loop, the end
 *   consumer.c  deliveries become requests
 *   delay.c     tasks whose time has not come
 *   unknown.c   tasks that are not known here
 *   window.c    how many deliveries to hold
 *   memory.c    how much memory they may take
 *   idle.c      a queue that is not empty, and nothing comes from it
 *   request.c   the states of a request
 *   report.c    what the log says of a task
 *   pool.c      the children: start, state, end
 *   hear.c      what they say and are told
 *   jobs.c      what they are given
 *   child.c     what runs in a child
 *   hygiene.c   what a task may not leave changed in it
 *   memstate.c  what its process keeps in memory
 *   procstate.c what the kernel keeps for its process
 *   batch.c     who runs first
 *   ends.c      the lines between the two
 *   output.c    what children print
 *   strangers.c processes that tasks left behind
 *   limits.c    what a running job may use up
 *   rlimits.c   what the kernel lets a child have
 *   watch.c     children that get nowhere
 *   proc.c      what the kernel says of them
 *   death.c     what a dead child means for its task
 *   finish.c    results out, confirmed, then the ack
 *   gather.c    when these leave
 *   repost.c    what the broker did not take, again after a while
 *   lease.c     jobs that run for longer than a delivery may stay unsettled
 *   back.c      back to the first broker
 *   drain.c     signals and the way out
 *   resolve.c   host names, in a process of their own
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/spares.h"
#include "base/throttle.h"
#include "task/registry.h"
#include "wire/outcome.h"
#include "worker/lease.h"
#include "worker/options.h"
#include "worker/pool.h"
#include "worker/request.h"

/* How far the worker is on its way out; each step is entered by the next signal or in its time. */
enum drain {
    DRAIN_RUN,  /* everything */
    DRAIN_WARM, /* first TERM or INT: take nothing new, give back what has not started, finish what
                   runs, at most --grace seconds */
    DRAIN_COLD, /* grace over, or a second signal: ask the running tasks to stop, for two seconds */
    DRAIN_NOW,  /* third signal, or QUIT: kill what runs and give it back */
    DRAIN_BYE,  /* all is settled: the connections are closing */
    DRAIN_DONE,
};

/* A consumer of a queue. */
struct window {
    uint32_t number; /* as in envelope.window */
    unsigned prefetch;
    unsigned taken; /* its unsettled deliveries, */
    unsigned later; /* and how many of them wait for their time or are on their way out */
};

/* Consumers of one queue, beside one that is being cancelled. RabbitMQ before 4.0 loses messages of
 * a quorum queue with more than 32 consumers, of all workers together, when a node is lost
 * (docs/faults.md, H72). */
#define WINDOWS_MAX 2

/* A queue that is consumed. */
struct source {
    char *name, *dead; /* dead: <name>.dead */
    struct window windows[WINDOWS_MAX];
    unsigned window_count;
    unsigned held;        /* unsettled deliveries, also of consumers that were cancelled */
    uint32_t window_last; /* the number of the newest */
    bool shared;          /* others consume it too, as far as was asked lately; */
    bool empty;           /* and have nothing else to take from it */
    int64_t answered;     /* when the queue last did: delivery, consume-ok, answer to a look */
    int64_t idle_since, idle_wait; /* see idle.c */
    bool idle_looked;
    bool consuming; /* consume-ok seen */
    bool held_told; /* that its tasks cannot be delayed has been logged */
    /* For the warning about strangers; -1: not known yet. */
    int others, dead_created;
};

struct counters {
    uint64_t received, succeeded, failed, retried, buried, passed_on, given_back,
        results_unroutable, results_unsent, results_refused, results_dropped, children_lost;
};

struct worker {
    const struct options *options;
    char node[256];
    pid_t pid; /* ours, for the children */
    struct registry registry;

    struct broker *in;  /* consumes and acks, never publishes: an alarm can not block an ack */
    struct broker *out; /* publishes with confirms, on the broker where `in` is */
    struct resolver *resolver;
    struct source *sources;
    size_t source_count;

    struct pool pool;
    struct list requests[REQUEST_STATES];
    size_t count[REQUEST_STATES];
    struct heap due;          /* WAITING, by time */
    struct spares spares;     /* of requests */
    size_t unconfirmed_bytes; /* of all requests */
    size_t held_bytes;        /* see memory.c */
    double mean_bytes;        /* moving average of what a message takes; 0: none has come */
    struct heap reposts;  /* messages that the broker did not take, by the time of the next try */
    size_t refused_bytes; /* of these */
    struct throttle refusals; /* log lines about them, by destination; */
    struct throttle burials;  /* about tasks that do not run, by reason and name */
    /* Log lines about dead letters since then, and how many were left out. */
    int64_t kept_since;
    unsigned kept_lines, kept_left_out;
    struct list leases;
    int64_t lease_at; /* no delivery needs a lease, or is to go back for its age, before */
    double task_cost; /* what a task costs its child, in seconds: the mean of the last ones, */
    double cost_sum, cost_count; /* the sums behind it, in which older tasks fade */
    double settle_time;          /* of the time from its end to the ack of a task, in seconds */
    int64_t window_since;        /* when the window was last changed, */
    int64_t window_looked;       /* the queues were asked about who consumes them, */
    int64_t window_asked;        /* and to answer before a change; 0: they were not */

    enum drain drain;
    int64_t drain_until;  /* the next step */
    int signals;          /* signalfd */
    bool was_up;          /* there was a connection */
    uint32_t undelivered; /* messages in QUEUE_UNDELIVERED, as last logged */
    bool policy_asked;    /* whether the broker has one: see policy.c */
    bool undelayed_told;  /* that messages leave without their delay has been logged */
    bool spool_told;      /* the same: that there is no file for large bodies */
    bool announced;       /* "ready" has been logged */
    int exit_status;
    int64_t now;          /* read once a turn, when poll returns */
    int64_t cpu, cpu_at;  /* what this process had used up, and when that was */
    bool batch;           /* see batch.h */
    unsigned gathered;    /* messages that wait to leave together, */
    int64_t left_at;      /* and when some did last */
    int64_t polled_at;    /* all children, while many tasks are under way */
    int64_t longest_turn; /* from `now` to the next poll: for so long nobody was answered */
    struct counters counters;
};

/* worker.c */
int worker_run(struct worker *w);

/* consumer.c */
void consumer_start(struct worker *w);
void consumer_read(struct worker *w); /* what `in` has to say */
void consumer_due(struct worker *w);  /* what has waited long enough */
int64_t consumer_next(const struct worker *w);
/* The spool may be free since: the oldest SKIPPED message goes back, so that its body comes again.
 */
void consumer_skipped(struct worker *w);
void consumer_stop(struct worker *w); /* no new deliveries; back with what has not started */
/* True if r, which was to run, has expired: it is buried instead. */
bool consumer_expired(struct worker *w, struct request *r);
bool consumer_owns(const struct worker *w, const char *queue);
struct source *consumer_source(const struct worker *w, const char *queue); /* NULL: not ours */
void consumer_dead_queue_seen(struct worker *w, const struct broker_event *ev);

/* unknown.c */
/* r is new, and its task not known here. */
void unknown_accept(struct worker *w, struct request *r, const struct message *m);
/* Its caller has been told: the next round. */
void unknown_pass_on(struct worker *w, struct request *r);
/* The same without the broker's delay queues. */
void unknown_hold(struct worker *w, struct request *r);

/* delay.c */
/* True if the broker can delay messages for this queue; else the reason is logged once. */
bool delay_ready(struct worker *w, struct source *s);
/* Its queue is there, and may be a new one: tasks that others delay can reach it. Python producers
 * rely on a worker for the delay queues as well. */
void delay_bind(struct worker *w, const struct source *s);
/* r is to run in so many seconds: it is moved into the broker's delay queues, or waits. */
void delay_until(struct worker *w, struct request *r, double seconds);
void delay_seen(struct worker *w, const struct broker_event *ev); /* BROKER_DELAYS */
/* The broker did not take the copy of finish_delay: r waits here after all. */
void delay_failed(struct worker *w, struct request *r, const struct ctask_error *why);

/* policy.c */
void policy_look(struct worker *w);
/* True if m is what policy_look sends: where the policy is, it leads to QUEUE_UNDELIVERED. */
bool policy_asks(const struct envelope *m);
/* True if ev is what came of policy_look. */
bool policy_seen(const struct worker *w, const struct broker_event *ev);

/* window.c */
#define WAITING_MAX 1000
#define SKIPPED_MAX 100
void window_adjust(struct worker *w);
void window_open(struct worker *w, struct source *s, unsigned prefetch); /* a further consumer */
/* Cancels the consumer of this number; 0: all of the source's. */
void window_end(struct worker *w, struct source *s, uint32_t number, bool at_once);
/* NULL: it is not open any more. */
struct window *window_find(struct source *s, uint32_t number);
void window_cost(struct worker *w, double seconds);    /* a task cost its child so much */
void window_settled(struct worker *w, double seconds); /* and so long its confirms */
int64_t window_next(struct worker *w);

/* memory.c */
void memory_take(struct worker *w, const struct envelope *m);
void memory_leave(struct worker *w, const struct envelope *m);
/* How many more messages of the usual size have room; at least one while none is held. */
unsigned memory_fits(const struct worker *w);
/* The ceiling is reached. */
bool memory_full(const struct worker *w);
/* Gives back what there is no room for. */
void memory_relieve(struct worker *w);

/* idle.c */
void idle_turn(struct worker *w);
int64_t idle_next(const struct worker *w);
void idle_delivered(struct worker *w, struct source *s);
/* A delivery was settled: the broker has a second to send another one before the queue is looked
 * at. */
void idle_room(struct worker *w, struct source *s);
/* The broker has a consumer of ours: the first one since the channel was lost, or a further one. */
void idle_consuming(struct worker *w, struct source *s);
void idle_seen(struct worker *w, struct source *s, const struct broker_event *ev);

/* finish.c */
void finish_read(struct worker *w); /* what `out` has to say */
/* A child's whole DONE frame. False if it is unsound: the child is not to be trusted. */
bool finish_done(struct worker *w, struct request *r, struct bytes payload);
/* A child's PUBLISH frame, of the task that it runs. */
bool finish_publish(struct worker *w, struct request *r, struct bytes payload);
/* A copy goes back to the queue after so many seconds, 0: at once. The task was not known here.
 * counts: that is one of its rounds; the first one always is. */
void finish_pass_on(struct worker *w, struct request *r, bool counts, uint32_t delay);
/* The same for one that may have been started here; it says so, and is counted as `how` says. */
void finish_again(struct worker *w, struct request *r, const struct copy *how);
/* The same for one whose delivery is settled already; its lease, if any, ends when the copy is
 * confirmed. */
void finish_give_back(struct worker *w, struct request *r);
/* A copy goes back to the queue by way of the broker's delay queues. */
void finish_delay(struct worker *w, struct request *r, uint32_t delay);
/* Of struct publish.kind: a dead letter, beside enum posted_kind. */
#define POSTED_DEAD 0
/* True while so much of r, or of all, is unconfirmed that its task is to wait before it sends more.
 */
#define UNCONFIRMED_BYTES_MAX ((size_t)64 << 20)
bool finish_is_full(const struct worker *w, const struct request *r);
/* No outcome of r's messages is wanted any more. */
void finish_forget(struct worker *w, struct request *r);
/* p was not taken before: it is sent again, for the same request. */
void finish_repost(struct worker *w, const struct publish *p);

/* gather.c */
void gather_turn(struct worker *w);
/* What is there leaves in this turn. */
void gather_end(struct worker *w);

/* death.c */
/* The child k, which had begun r, is gone: r runs again, is buried, given back or dropped. */
void death_conclude(struct worker *w, const struct child *k, struct request *r);
/* A child had r and will not begin it: it is given to the next one. */
void death_unbegun(struct worker *w, struct request *r);
/* r ends without a result of its own and is not tried again. */
void death_condemned(struct worker *w, struct request *r, const struct fault *why);
/* No child will be there for them: the last results of all that waits for one are made here. */
void death_bury_all(struct worker *w);
/* It, its task or a limit was the cause; not somebody who sent SIGKILL. */
bool death_is_own(const struct child *k);
/* How k went, in a few words. Returns out. */
const char *death_words(const struct child *k, char *out, size_t size);

/* repost.c */
/* Tasks that wait for messages which the broker does not take, and what these messages occupy. Past
 * either no task is taken: one reply queue that refuses must not get there soon. */
#define REFUSED_MAX 10000
#define REFUSED_BYTES_MAX ((size_t)64 << 20)
/* The broker did not take the message of this outcome: it is copied and sent again after a while.
 * False: it is a result and given up. */
bool repost_later(struct worker *w, const struct broker_event *ev);
/* REFUSED_MAX or REFUSED_BYTES_MAX is reached. */
bool repost_full(const struct worker *w);
void repost_due(struct worker *w);
void repost_forget(struct worker *w, struct request *r);
int64_t repost_next(const struct worker *w);

/* back.c */
/* No more tasks are taken for now, so that the worker can go back to the first broker. */
bool back_is_due(const struct worker *w);
void back_turn(struct worker *w);

/* drain.c */
int drain_signals(void); /* the signals as a descriptor */
void drain_read(struct worker *w);
void drain_begin(struct worker *w, enum drain to);
void drain_turn(struct worker *w); /* moves on when its conditions hold */

/* resolve.c: struct broker_config.resolve; asks in a child process. */
struct resolver;
struct resolver *resolver_new(void);
void resolver_free(struct resolver *v);
int resolver_ask(void *resolver, const char *host, uint16_t port, struct addrs *out,
                 struct ctask_error *e);
void resolver_poll(const struct resolver *v, struct pollfd *p);
void resolver_reap(struct resolver *v);                 /* after SIGCHLD */
bool resolver_has(const struct resolver *v, pid_t pid); /* it is its process */
void resolver_read(struct resolver *v); /* what it answers: the brokers ask each turn */

#endif
