/* wait.c - the one place where the program sleeps: standard input, the broker and Ctrl-C are looked
 * at together, so none of them waits for another. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* The signals to report: not those that whoever started us wants ignored, as a shell's `&` does. */
static void signals_set(sigset_t *set)
{
    static const int wanted[] = {SIGINT, SIGTERM};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        struct sigaction now;
        if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(set, wanted[i]);
    }
}

void waiter_init(struct waiter *w)
{
    sigset_t set;
    signals_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    w->caught = 0;
}

static void waiter_catch(struct waiter *w)
{
    struct signalfd_siginfo info;
    if (read(w->signals, &info, sizeof info) != sizeof info) return;
    w->caught = (int)info.ssi_signo;
    sigset_t set;
    signals_set(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

unsigned waiter_sleep(struct waiter *w, struct ctask_client *c, unsigned interest, double seconds)
{
    struct pollfd fds[] = {{.fd = interest & WAIT_INPUT ? STDIN_FILENO : -1, .events = POLLIN},
                           {.fd = ctask_fd(c), .events = POLLIN},
                           {.fd = w->signals, .events = POLLIN}};
    int n = poll(fds, 3, seconds > 0 ? (int)(seconds * 1000) + 1 : 0);
    unsigned happened = 0;
    if (n > 0 && fds[0].revents) happened |= WAIT_INPUT;
    if (n > 0 && fds[1].revents) happened |= WAIT_CLIENT;
    if (n > 0 && fds[2].revents) {
        waiter_catch(w);
        happened |= WAIT_SIGNAL;
    }
    ctask_poll(c, 0);
    return happened;
}

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double seconds_left(double deadline, double most)
{
    if (deadline < 0) return most;
    double left = deadline - now_seconds();
    return left < 0 ? 0 : left < most ? left : most;
}
