/* resolve.c - host names, asked for in a short-lived process: the resolver may take half a minute,
 * and the worker's loop must not. One question at a time: a new one ends the one before. */
#include "base/fd.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_FD 3
#define FRESH (5 * CLOCK_SECOND) /* how long an answer is good for */

struct answer {
    int code;
    struct addrs addrs;
    struct ctask_error error;
};

struct resolver {
    pid_t pid; /* 0: it is gone */
    int fd;    /* -1: nothing is being asked */
    size_t got;
    char host[256]; /* the question */
    uint16_t port;
    struct answer answer;
    int64_t answered; /* 0: no answer */
};

struct resolver *resolver_new(void)
{
    struct resolver *v = calloc(1, sizeof *v);
    if (v) v->fd = -1;
    return v;
}

/* Whatever it does, nobody waits for it: its exit is taken over when it comes. */
static void dismiss(struct resolver *v)
{
    if (v->pid > 0) kill(v->pid, SIGKILL);
    close(v->fd);
    v->fd = -1;
}

void resolver_free(struct resolver *v)
{
    if (!v) return;
    if (v->fd >= 0) dismiss(v);
    free(v);
}

void resolver_reap(struct resolver *v)
{
    if (v->pid > 0 && waitpid(v->pid, NULL, WNOHANG) == v->pid) v->pid = 0;
}

bool resolver_has(const struct resolver *v, pid_t pid)
{
    return v->pid == pid;
}

/* It holds nothing of the parent's but its end of the pair, and does not outlive it. */
_Noreturn static void look_up(int fd, const char *host, uint16_t port)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, ANSWER_FD);
    closefrom(ANSWER_FD + 1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct answer a = {0};
    a.code = addrs_resolve(host, port, &a.addrs, &a.error);
    fd_write_all(ANSWER_FD, &a, sizeof a);
    _exit(0);
}

static int ask(struct resolver *v, const char *host, uint16_t port, struct ctask_error *e)
{
    int pair[2];
    resolver_reap(v);
    v->answered = 0;
    v->port = port;
    snprintf(v->host, sizeof v->host, "%s", host);
    if (fd_pair(pair) != 0)
        return error_set(e, CTASK_ECONN, "cannot look up %s: %s", host, strerror(errno));
    pid_t pid = pool_fork();
    if (pid == 0) look_up(pair[1], v->host, port); /* theirs is not there after a fork */
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return error_set(e, CTASK_ECONN, "cannot look up %s: %s", host, strerror(errno));
    }
    fd_nonblock(pair[0], true);
    v->pid = pid;
    v->fd = pair[0];
    v->got = 0;
    return CTASK_EAGAIN;
}

int resolver_ask(void *resolver, const char *host, uint16_t port, struct addrs *out,
                 struct ctask_error *e)
{
    struct resolver *v = resolver;
    bool same = v->port == port && strcmp(v->host, host) == 0;
    if (v->fd >= 0 && same) return CTASK_EAGAIN;
    if (v->fd >= 0) dismiss(v);
    if (!same || !v->answered || clock_now() - v->answered > FRESH) return ask(v, host, port, e);
    *out = v->answer.addrs;
    *e = v->answer.error;
    return v->answer.code;
}

void resolver_poll(const struct resolver *v, struct pollfd *p)
{
    *p = (struct pollfd){.fd = v->fd, .events = POLLIN};
}

void resolver_read(struct resolver *v)
{
    if (v->fd < 0) return;
    ssize_t n = read(v->fd, (char *)&v->answer + v->got, sizeof v->answer - v->got);
    if (n < 0) return;
    v->got += (size_t)n;
    if (n > 0 && v->got < sizeof v->answer) return;
    if (v->got < sizeof v->answer)
        v->answer.code = error_set(&v->answer.error, CTASK_ECONN, "the name look-up failed");
    v->answered = clock_now();
    dismiss(v);
}
