/* drain.c - signals, and the way out. Each step is bounded in time, so a worker that is told to
 * leave leaves, whatever the broker and the tasks do. */
#include "worker/strangers.h"
#include "worker/worker.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define COLD_S 2.0 /* for tasks that poll task_cancelled */
#define NOW_S 2.0  /* for killed children to be gone and their messages given back */
#define BYE_S 2.0  /* for the broker to agree */

static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD, SIGUSR1};
#define SIGNALS (sizeof signals / sizeof signals[0])

int drain_signals(void)
{
    sigset_t set;
    struct sigaction hup;
    sigemptyset(&set);
    for (size_t i = 0; i < SIGNALS; i++) sigaddset(&set, signals[i]);
    /* A signalfd also reads what is ignored, but nohup(1) means it. */
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler == SIG_IGN) sigdelset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it leaves nothing for waitpid */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void report(const struct worker *w)
{
    const struct counters *c = &w->counters;
    log_info("received %llu, succeeded %llu, failed %llu, retried %llu, kept dead %llu, "
             "passed on %llu, given back %llu, results nobody asked for %llu, to no reply "
             "address %llu, refused %llu, dropped %llu, children lost %llu, longest turn %.0f ms",
             (unsigned long long)c->received, (unsigned long long)c->succeeded,
             (unsigned long long)c->failed, (unsigned long long)c->retried,
             (unsigned long long)c->buried, (unsigned long long)c->passed_on,
             (unsigned long long)c->given_back, (unsigned long long)c->results_unroutable,
             (unsigned long long)c->results_unsent, (unsigned long long)c->results_refused,
             (unsigned long long)c->results_dropped, (unsigned long long)c->children_lost,
             ceil((double)w->longest_turn / CLOCK_MS));
}

void drain_begin(struct worker *w, enum drain to)
{
    if (to <= w->drain) return;
    w->drain = to;
    jobs_take_back_all(w);
    switch (to) {
    case DRAIN_RUN: break;
    case DRAIN_WARM:
        log_info(
            "leaving: %zu tasks running, %zu more not confirmed by the broker, at most %g s for "
            "them (again: ask them to stop)",
            w->count[REQUEST_RUNNING],
            w->count[REQUEST_SETTLING] + w->count[REQUEST_MOVING] + w->count[REQUEST_REFUSED],
            w->options->grace);
        consumer_stop(w);
        w->drain_until = clock_in(w->options->grace);
        break;
    case DRAIN_COLD:
        log_warn("leaving: %zu tasks are asked to stop", w->count[REQUEST_RUNNING]);
        consumer_stop(w);
        pool_kill(&w->pool, SIGTERM);
        w->drain_until = clock_in(COLD_S);
        break;
    case DRAIN_NOW:
        if (w->count[REQUEST_RUNNING])
            log_warn("leaving: %zu tasks are stopped and given back", w->count[REQUEST_RUNNING]);
        consumer_stop(w);
        death_bury_all(w); /* what has nothing to go back to */
        w->pool.want = 0;
        pool_kill(&w->pool, SIGKILL);
        w->drain_until = clock_in(NOW_S);
        break;
    case DRAIN_BYE:
        report(w);
        broker_close(w->in);
        broker_close(w->out);
        w->drain_until = clock_in(BYE_S);
        break;
    case DRAIN_DONE: break;
    }
}

void drain_read(struct worker *w)
{
    /* Room for all that can be pending; who sends them without end does not hold up the loop. */
    struct signalfd_siginfo s[SIGNALS];
    ssize_t n = read(w->signals, s, sizeof s);
    for (ssize_t i = 0; i < n / (ssize_t)sizeof s[0]; i++) {
        switch (s[i].ssi_signo) {
        case SIGCHLD:
            pool_reap(w);
            resolver_reap(w->resolver);
            strangers_end(w);
            break;
        case SIGUSR1: report(w); break;
        case SIGQUIT: drain_begin(w, DRAIN_NOW); break;
        default:
            if (w->drain < DRAIN_NOW) drain_begin(w, w->drain + 1);
        }
    }
}

void drain_turn(struct worker *w)
{
    bool late = w->now >= w->drain_until;
    switch (w->drain) {
    case DRAIN_RUN:
    case DRAIN_DONE: break;
    case DRAIN_WARM:
    case DRAIN_COLD:
    case DRAIN_NOW:
        if (requests_none(w))
            drain_begin(w, DRAIN_BYE);
        else if (late)
            drain_begin(w, w->drain + 1);
        break;
    case DRAIN_BYE:
        if (late ||
            (broker_state(w->in) == BROKER_IS_DOWN && broker_state(w->out) == BROKER_IS_DOWN))
            drain_begin(w, DRAIN_DONE);
    }
}
