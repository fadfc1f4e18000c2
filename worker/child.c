/* child.c - the life of a child: read a frame, run the task, answer, until the parent hangs up. It
 * holds no descriptor of the parent's but its own ends (ends.h); above all not the broker's
 * sockets, which would keep the session of a killed parent open. */
#include "task/run.h"
#include "transport/uplink.h"
#include "worker/batch.h"
#include "worker/hygiene.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_PAUSE 100000 /* nanoseconds between looks whether output is read */
#define OUTPUT_PAUSES 1000

struct frame_read {
    enum child_frame_type type;
    uint64_t nonce;
    size_t size;
    struct bytes payload;
};

/* Also sent to the whole group or service by others than the parent, who decides. */
static void on_term(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (info->si_pid == getppid()) task_cancel();
}

/* Not SIG_IGN, which exec would hand on to the programs that tasks start; exec resets a handler. */
static void on_other(int sig)
{
    (void)sig;
}

/* What whoever started the worker ignores is no concern of its tasks. */
static void handle_signals(void)
{
    static const int others[] = {SIGINT, SIGHUP, SIGUSR1};
    struct sigaction is;
    for (int i = 1; i < NSIG; i++)
        if (sigaction(i, NULL, &is) == 0 && is.sa_handler == SIG_IGN) signal(i, SIG_DFL);
    struct sigaction term = {.sa_sigaction = on_term, .sa_flags = SA_SIGINFO};
    sigaction(SIGTERM, &term, NULL);
    /* Ctrl-C and a terminal that closes reach the whole group; the parent decides. */
    struct sigaction other = {.sa_handler = on_other, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        sigaction(others[i], &other, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* When memory runs out a task is to go, not the worker. Where it may not say so, so be it. */
static void offer_to_oom_killer(void)
{
    char score[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (pread(fd, score, sizeof score - 1, 0) > 0) {
        int to = atoi(score) + 500;
        int n = snprintf(score, sizeof score, "%d", to < 1000 ? to : 1000);
        if (pwrite(fd, score, (size_t)n, 0) < 0) log_debug("oom_score_adj stays as it is");
    }
    close(fd);
}

static void detach(const struct worker *w, struct ends *ends)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != w->pid) _exit(0); /* it died before the line above */
    broker_forget_keys(w->in);
    broker_forget_keys(w->out);
    prctl(PR_SET_DUMPABLE, 1); /* what its parent hides is not here: see base/secret.h and above */
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what its tasks leave behind ends with it */
    if (!ends_settle(ends)) _exit(1);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* what a crash would swallow */
    prctl(PR_SET_NAME, "ctask-child");
    offer_to_oom_killer();
    batch_set(true);
    rlimits_apply(&w->options->rlimits);
    log_open(STDERR_FILENO, w->options->level, NULL);
    handle_signals();
}

/* ---- What the parent says -------------------------------------------------------------------- */

/* Waits for more of it. False when the parent is gone, or memory, or the line makes no sense. */
static bool hear(struct line *l, struct buf *in)
{
    uint8_t *at = buf_room(in, CHILD_READ_ROOM);
    long n = 0;
    while (at && (n = line_get(l, at, in->cap - in->off - in->len)) == 0)
        if (!line_wait(l, true, false)) return false;
    if (!at || n < 0) return false;
    buf_added(in, (size_t)n);
    return true;
}

/* The frame at the front of *in; it stays there. False as hear is. */
static bool next_frame(struct line *l, struct buf *in, struct frame_read *f)
{
    while (in->len < CHILD_HEADER || in->len < child_frame_size(buf_head(in)))
        if (!hear(l, in)) return false;
    f->nonce = child_frame_nonce(buf_head(in));
    f->size = child_frame_size(buf_head(in));
    return child_frame_next(buf_bytes(in), f->nonce, &f->type, &f->payload) == 1;
}

/* ---- What it answers ------------------------------------------------------------------------- */

/* Puts a frame before those of *out. */
static bool put_before(struct buf *out, struct buf *first)
{
    bool ok = !first->failed && buf_bytes_append(first, buf_bytes(out));
    buf_done(out);
    *out = *first;
    return ok;
}

/* If tasks have left the process other than it was, that is said with the end of the last of them,
 * and no other one is begun. */
static bool hygiene_report(struct line *l, const struct ctask_task *t, struct buf *out)
{
    char why[256];
    if (hygiene_is_kept(t, why, sizeof why)) return true;
    line_halt(l);
    struct buf leave = {.max = out->max + 1024};
    leave_write(&leave, why);
    return put_before(out, &leave);
}

static int unread_output(void)
{
    int n = 0;
    return ioctl(STDERR_FILENO, FIONREAD, &n) == 0 ? n : 0;
}

/* What the job has printed is read before another one prints, so that the log can name it. Not for
 * ever: processes that it left behind may print, too. */
static void await_reader(void)
{
    const struct timespec pause = {.tv_nsec = OUTPUT_PAUSE};
    for (int i = 0; i < OUTPUT_PAUSES && unread_output() > 0; i++) nanosleep(&pause, NULL);
}

/* One job, from its frame to the end of it. False when the parent is gone, or without memory. */
static bool serve_one(const struct worker *w, struct line *l, const struct frame_read *f,
                      struct buf *out)
{
    struct job j;
    if (!job_read(f->payload, &j)) return false;
    buf_clear(out);
    uplink_stamp(f->nonce);
    const struct ctask_task *t;
    bool ok = f->type == CHILD_BURY
                  ? task_bury(&j, out)
                  : task_run(&w->registry, l, &j, out, &t) && hygiene_report(l, t, out);
    fflush(NULL); /* what the task printed; _exit would drop it */
    bool printed = unread_output() > 0;
    if (printed) {
        struct buf output = {.max = out->max + 1024};
        bare_frame_write(&output, CHILD_OUTPUT);
        ok = put_before(out, &output) && ok;
    }
    if (!ok || !uplink_send(l, out)) return false;
    if (printed) await_reader();
    return true;
}

static void serve(const struct worker *w, struct line *l)
{
    struct buf in = {.max = CHILD_FRAME_MAX + CHILD_READ_ROOM}, out = {.max = CHILD_FRAME_MAX};
    struct frame_read f;
    hygiene_note();
    while (next_frame(l, &in, &f)) {
        /* After line_halt what is here is not begun, up to RESUME: it goes to others. */
        if (f.type == CHILD_RESUME)
            line_resume(l);
        else if (line_begin(l) && !serve_one(w, l, &f, &out))
            return;
        buf_consume(&in, f.size);
        if (in.len == 0 && in.cap > 65536) buf_done(&in);
        if (out.cap > 65536) buf_done(&out);
    }
}

_Noreturn void child_run(const struct worker *w, struct ends ends)
{
    detach(w, &ends);
    serve(w, &ends.line);
    _exit(0);
}
