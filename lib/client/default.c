/* default.c - the client of calls that name none. It is made at the first use, connects when it is
 * driven, and is this process's alone: a forked child gives its copy up and makes its own. */
#include "client/inside.h"

#include <stdio.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t lock;
    struct ctask_client *set; /* by ctask_set_default, borrowed */
    struct ctask_client *own;
} slot = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t hooks = PTHREAD_ONCE_INIT;

/* Stands in when none can be made; calls on it fail with the reason. */
static struct ctask_client nobody = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .refs = 1,
    .epoll_fd = -1,
    .timer_fd = -1,
    .watched_fd = -1,
    .watched_of = -1,
};

static struct ctask_client *nobody_because(const struct ctask_error *why)
{
    pthread_mutex_lock(&nobody.lock);
    nobody.broken = *why;
    pthread_mutex_unlock(&nobody.lock);
    return &nobody;
}

static void at_exit(void)
{
    pthread_mutex_lock(&slot.lock);
    struct ctask_client *c = slot.own;
    pthread_mutex_unlock(&slot.lock);
    if (!c || client_forked(c)) return;
    size_t left = client_end(c);
    if (left > 0)
        fprintf(stderr, "ctask: at exit %zu task%s could not be handed over to the broker\n", left,
                left == 1 ? "" : "s");
}

static void before_fork(void)
{
    pthread_mutex_lock(&slot.lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&slot.lock);
}

static void after_fork_in_child(void)
{
    pthread_mutex_unlock(&slot.lock);
    pthread_mutex_init(&nobody.lock, NULL);
    if (slot.own) client_abandon(slot.own);
    slot.own = slot.set = NULL;
}

static void hooks_add(void)
{
    atexit(at_exit);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

struct ctask_client *ctask_default(void)
{
    struct ctask_error why;
    uncancelled_begin();
    pthread_mutex_lock(&slot.lock);
    struct ctask_client *c = slot.set;
    if (!c) {
        pthread_once(&hooks, hooks_add);
        if (!slot.own) slot.own = client_new(NULL, &why);
        c = slot.own ? slot.own : nobody_because(&why);
    }
    pthread_mutex_unlock(&slot.lock);
    uncancelled_end();
    return c;
}

void ctask_set_default(struct ctask_client *c)
{
    pthread_once(&hooks, hooks_add);
    pthread_mutex_lock(&slot.lock);
    slot.set = c;
    pthread_mutex_unlock(&slot.lock);
}

struct ctask_client *client_or_default(struct ctask_client *c)
{
    return c ? c : ctask_default();
}

void default_forget(const struct ctask_client *c)
{
    pthread_mutex_lock(&slot.lock);
    if (slot.set == c) slot.set = NULL;
    if (slot.own == c) slot.own = NULL;
    pthread_mutex_unlock(&slot.lock);
}
