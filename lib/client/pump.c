/* pump.c - who drives a client, and who sleeps meanwhile.
 *
 * There is no thread of our own: whoever waits for something drives the client until it has come.
 * Of several one sleeps on the epoll descriptor, the others each on a condition variable of their
 * own. After each turn everybody whose wait is over is woken, and a driver that leaves wakes the
 * next waiter, who takes its place. The mutex is never held while sleeping.
 *
 * The epoll set holds the connection and a timer. Both are changed from any thread and take effect
 * on a driver that sleeps already, so a sender who could not write all only asks for POLLOUT, and a
 * closer only lets the timer ring: no other way of waking is needed. (A driver that pauses looks
 * when its pause is over, a millisecond at most.) While nobody sleeps on it, and the program has
 * not asked for the descriptor, the set is left as it is.
 *
 * Under load a driver lets a pause pass between two reads, since the broker writes a few messages
 * at a time: what comes meanwhile would have been many wake-ups, and the broker pays its share of
 * each. */
#include "base/fd.h"
#include "client/inside.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Results or confirms awaited: with fewer of them each is worth a wake-up, and latency counts. */
#define LOAD 32
/* For each of them. A broker on the same machine answers one in some 50 us, so a pause is little
 * beside what is still to come, and beyond a millisecond longer ones gain nothing. */
#define PAUSE_EACH (4 * CLOCK_MS / 1000)
#define PAUSE_MAX CLOCK_MS

struct waiter {
    struct list link;
    pthread_cond_t wake;
    done_fn *done;
    void *ctx;
};

/* ---- The epoll set --------------------------------------------------------------------------- */

static struct timespec time_of(int64_t t)
{
    return (struct timespec){.tv_sec = t / CLOCK_SECOND, .tv_nsec = t % CLOCK_SECOND};
}

static void alarm_set(struct ctask_client *c, int64_t at)
{
    struct itimerspec t = {.it_value = time_of(at > 0 ? at : 1)};
    timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
    c->alarm = at;
}

/* Sets the timer back instead of reading it: one that is due may still be about to ring. */
static void alarm_quiet(struct ctask_client *c)
{
    timerfd_settime(c->timer_fd, 0, &(struct itimerspec){0}, NULL);
    c->alarm = CLOCK_NEVER;
}

void pump_unwatch(struct ctask_client *c)
{
    if (c->watched_fd < 0) return;
    epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, c->watched_fd, NULL);
    close(c->watched_fd);
    c->watched_fd = c->watched_of = -1;
}

/* The set holds a duplicate: a socket that a forked child shares would stay in it after its close
 * here, out of reach, and ring for ever. While the connection is not up its descriptor may be
 * another one under the same number. False if no descriptor could be had. */
