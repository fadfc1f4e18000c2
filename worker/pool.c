/* pool.c - see pool.h. Holds the worker's only fork. */
#include "worker/pool.h"

#include "wire/child.h"
#include "worker/limits.h"
#include "worker/proc.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWNS_PER_TURN 16
#define NEWS_MAX 64 /* exits of its threads and orphans that are taken for one child in a turn */

/* ---- What may happen, and what it means in each state ---------------------------------------- */

typedef void child_action(struct worker *w, struct child *k, struct bytes payload);

void child_move(struct worker *w, struct child *k, enum child_state to)
{
    list_remove(&k->rest);
    k->state = to;
    k->since = w->now;
    if (to == CHILD_IDLE) list_prepend(&w->pool.idle, &k->rest);
}

static void nothing(struct worker *w, struct child *k, struct bytes payload)
{
    (void)w;
    (void)k;
    (void)payload;
}

/* With all that are in its group, once it leads one. */
static void child_kill(const struct child *k)
{
    if (kill(-k->pid, SIGKILL) != 0) kill(k->pid, SIGKILL);
}

/* ", running task id=...", for the log; "" if it runs none. Returns out. */
static const char *job_words(const struct child *k, char out[512])
{
    const struct request *r = jobs_begun(k) ? jobs_first(k) : NULL;
    out[0] = 0;
    if (r) snprintf(out, 512, ", running " TASK_FMT, TASK_ARG(r));
    return out;
}

void pool_lose(struct worker *w, struct child *k, const char *why)
{
    k->offence = why;
    char job[512];
    if (why) log_warn("child pid=%d %s: it is killed%s", (int)k->pid, why, job_words(k, job));
    child_kill(k);
    child_move(w, k, CHILD_LOST);
    jobs_take_back(w, k, false);
}

static void out_of_turn(struct worker *w, struct child *k, struct bytes payload)
{
    (void)payload;
    pool_lose(w, k, "spoke out of turn");
}

static void hung_up(struct worker *w, struct child *k, struct bytes payload)
{
    (void)payload;
    pool_lose(w, k, proc_is_exiting(k->pid) ? NULL : "closed its line to the worker");
}

static bool is_to_leave(const struct worker *w, struct child *k)
{
    unsigned max = w->options->max_tasks_per_child;
    return k->asked || limits_outgrown(w, k) || (max > 0 && k->done >= max) ||
           w->pool.size > w->pool.want;
}

static void retire(struct worker *w, struct child *k)
{
    child_move(w, k, CHILD_RETIRING);
    shutdown(k->ends.line.bell, SHUT_WR);
}

/* After a job: the next one, a rest, or the end. What it has begun it ends also when it leaves. */
static void go_on(struct worker *w, struct child *k)
{
    if (!k->leaves && is_to_leave(w, k)) {
        k->leaves = true;
        jobs_take_back(w, k, false);
    }
    if (k->held > 0) {
        k->since = w->now;
        k->output.tail_size = 0;
    } else if (k->leaves) {
        retire(w, k);
    } else {
        child_move(w, k, CHILD_IDLE);
    }
}

static void job_done(struct worker *w, struct child *k, struct bytes payload)
{
    bool begun = jobs_begun(k) > 0; /* nobody has done what is not begun */
    output_end(k, w->now);
    struct request *r = jobs_take_first(k);
    if (!begun || !finish_done(w, r, payload)) {
        list_prepend(&k->jobs, &r->turn); /* its end is still to come */
        k->held++;
        pool_lose(w, k, "wrote a result that cannot be read, or holds too much");
        return;
    }
    k->done++;
    k->printed = false;
    w->pool.failures = 0;
    go_on(w, k);
}

static void job_publish(struct worker *w, struct child *k, struct bytes payload)
{
    if (!finish_publish(w, jobs_first(k), payload))
        pool_lose(w, k, "wrote a message that cannot be read");
}

/* All of it, since a pipe holds less, while there is a task to name in the log. */
static void job_printed(struct worker *w, struct child *k, struct bytes payload)
{
    (void)payload;
    if (k->printed)
        pool_lose(w, k, "said more than once that its task printed");
    else
        output_read(k, w->now, POOL_READ_MAX);
    k->printed = true;
}

static void job_leaves(struct worker *w, struct child *k, struct bytes payload)
{
    const struct request *r = jobs_first(k);
    if (k->resigned) {
        pool_lose(w, k, "said more than once that it is to be replaced");
        return;
    }
    log_warn(TASK_FMT ": %.*s: child pid=%d is replaced", TASK_ARG(r), BYTES_ARG(payload),
             (int)k->pid);
    k->asked = k->resigned = true;
}

