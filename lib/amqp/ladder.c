/* ladder.c - see ladder.h. */
#include "amqp/ladder.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (15 * CLOCK_SECOND)

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
static void tie_again(struct ladder *l, struct tie *t)
{
    t->known = t->refused = false;
    if (t == l->tie) return;
    list_remove(&t->todo);
    list_append(&l->todo, &t->todo);
}

struct tie *ladder_want(struct ladder *l, const char *queue, bool all, int64_t now)
{
    struct tie *t = tie_of(l, queue);
    if (!t) return NULL;
    if (all) l->needed = true;
    if (l->state == LADDER_REFUSED && now >= l->retry_at) l->state = LADDER_UNKNOWN;
    if (!t->known && (!t->refused || now >= t->retry_at)) tie_again(l, t);
    return t;
}

enum ladder_verdict ladder_says(const struct ladder *l, const struct tie *t, const char **why)
{
    if (t->refused || l->state == LADDER_REFUSED) {
        *why = t->refused ? t->why : l->why;
        return LADDER_NO;
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
    return l->needed && (l->state == LADDER_UNKNOWN || l->state == LADDER_MISSING);
}

bool ladder_pending(const struct ladder *l)
{
    return l->walk == WALK_NONE ? wants_walk(l) || !list_empty(&l->todo) : !l->asked;
}

static void walk_begin(struct ladder *l, enum ladder_walk walk)
{
    l->walk = walk;
    l->step = 0;
    l->asked = false;
}

static void walk_choose(struct ladder *l)
{
    if (wants_walk(l)) {
        walk_begin(l, l->state == LADDER_UNKNOWN ? WALK_LOOK : WALK_BUILD);
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
        if (!step_write(&s, l->tie ? l->tie->name : NULL, out, channel)) return false;
    }
    l->asked = true;
    l->deadline = now + ANSWER_LIMIT;
    return true;
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void walk_end(struct ladder *l)
{
    walk_begin(l, WALK_NONE);
    l->tie = NULL;
}

static void walk_step_done(struct ladder *l)
{
    if (++l->step < walk_length(l->walk)) return;
    if (l->tie) {
        l->tie->known = true;
        l->tie->refusals = 0;
    } else {
        l->state = LADDER_KNOWN;
        l->refusals = 0;
    }
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
    walk_step_done(l);
    return NULL;
}

static void walk_refuse(struct ladder *l, struct bytes why, int64_t now)
{
    struct tie *t = l->tie;
    unsigned *refusals = t ? &t->refusals : &l->refusals;
    int64_t wait = CLOCK_SECOND << (*refusals < 5 ? *refusals : 5);
    if (wait > 30 * CLOCK_SECOND) wait = 30 * CLOCK_SECOND;
    ++*refusals;
    *(t ? &t->retry_at : &l->retry_at) = now + wait;
    snprintf(t ? t->why : l->why, sizeof l->why, "%.*s", BYTES_ARG(why));
    if (t)
        t->refused = true;
    else
        l->state = LADDER_REFUSED;
    walk_end(l);
}

void ladder_closed(struct ladder *l, unsigned code, struct bytes text, int64_t now)
{
    if (l->walk == WALK_NONE || !l->asked) return;
    struct step s = walk_step(l->walk, l->step);
    bool missing = code == AMQP_NOT_FOUND;
    l->asked = false;
    if (l->walk == WALK_LOOK && missing) {
        l->state = LADDER_MISSING;
        walk_end(l);
    } else if (l->walk == WALK_BIND && missing) {
        walk_begin(l, WALK_BIND_ANEW);
    } else if (step_takes_what_exists(&s) && code == AMQP_PRECONDITION_FAILED) {
        walk_step_done(l);
    } else {
        walk_refuse(l, text, now);
    }
}

int64_t ladder_wake(const struct ladder *l)
{
    return l->walk != WALK_NONE && l->asked ? l->deadline : CLOCK_NEVER;
}

void ladder_overdue(struct ladder *l, int64_t now)
{
    if (l->walk == WALK_NONE) walk_choose(l);
    if (l->walk == WALK_NONE) return;
    walk_refuse(l, bytes_text("the broker does not answer for its delay queues"), now);
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
    l->needed = false;
    list_each(t, &l->ties, struct tie, link) {
        t->known = t->refused = false;
        list_remove(&t->todo);
        if (t->wanted) list_append(&l->todo, &t->todo);
    }
}
