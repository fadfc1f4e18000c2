/* ladder.c - see ladder.h. */
#include "amqp/ladder.h"
#include "amqp/refusal.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (15 * CLOCK_SECOND)
#define BELIEVED (10 * CLOCK_SECOND)

/* ---- What is wanted -------------------------------------------------------------------------- */

void ladder_init(struct ladder *l)
{
    *l = (struct ladder){0};
    list_init(&l->ties);
    list_init(&l->todo);
}

void ladder_done(struct ladder *l)
{
    struct tie *t;
    list_each(t, &l->ties, struct tie, link) {
        map_remove(&l->by_name, &t->node);
        free(t);
    }
    map_done(&l->by_name);
}

static struct tie *tie_of(struct ladder *l, const char *queue)
{
    struct map_node *known = map_find(&l->by_name, bytes_text(queue));
    if (known) return container_of(known, struct tie, node);
    size_t n = strlen(queue);
    struct tie *t = calloc(1, sizeof *t + n + 1);
    if (!t) return NULL;
    memcpy(t->name, queue, n + 1);
    t->node.key = bytes_of(t->name, n);
    if (!map_add(&l->by_name, &t->node)) {
        free(t);
        return NULL;
    }
    list_init(&t->todo);
    list_init(&t->waiting);
    list_append(&l->ties, &t->link);
    return t;
}

/* To be bound, if it is not under way already. */
static void tie_ask(struct ladder *l, struct tie *t)
{
    if (t == l->tie) return;
    list_remove(&t->todo);
    list_append(&l->todo, &t->todo);
}

static void tie_again(struct ladder *l, struct tie *t)
{
    t->known = t->refused = false;
    tie_ask(l, t);
}

struct tie *ladder_want(struct ladder *l, const char *queue, int64_t now)
{
    struct tie *t = tie_of(l, queue);
    if (!t) return NULL;
    l->needed = true;
    if (l->state == LADDER_REFUSED && now >= l->retry_at) l->state = LADDER_UNKNOWN;
    if (l->state == LADDER_KNOWN && now >= l->retry_at) l->stale = true;
    if (t->known && now >= t->retry_at)
        tie_ask(l, t);
    else if (!t->known && (!t->refused || now >= t->retry_at))
        tie_again(l, t);
    return t;
}

void ladder_forget(struct ladder *l, const char *queue)
{
    struct map_node *known = map_find(&l->by_name, bytes_text(queue));
    if (!known) return;
    struct tie *t = container_of(known, struct tie, node);
    t->retry_at = 0;
    if (t == l->tie) l->tie_anew = true;
    if (t->wanted) tie_ask(l, t);
}

enum ladder_verdict ladder_says(const struct ladder *l, const struct tie *t, const char **why)
{
    if (t->refused || l->state == LADDER_REFUSED) {
        *why = t->refused ? t->why : l->why;
        return (t->refused ? t->away : l->away) ? LADDER_AWAY : LADDER_NO;
    }
    return t->known && l->state == LADDER_KNOWN ? LADDER_READY : LADDER_WAIT;
}