static void child_free(struct pool *p, struct child *k)
{
    if (p->last == k) p->last = NULL;
    list_remove(&k->link);
    list_remove(&k->rest);
    ends_close(&k->ends);
    buf_done(&k->in);
    buf_done(&k->out);
    free(k);
}

static void gone(struct worker *w, struct child *k, struct bytes payload)
{
    struct pool *p = &w->pool;
    char words[128], job[512];
    (void)payload;
    output_read(k, w->now, POOL_READ_MAX);
    output_end(k, w->now);
    if (k->state != CHILD_RETIRING && w->drain < DRAIN_NOW) {
        w->counters.children_lost++;
        log_warn("child pid=%d is gone: %s%s", (int)k->pid, death_words(k, words, sizeof words),
                 job_words(k, job));
        /* Without a job it was not a task that killed it; of those born together one counts. Who is
         * killed from outside is replaced at once: that says nothing of the next one. */
        if (!jobs_begun(k) && w->now - k->started < CLOCK_SECOND && k->started >= p->spawn_at &&
            death_is_own(k)) {
            unsigned shift = p->failures < 5 ? p->failures : 5;
            p->spawn_at = w->now + (CLOCK_SECOND << shift);
            p->failures++;
        }
    }
    jobs_take_back(w, k, false);
    while (k->held > 0) death_conclude(w, k, jobs_take_first(k));
    child_free(p, k);
    p->size--;
}

static child_action *const actions[CHILD_STATES][CHILD_EVENTS] = {
    /*                   DONE         PUBLISH      OUTPUT       LEAVE        HANGUP   EXIT */
    [CHILD_IDLE] = {out_of_turn, out_of_turn, out_of_turn, out_of_turn, hung_up, gone},
    [CHILD_BUSY] = {job_done, job_publish, job_printed, job_leaves, hung_up, gone},
    [CHILD_RETIRING] = {out_of_turn, out_of_turn, out_of_turn, out_of_turn, nothing, gone},
    [CHILD_LOST] = {nothing, nothing, nothing, nothing, nothing, gone},
};

void child_happen(struct worker *w, struct child *k, enum child_event e, struct bytes payload)
{
    actions[k->state][e](w, k, payload);
}

/* ---- Starting -------------------------------------------------------------------------------- */

void pool_init(struct pool *p, unsigned want)
{
    list_init(&p->all);
    list_init(&p->idle);
    p->want = want;
}

pid_t pool_fork(void)
{
    return fork();
}

static uint64_t random_number(void)
{
    uint64_t n;
    if (getrandom(&n, sizeof n, GRND_NONBLOCK) != sizeof n) n = (uint64_t)clock_now();
    return n;
}

static bool spawn_one(struct worker *w)
{
    struct ends ends;
    struct child *k = calloc(1, sizeof *k);
    if (!k || !ends_open(&k->ends, &ends)) {
        log_error("cannot start a child: %s", strerror(errno));
        free(k);
        return false;
    }
    pid_t pid = pool_fork();
    if (pid == 0) child_run(w, ends);
    int error = errno;
    ends_close(&ends);
    if (pid < 0) {
        log_error("cannot start a child: %s", strerror(error));
        ends_close(&k->ends);
        free(k);
        return false;
    }
    line_keep(&k->ends.line);
    list_append(&w->pool.all, &k->link);
    list_init(&k->rest);
    list_init(&k->jobs);
    k->pid = pid;
    k->started = w->now;
    k->nonce = random_number();
    k->oom_kills = proc_oom_kills();
    k->in.max = k->out.max = CHILD_FRAME_MAX + CHILD_READ_ROOM;
    w->pool.size++;
    child_move(w, k, CHILD_IDLE);
    return true;
}

struct child *pool_idle(struct pool *p)
{
    return list_empty(&p->idle) ? NULL : list_first(&p->idle, struct child, rest);
}

/* Where none can be started, one that has run others must do. */
struct child *pool_fresh(struct worker *w)
{
    struct pool *p = &w->pool;
    struct child *k, *idle = pool_idle(p);
    bool coming = p->size < p->want;
    list_each(k, &p->all, struct child, link) {
        if (k->state == CHILD_IDLE && k->done == 0) return k;
        if (k->state >= CHILD_RETIRING) coming = true;
    }
    if (w->drain > DRAIN_RUN || w->now < p->spawn_at) return idle;
    if (idle && !coming) retire(w, idle);
    return NULL;
}

