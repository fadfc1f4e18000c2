/* pool.h - the children that run tasks, one after the other, and are replaced when they die. A
 * child may have several jobs in line. It does them in order, and may have begun the next before
 * the parent has read that one is done. What it is given, and when: jobs.c.
 *
 * A child's state and what may happen to it are the two sides of one table in pool.c. The parent
 * never waits for a child; one that is gone is concluded by waitpid, after what it had still
 * written was read: a finished result may be in it. */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "base/buf.h"
#include "base/list.h"
#include "worker/ends.h"
#include "worker/output.h"

#include <poll.h>
#include <sys/types.h>

struct fault;
struct worker;
struct request;

enum child_state {
    CHILD_IDLE,
    CHILD_BUSY,     /* has jobs */
    CHILD_RETIRING, /* idle, told to leave */
    CHILD_LOST,     /* hung up or not to be trusted; killed, waiting for its exit */
    CHILD_STATES
};

/* What may happen to one. */
enum child_event {
    EVENT_DONE,
    EVENT_PUBLISH,
    EVENT_OUTPUT,
    EVENT_LEAVE,
    EVENT_HANGUP,
    EVENT_EXIT,
    CHILD_EVENTS
};

struct child {
    struct list link; /* of pool.all */
    struct list rest; /* of pool.idle, if it is */
    enum child_state state;
    pid_t pid;
    struct ends ends;
    struct list jobs; /* requests by `turn`, in the order in which they are done */
    unsigned held;    /* how many these are */
    unsigned given;   /* jobs it ever got, less those taken back */
    uint32_t done;    /* jobs it has answered; line_begun - done of `jobs` are begun */
    uint64_t nonce;   /* of the job given last. A frame counts only with that of the first job */
    bool leaves;      /* gets no more jobs, and leaves when those that it has begun are done */
    bool asked;       /* to end its job early, or it asked to leave: it is not to meet another */
    bool resigned;    /* it asked to leave, which it may do once */
    bool printed;     /* it has said that its first job printed, which it may do once */
    int64_t started, since; /* since: in this state, or with this first job */
    int64_t stopped;        /* since when watch.c saw it stopped; 0: not */
    const char *trouble;    /* what watch.c has reported; NULL: nothing, or it goes on */
    int64_t weighed;        /* when limits.c has last looked at its memory */
    const char *offence;    /* killed by us for what it did; NULL: not */
    int64_t oom_kills;      /* of the machine, when it was born; -1: not known */
    int status;             /* when it has exited: as waitpid says it */
    int64_t peak_kib;       /* and the most memory it had */
    struct buf in, out;
    struct output output;
    struct pollfd *polled; /* this turn's entries; NULL: born after they were laid out */
};

struct pool {
    struct list all, idle; /* idle: the last used first, its caches are warm */
    struct child *last;    /* the one that was given a job last; NULL: it is gone */
    unsigned size, want;   /* children there are, and there should be */
    unsigned failures;     /* children in a row that died before any job */
    int64_t spawn_at;      /* not before: back-off after such deaths */
    int64_t barren_since;  /* when the last child that could take jobs was gone; 0: there is one */
    bool barren;           /* and that is so for long: watch.c */
    int64_t looked;        /* when watch.c has last looked at children */
};

/* fork(2); here alone, so that one place answers for what a child inherits. */
pid_t pool_fork(void);

void pool_init(struct pool *p, unsigned want);
/* Starts missing children. In the child it does not return. */
void pool_spawn(struct worker *w);
struct child *pool_idle(struct pool *p);
/* One that has run nothing yet. NULL: it is coming, in place of an idle one that goes for it. */
struct child *pool_fresh(struct worker *w);
/* Asks the task that k runs to end early (task_cancelled); k is replaced afterwards. */
void pool_ask(struct worker *w, struct child *k);
/* Ends the job that k has begun: if k has said that it is done, so be it; else k is killed and its
 * request is buried for this reason, at once and for good. */
