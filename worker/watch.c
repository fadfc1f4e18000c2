/* watch.c - see watch.h. */
#include "worker/watch.h"

#include "worker/proc.h"
#include "worker/worker.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#define LOOK CLOCK_SECOND          /* between two looks, and before the first one */
#define STOPPED (2 * CLOCK_SECOND) /* before it is reported */
#define UNREAD (5 * CLOCK_SECOND)  /* the same, for one that does not take its job */
#define LEAVING (5 * CLOCK_SECOND) /* before one that was told to leave is killed */

/* ---- What is wrong with a child -------------------------------------------------------------- */

/* True if something that was sent to it is still in its socket. */
static bool has_unread(const struct child *k)
{
    int n = 0;
    return k->out.len > 0 || (ioctl(k->fd, SIOCOUTQ, &n) == 0 && n > 0);
}

static const char *trouble_of(struct worker *w, struct child *k)
{
    char state = proc_state(k->pid);
    if (state != 'T' && state != 't')
        k->stopped = 0;
    else if (k->stopped == 0)
        k->stopped = w->now;
    if (k->stopped && w->now - k->stopped >= STOPPED)
        return state == 't' ? "is held by a debugger" : "is stopped (SIGSTOP?)";
    if (k->state == CHILD_BUSY && w->now - k->since >= UNREAD && has_unread(k))
        return "has not read its job";
    return NULL;
}

static void look(struct worker *w, struct child *k)
{
    const char *was = k->trouble;
    k->trouble = trouble_of(w, k);
    if (k->trouble && !was && k->request)
        log_warn("child pid=%d %s while task id=%.*s runs, %.0f s after its start", (int)k->pid,
                 k->trouble, BYTES_ARG(k->request->id), (double)(w->now - k->since) / 1e9);
    else if (was && !k->trouble)
        log_info("child pid=%d goes on again", (int)k->pid);
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* When k is to be looked at, but for the pause between two looks. */
static int64_t look_at(const struct child *k)
{
    if (k->trouble && k->state < CHILD_RETIRING) return k->since;
    return k->state == CHILD_BUSY ? k->since + LOOK : CLOCK_NEVER;
}

static int64_t leave_at(const struct child *k)
{
    return k->state == CHILD_RETIRING ? k->since + LEAVING : CLOCK_NEVER;
}

static bool may_look(const struct worker *w)
{
    return w->now >= w->pool.looked + LOOK;
}

void watch_turn(struct worker *w)
{
    struct child *k;
    bool looks = may_look(w);
    list_each(k, &w->pool.all, struct child, link) {
        if (looks && w->now >= look_at(k)) {
            w->pool.looked = w->now;
            look(w, k);
        }
        if (w->now >= leave_at(k)) pool_lose(w, k, "was told to leave and did not");
    }
}

int64_t watch_next(const struct worker *w)
{
    int64_t next = CLOCK_NEVER;
    struct child *k;
    list_each(k, &w->pool.all, struct child, link) {
        int64_t look = look_at(k), leave = leave_at(k);
        if (look < w->pool.looked + LOOK) look = w->pool.looked + LOOK;
        if (look < next) next = look;
        if (leave < next) next = leave;
    }
    return next;
}