void ladder_doubt(struct ladder *l, struct tie *t)
{
    if (l->state == LADDER_KNOWN) l->state = LADDER_MISSING;
    tie_again(l, t);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static bool wants_walk(const struct ladder *l)
{
    return l->needed && (l->state == LADDER_UNKNOWN || l->state == LADDER_ABSENT ||
                         l->state == LADDER_MISSING || l->stale);
}

bool ladder_pending(const struct ladder *l)
{
    return l->walk == WALK_NONE ? l->clear || wants_walk(l) || !list_empty(&l->todo) : !l->asked;
}

static void walk_begin(struct ladder *l, enum ladder_walk walk)
{
    l->walk = walk;
    l->step = 0;
    l->asked = false;
}

static void walk_choose(struct ladder *l)
{
    if (l->clear) {
        walk_begin(l, WALK_CLEAR);
        l->clear = false;
    } else if (wants_walk(l)) {
        l->clear = l->state == LADDER_ABSENT;
        if (l->clear) id_new(l->room);
        walk_begin(l, l->state == LADDER_ABSENT    ? WALK_ROOM
                      : l->state == LADDER_MISSING ? WALK_BUILD
                                                   : WALK_LOOK);
    } else if (!list_empty(&l->todo)) {
        l->tie = list_first(&l->todo, struct tie, todo);
        list_remove(&l->tie->todo);
        walk_begin(l, WALK_BIND);
    }
}

bool ladder_ask(struct ladder *l, struct buf *out, uint16_t channel, int64_t now)
{
    if (l->walk == WALK_NONE) walk_choose(l);
    if (l->walk == WALK_NONE || l->asked) return true;
    for (unsigned i = l->step; i < walk_length(l->walk); i++) {
        struct step s = walk_step(l->walk, i);
        if (!step_write(&s, l->tie ? l->tie->name : l->room, out, channel)) return false;
    }
    l->asked = true;
    l->deadline = now + ANSWER_LIMIT;
    return true;
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void walk_end(struct ladder *l)
{
    struct tie *t = l->tie;
    walk_begin(l, WALK_NONE);
    l->tie = NULL;
    if (t && l->tie_anew) ladder_forget(l, t->name);
    l->tie_anew = false;
}

static void tie_done(struct ladder *l, int64_t now)
{
    struct tie *t = l->tie;
    t->known = true;
    t->refused = t->missed = false;
    t->refusals = 0;
    t->retry_at = now + BELIEVED;
    walk_end(l);
}

static void walk_step_done(struct ladder *l, int64_t now)
{
    if (++l->step < walk_length(l->walk)) return;
    if (l->tie) {
        tie_done(l, now);
        return;
    }
    if (l->walk == WALK_ROOM) l->state = LADDER_MISSING;
    if (l->walk == WALK_ROOM || l->walk == WALK_CLEAR) {
        walk_end(l);
        return;
    }
    l->state = LADDER_KNOWN;
    l->stale = false;
    l->refusals = 0;
    l->retry_at = now + BELIEVED;
    walk_end(l);
}

const char *ladder_answer(struct ladder *l, amqp_method_number_t id, const void *method,
                          int64_t now)
{
    const amqp_queue_declare_ok_t *declared = method;
    if (l->walk == WALK_NONE || !l->asked) return "it answers what was not asked";
    struct step s = walk_step(l->walk, l->step);
    if (id != step_answer(&s)) return "it answers something else than was asked";
    if (step_counts_undelivered(&s)) l->undelivered = declared->message_count;
    l->deadline = now + ANSWER_LIMIT;
    walk_step_done(l, now);
    return NULL;
}

static void walk_refuse(struct ladder *l, bool away, struct bytes why, int64_t now)
{
    struct tie *t = l->tie;
    unsigned *refusals = t ? &t->refusals : &l->refusals;
    int64_t wait = refusal_wait(*refusals, away);
    ++*refusals;
    *(t ? &t->retry_at : &l->retry_at) = now + wait;
    *(t ? &t->away : &l->away) = away;
    snprintf(t ? t->why : l->why, sizeof l->why, "%.*s", BYTES_ARG(why));
    if (t) {
        t->known = t->missed = false;
        t->refused = true;
    } else {
        l->state = LADDER_REFUSED;
        l->stale = false;
    }
    walk_end(l);
}

/* The queue or what leads to it is gone. Both are looked at again, once. */
static struct tie *tie_missing(struct ladder *l)
{
    struct tie *t = l->tie;
    l->tie_anew = false; /* its owner forgets it when the queue is there */
    walk_end(l);
    t->known = false;
    t->missed = true;
    if (l->state == LADDER_KNOWN) l->state = LADDER_UNKNOWN;
    return t;
}

struct tie *ladder_closed(struct ladder *l, unsigned code, struct bytes text, int64_t now)
{
    if (l->walk == WALK_NONE || !l->asked) return NULL;
    struct step s = walk_step(l->walk, l->step);
    bool missing = code == AMQP_NOT_FOUND;
    l->asked = false;
    if (l->tie && missing && !l->tie->missed) return tie_missing(l);
    if (l->walk == WALK_LOOK && missing) {
        l->state = step_is_first(&s) ? LADDER_ABSENT : LADDER_MISSING;
        l->stale = false;
        walk_end(l);
    } else if (step_exists_otherwise(&s, code, text)) {
        walk_step_done(l, now);
    } else {
        walk_refuse(l, refused_for_now(code, text), text, now);
    }
    return NULL;
}

int64_t ladder_wake(const struct ladder *l)
{
    return l->walk != WALK_NONE && l->asked ? l->deadline : CLOCK_NEVER;
}

/* What is known is not refused because a look at it has no answer. A queue that may be a new one is
 * not taken for bound by that. */
static bool walk_believes(struct ladder *l, int64_t now)
{
    int64_t *retry_at = l->tie ? &l->tie->retry_at : &l->retry_at;
    if (l->tie ? !l->tie->known : l->state != LADDER_KNOWN) return false;
    if (*retry_at > 0) *retry_at = now + BELIEVED;
    l->stale = l->stale && l->tie;
    walk_end(l);
    return true;
}

void ladder_overdue(struct ladder *l, int64_t now)
{
    if (l->walk == WALK_NONE) walk_choose(l);
    if (l->walk == WALK_NONE || walk_believes(l, now)) return;
    walk_refuse(l, true, bytes_text("the broker does not answer for its delay queues"), now);
}

void ladder_wait_anew(struct ladder *l, int64_t now)
{
    l->deadline = now + ANSWER_LIMIT;
}

void ladder_reset(struct ladder *l)
{
    struct tie *t;
    walk_end(l);
    l->state = LADDER_UNKNOWN;
    l->needed = l->stale = l->clear = false;
    list_each(t, &l->ties, struct tie, link) {
        t->known = t->refused = t->missed = false;
        list_remove(&t->todo);
        if (!t->wanted) continue;
        list_append(&l->todo, &t->todo);
        l->needed = true;
    }
}