void pool_condemn(struct worker *w, struct child *k, const struct fault *why);
/* Kills k, for this reason ("wrote too much"; borrowed while k lives; NULL: none worth a word).
 * What it did before counts; its job is concluded at its exit. */
void pool_lose(struct worker *w, struct child *k, const char *why);
/* Concludes the children that have exited. */
void pool_reap(struct worker *w);
/* Kills and frees all that are left; does not wait for one that the kernel cannot end. */
void pool_end(struct pool *p);
/* Sends all of them a signal. */
void pool_kill(struct pool *p, int sig);
int64_t pool_next(const struct pool *p);
/* How many children have a job that runs for longer than so many seconds. */
unsigned pool_longer(const struct pool *p, double seconds, int64_t now);
/* How long the oldest running job runs, in seconds. */
double pool_oldest(const struct pool *p, int64_t now);

void child_move(struct worker *w, struct child *k, enum child_state to);
/* Does what the table says about e in k's state. */
void child_happen(struct worker *w, struct child *k, enum child_event e, struct bytes payload);

/* ---- hear.c ---------------------------------------------------------------------------------- */

#define POLLED 2 /* entries for each child */
/* Lays out the children's descriptors; returns how many. */
unsigned pool_poll(struct pool *p, struct pollfd *fds);
/* Before sleeping: children wake us from now on. True if there is something to hear already. */
bool pool_listen(struct pool *p);
/* Hears what children said, writes what they are to hear. */
void pool_turn(struct worker *w);
#define POOL_READ_MAX ((size_t)1 << 20) /* bytes of a turn */
#define CHILD_READ_ROOM ((size_t)4096)  /* for what is on a line, at a time */
/* Reads at most `limit` bytes of k's line; returns how many of them are left. */
size_t child_read(struct worker *w, struct child *k, size_t limit);
/* What is to be heard leaves, as far as there is room. */
void child_write(struct child *k);
/* The same for all of them. */
void pool_write(struct pool *p);
/* True while more than fits a line is on its way to or from a child, piece by piece. */
bool pool_is_full(const struct pool *p);

/* ---- jobs.c ---------------------------------------------------------------------------------- */

/* The child that r is best given to now; NULL if it is better to wait. */
struct child *jobs_taker(struct worker *w, const struct request *r);
/* Hands r to k. */
void jobs_give(struct worker *w, struct child *k, struct request *r);
/* What k runs, or will when it wakes; NULL if it has nothing. */
struct request *jobs_first(const struct child *k);
/* How many it has begun and not said that they are done: of its jobs, the first so many. */
uint32_t jobs_begun(const struct child *k);
/* When it began the first, if it has. A child that lies gains JOBS_UNREAD at most. */
int64_t jobs_begun_at(const struct child *k);
/* A job that its child has not begun for so long is given to another. */
#define JOBS_UNREAD (5 * CLOCK_SECOND)
/* As jobs_begun, and k begins no more until CHILD_RESUME. */
uint32_t jobs_halt(struct child *k);
/* What r, which runs, has cost its child, in seconds: what the child says, but no more than has
 * passed since it got r. */
double jobs_cost(const struct worker *w, const struct request *r, double said);
/* The first is done, or concluded otherwise, and no job of k's any more. */
struct request *jobs_take_first(struct child *k);
/* All but the first, and that too if it is not begun and k will not go on, are to run elsewhere. */
void jobs_take_back(struct worker *w, struct child *k, bool goes_on);
/* Takes rows back that others are to run. */
void jobs_turn(struct worker *w);
/* Takes all of them back. */
void jobs_take_back_all(struct worker *w);
int64_t jobs_next(struct worker *w);
/* True while many tasks are under way that are so short that children have several at a time: then
 * what comes is left to gather for a moment. */
bool jobs_are_many(const struct worker *w);
#define JOBS_PAUSE CLOCK_MS /* that moment */

/* child.c: what runs in a child; never returns. */
_Noreturn void child_run(const struct worker *w, struct ends ends);

#endif
