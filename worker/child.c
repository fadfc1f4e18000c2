/* child.c - the life of a child: read a frame, run the task, answer with one frame, until the
 * parent hangs up. It holds no descriptor of the parent's but its own ends (ends.h); above all not
 * the broker's sockets, which would keep the session of a killed parent open. */
#include "base/fd.h"
#include "task/run.h"
#include "worker/hygiene.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Also sent to the whole group or service by others than the parent, who decides. */
static void on_term(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (info->si_pid == getppid()) task_cancel();
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
    prctl(PR_SET_DUMPABLE, 1);         /* what its parent hides is not here: see base/secret.h */
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
    rlimits_apply(&w->options->rlimits);
    log_open(STDERR_FILENO, w->options->level, NULL);

    struct sigaction term = {.sa_sigaction = on_term, .sa_flags = SA_SIGINFO};
    sigaction(SIGTERM, &term, NULL);
    /* Ctrl-C and a terminal that closes reach the whole group; the parent decides. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* One frame into *in. False when the parent is gone. */
static bool read_frame(int line, struct buf *in, uint64_t *nonce, enum child_frame_type *type,
                       struct bytes *payload)
{
    buf_clear(in);
    uint8_t header[CHILD_HEADER];
    if (fd_read_all(line, header, sizeof header) != 1) return false;
    size_t size = child_frame_size(header);
    uint8_t *at = size ? buf_room(in, size) : NULL;
    if (!at) return false;
    memcpy(at, header, sizeof header);
    if (size > sizeof header && fd_read_all(line, at + sizeof header, size - sizeof header) != 1)
        return false;
    buf_added(in, size);
    *nonce = child_frame_nonce(header);
    return child_frame_next(buf_bytes(in), *nonce, type, payload) == 1;
}

/* The end of the job; before it, if the task has left the process other than it was, that. */
static bool run(const struct worker *w, int line, const struct job *j, const struct hygiene *before,
                struct buf *out)
{
    if (!task_run(&w->registry, line, j, out)) return false;
    const char *misdeed = hygiene_check(before);
    if (!misdeed) return true;
    struct buf done = *out;
    *out = (struct buf){.max = done.max + 1024};
    bool ok = leave_write(out, misdeed) && buf_bytes_append(out, buf_bytes(&done));
    buf_done(&done);
    return ok;
}

static void serve(const struct worker *w, int line)
{
    static struct hygiene before;
    struct buf in = {.max = CHILD_FRAME_MAX + CHILD_HEADER}, out = in;
    enum child_frame_type type;
    struct bytes payload;
    struct job j;
    uint64_t nonce;
    hygiene_note(&before);
    while (read_frame(line, &in, &nonce, &type, &payload) && job_read(payload, &j)) {
        buf_clear(&out);
        child_frame_stamp(nonce);
        bool ok = type == CHILD_BURY ? task_bury(&j, &out) : run(w, line, &j, &before, &out);
        fflush(NULL); /* what the task printed; _exit would drop it */
        if (!ok || !child_frame_send(line, &out)) return;
        if (in.cap > 65536) buf_done(&in);
        if (out.cap > 65536) buf_done(&out);
    }
}

_Noreturn void child_run(const struct worker *w, struct ends ends)
{
    detach(w, &ends);
    serve(w, ends.line);
    _exit(0);
}