static bool socket_watch(struct ctask_client *c, const struct pollfd *p)
{
    if (p->fd != c->watched_of || !c->up)
        pump_unwatch(c);
    else if (p->events == c->watched_events)
        return true;
    if (p->fd < 0) return true;
    bool known = c->watched_fd >= 0;
    if (!known) c->watched_fd = fcntl(p->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (c->watched_fd < 0) return false;
    struct epoll_event e = {.events = (p->events & POLLIN ? EPOLLIN : 0u) |
                                      (p->events & POLLOUT ? EPOLLOUT : 0u)};
    if (epoll_ctl(c->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->watched_fd, &e) < 0) {
        pump_unwatch(c);
        return false;
    }
    c->watched_of = p->fd;
    c->watched_events = p->events;
    return true;
}

static void watch(struct ctask_client *c)
{
    struct pollfd p = {.fd = -1};
    int64_t wake = clock_earlier(unconfirmed_deadline(c), replies_deadline(c));
    c->x->ops->poll(c->x, &p, &wake);
    if (!socket_watch(c, &p)) {
        int64_t soon = clock_now() + 100 * CLOCK_MS;
        if (soon < wake) wake = soon;
    }
    /* A timer that rings early costs one turn; setting it back each time would cost more. */
    if (wake < c->alarm) alarm_set(c, wake);
}

void pump_watch(struct ctask_client *c)
{
    if (c->driven || c->fd_given) watch(c);
}

bool pump_init(struct ctask_client *c)
{
    struct epoll_event e = {.events = EPOLLIN};
    c->alarm = CLOCK_NEVER;
    c->epoll_fd = fd_above_standard(epoll_create1(EPOLL_CLOEXEC));
    c->timer_fd = fd_above_standard(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    return c->epoll_fd >= 0 && c->timer_fd >= 0 &&
           epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &e) == 0;
}

/* Closes and no more, since a forked child shares the set with its parent. */
void pump_done(struct ctask_client *c)
{
    int *fds[] = {&c->watched_fd, &c->timer_fd, &c->epoll_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (*fds[i] >= 0) close(*fds[i]);
        *fds[i] = -1;
    }
    c->watched_of = -1;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

static void waiters_wake(struct ctask_client *c)
{
    struct waiter *w;
    list_each(w, &c->waiters, struct waiter, link)
        if (w->done(c, w->ctx)) pthread_cond_signal(&w->wake);
}

bool pump_turn(struct ctask_client *c)
{
    uint64_t before = c->happened;
    int64_t now = clock_now();
    struct broker_event ev;
    if (now >= c->alarm) alarm_quiet(c);
    c->x->ops->turn(c->x, now);
    while (c->x->ops->next(c->x, &ev)) {
        c->happened++;
        client_event(c, &ev);
    }
    unconfirmed_expire(c, now);
    replies_expire(c, now);
    client_home(c);
    c->turned_at = now;
    bool happened = c->happened != before;
    if (happened) waiters_wake(c);
    pump_watch(c);
    return happened;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void sleep_polling(struct ctask_client *c, int64_t deadline)
{
    struct epoll_event events[2];
    int ms = clock_poll_ms(deadline, clock_now());
    watch(c);
    c->driven = true;
    pthread_mutex_unlock(&c->lock);
    epoll_wait(c->epoll_fd, events, 2, ms);
    pthread_mutex_lock(&c->lock);
    c->driven = false;
}

static int64_t pause_end(const struct ctask_client *c)
{
    size_t waiting = c->pending.count, unsafe = c->unconfirmed_count;
    int64_t n = (int64_t)(waiting > unsafe ? waiting : unsafe);
    return n > LOAD ? clock_earlier(c->turned_at + n * PAUSE_EACH, c->turned_at + PAUSE_MAX) : 0;
}

static void sleep_pausing(struct ctask_client *c, int64_t until)
{
    struct timespec t = time_of(until);
    send_gathered(c); /* and acks */
    c->driven = true;
    pthread_mutex_unlock(&c->lock);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    pthread_mutex_lock(&c->lock);
    c->driven = false;
}

static void sleep_aside(struct ctask_client *c, struct waiter *w, int64_t deadline)
{
    struct timespec t = time_of(deadline);
    if (deadline == CLOCK_NEVER)
        pthread_cond_wait(&w->wake, &c->lock);
    else
        pthread_cond_timedwait(&w->wake, &c->lock, &t);
}

static int wait_here(struct ctask_client *c, struct waiter *w, int64_t deadline, bool closer)
{
    while (!w->done(c, w->ctx)) {
        if (!c->x || (c->closing && !closer)) return CTASK_ECLOSED;
        int64_t now = clock_now();
        bool late = now >= deadline;
        if (!late && !c->driven && now < pause_end(c)) {
            sleep_pausing(c, clock_earlier(deadline, pause_end(c)));
            continue;
        }
        /* Another driver that sleeps is no reason to give up without a look. */
        bool happened = (late || !c->driven) && pump_turn(c);
        if (w->done(c, w->ctx)) break;
        if (late) return CTASK_ETIMEDOUT;
        if (happened && pause_end(c) > 0) continue;
        if (!c->driven) {
            if (happened) c->x->ops->flush(c->x); /* what it caused, as acks */
            sleep_polling(c, deadline);
        } else {
            if (c->gathered > 0) send_gathered(c); /* it may be what is waited for */
            sleep_aside(c, w, deadline);
        }
    }
    return CTASK_OK;
}

static int wait_in_line(struct ctask_client *c, done_fn *done, void *ctx, int64_t deadline,
                        bool closer)
{
    struct waiter w = {.done = done, .ctx = ctx};
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_append(&c->waiters, &w.link);
    int rc = wait_here(c, &w, deadline, closer);
    list_remove(&w.link);
    pthread_cond_destroy(&w.wake);
    if (list_empty(&c->waiters))
        pthread_cond_signal(&c->left);
    else if (!c->driven)
        pthread_cond_signal(&list_first(&c->waiters, struct waiter, link)->wake);
    return rc;
}

int pump_until(struct ctask_client *c, done_fn *done, void *ctx, int64_t deadline)
{
    if (done(c, ctx)) return CTASK_OK; /* nearly always, for who sends */
    return wait_in_line(c, done, ctx, deadline, false);
}

int pump_to_end(struct ctask_client *c, done_fn *done, void *ctx, int64_t deadline)
{
    return wait_in_line(c, done, ctx, deadline, true);
}

void pump_send_away(struct ctask_client *c)
{
    struct waiter *w;
    list_each(w, &c->waiters, struct waiter, link) pthread_cond_signal(&w->wake);
    alarm_set(c, clock_now());
    while (!list_empty(&c->waiters)) pthread_cond_wait(&c->left, &c->lock);
}