void pool_spawn(struct worker *w)
{
    struct pool *p = &w->pool;
    for (unsigned n = 0; n < SPAWNS_PER_TURN && p->size < p->want && w->now >= p->spawn_at; n++)
        if (!spawn_one(w)) p->spawn_at = w->now + CLOCK_SECOND;
}

int64_t pool_next(const struct pool *p)
{
    return p->size < p->want ? p->spawn_at : CLOCK_NEVER;
}

/* ---- Ending ---------------------------------------------------------------------------------- */

/* True if the first job of k has ended: k has just said so. */
static bool first_is_done(struct worker *w, struct child *k)
{
    const struct request *first = jobs_first(k);
    child_read(w, k, POOL_READ_MAX); /* more than fits its line */
    return k->state != CHILD_BUSY || jobs_first(k) != first;
}

void pool_ask(struct worker *w, struct child *k)
{
    if (first_is_done(w, k)) return;
    jobs_take_back(w, k, true);
    if (jobs_begun(k) > 1) return; /* it has ended since, another has begun */
    k->asked = true;
    kill(k->pid, SIGTERM);
}

void pool_condemn(struct worker *w, struct child *k, const struct fault *why)
{
    if (first_is_done(w, k)) return;
    jobs_halt(k);
    struct request *r = jobs_take_first(k);
    k->done++;
    pool_lose(w, k, NULL);
    death_condemned(w, r, why);
}

/* A process or thread of these that has exited or stopped, or 0. It is left to be waited for. */
static pid_t news_of(idtype_t type, pid_t id, int *what)
{
    siginfo_t s = {0};
    if (waitid(type, (id_t)id, &s, WEXITED | WNOHANG | WNOWAIT) != 0) return 0;
    *what = s.si_code;
    return s.si_pid;
}

/* A task that calls PTRACE_TRACEME makes this process its debugger. The debugger hears of each
 * stop, which is no exit, and nobody would continue the task. If a thread has called it, the
 * exit of its process is not reported before that of the thread was taken. */
static bool has_exited(struct worker *w, struct child *k)
{
    int what = 0;
    pid_t pid = news_of(P_PGID, k->pid, &what);
    for (int i = 0; i < NEWS_MAX && pid && pid != k->pid && what != CLD_TRAPPED; i++) {
        waitpid(pid, NULL, __WALL | WNOHANG);
        pid = news_of(P_PGID, k->pid, &what);
    }
    if (pid && pid != k->pid && what != CLD_TRAPPED) raise(SIGCHLD); /* the others next turn */
    if (pid == 0) pid = news_of(P_PID, k->pid, &what); /* it does not lead its group yet */
    if (pid && what == CLD_TRAPPED && k->state != CHILD_LOST)
        pool_lose(w, k, "has made the worker its debugger");
    return pid == k->pid && what != CLD_TRAPPED;
}

void pool_reap(struct worker *w)
{
    struct child *k;
    list_each(k, &w->pool.all, struct child, link) {
        struct rusage used;
        if (!has_exited(w, k)) continue;
        /* Processes of its task may still write to its line, so they are killed first. What the
         * child wrote, a finished result perhaps, is what the line holds, and no more is read.
         * Until wait4 the pid is ours, so that no kill can hit another process. */
        child_kill(k);
        child_read(w, k, LINE_SIZE);
        if (wait4(k->pid, &k->status, 0, &used) == k->pid) k->peak_kib = used.ru_maxrss;
        child_happen(w, k, EVENT_EXIT, bytes_of(NULL, 0));
    }
}

void pool_kill(struct pool *p, int sig)
{
    struct child *k;
    list_each(k, &p->all, struct child, link) {
        if (sig == SIGKILL)
            child_kill(k);
        else
            kill(k->pid, sig);
    }
}

unsigned pool_longer(const struct pool *p, double seconds, int64_t now)
{
    unsigned n = 0;
    struct child *k;
    list_each(k, &p->all, struct child, link) {
        n += k->state == CHILD_BUSY && clock_seconds(now - k->since) > seconds;
    }
    return n;
}

double pool_oldest(const struct pool *p, int64_t now)
{
    int64_t oldest = now;
    struct child *k;
    list_each(k, &p->all, struct child, link) {
        if (k->state == CHILD_BUSY && k->since < oldest) oldest = k->since;
    }
    return clock_seconds(now - oldest);
}

void pool_end(struct pool *p)
{
    int64_t deadline = clock_now() + CLOCK_SECOND;
    pool_kill(p, SIGKILL);
    struct child *k;
    list_each(k, &p->all, struct child, link) {
        while (waitpid(k->pid, NULL, WNOHANG) == 0 && clock_now() < deadline) poll(NULL, 0, 1);
        child_free(p, k);
    }
}
