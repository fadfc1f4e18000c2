/* ladder.c - see ladder.h. */
#include "amqp/ladder.h"
#include "amqp/arguments.h"
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_LIMIT (15 * CLOCK_SECOND)
#define DELIVERY "celery_delayed_delivery"
#define TOP (LADDER_LEVELS - 1)
#define FOOT (-1) /* the "level" of celery_delayed_delivery */
#define LEVEL_KEY_SIZE (2 * LADDER_LEVELS + 4)

/* ---- Names and keys -------------------------------------------------------------------------- */

const char *ladder_unfit(const char *queue)
{
    size_t n = strlen(queue);
    if (n == 0) return "its name is empty";
    if (n > LADDER_NAME_MAX) return "its name is over 199 bytes";
    for (const char *word = queue;;) {
        size_t length = strcspn(word, ".");
        if (length == 1 && (*word == '*' || *word == '#'))
            return "its name has a word * or #, which stands for any other";
        if (!word[length]) return NULL;
        word += length + 1;
    }
}

const char *ladder_key(uint32_t seconds, const char *queue, char out[NAME_MAX_BYTES + 1])
{
    char *at = out;
    for (int level = TOP; level >= 0; level--) {
        *at++ = seconds >> level & 1 ? '1' : '0';
        *at++ = '.';
    }
    memcpy(at, queue, strlen(queue) + 1);
    return out;
}

static const char *level_name(int level, char out[LADDER_EXCHANGE_SIZE])
{
    if (level == FOOT) return DELIVERY;
    snprintf(out, LADDER_EXCHANGE_SIZE, "celery_delayed_%d", level);
    return out;
}

const char *ladder_entry(uint32_t seconds, char out[LADDER_EXCHANGE_SIZE])
{
    int level = TOP;
    while (level > 0 && !(seconds >> level & 1)) level--;
    return level_name(level, out);
}

/* "*." for each bit above, then `end`. */
static const char *level_key(int level, const char *end, char *out)
{
    char *at = out;
    for (int above = TOP; above > level; above--) {
        *at++ = '*';
        *at++ = '.';
    }
    memcpy(at, end, strlen(end) + 1);
    return out;
}

/* ---- Steps: what a walk asks, one after the other -------------------------------------------- */

struct step {
    enum { STEP_EXCHANGE, STEP_QUEUE, STEP_BIND_QUEUE, STEP_BIND_EXCHANGE, STEP_BIND_TIE } what;
    int level;
    bool passive;
};

static unsigned walk_length(enum ladder_walk walk)
{
    switch (walk) {
    case WALK_NONE: break;
    case WALK_LOOK: return 1 + 2 * LADDER_LEVELS;
    case WALK_BUILD: return 1 + 4 * LADDER_LEVELS;
    case WALK_BIND: return 1;
    case WALK_BIND_ANEW: return 2;
    }
    return 0;
}

/* From the bottom up, so that what leads to a level exists only when the level does. */
static struct step walk_step(enum ladder_walk walk, unsigned i)
{
    unsigned each = walk == WALK_LOOK ? 2 : 4;
    bool last = i + 1 == walk_length(walk);
    if ((walk == WALK_BIND || walk == WALK_BIND_ANEW) && last)
        return (struct step){.what = STEP_BIND_TIE};
    if (i == 0) return (struct step){STEP_EXCHANGE, FOOT, walk == WALK_LOOK};
    static const int parts[] = {STEP_QUEUE, STEP_EXCHANGE, STEP_BIND_QUEUE, STEP_BIND_EXCHANGE};
    struct step s = {.level = (int)((i - 1) / each), .passive = walk == WALK_LOOK};
    s.what = parts[(i - 1) % each];
    return s;
}

static bool queue_write(const struct step *s, struct buf *out, uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE], below[LADDER_EXCHANGE_SIZE];
    assert(s->level > FOOT); /* which has no queue */
    amqp_table_entry_t arguments[] = {
        argument_text("x-queue-type", "quorum"),
        argument_text("x-overflow", "reject-publish"), /* else there is no at-least-once */
        argument_text("x-dead-letter-strategy", "at-least-once"),
        argument_text("x-dead-letter-exchange", level_name(s->level - 1, below)),
        argument_number("x-message-ttl", (INT64_C(1) << s->level) * 1000),
    };
    amqp_queue_declare_t declare = {
        .queue = amqp_text(level_name(s->level, name)), .passive = s->passive, .durable = 1};
    if (!s->passive)
        declare.arguments = (amqp_table_t){sizeof arguments / sizeof arguments[0], arguments};
    return frame_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

static bool tie_write(const struct tie *t, struct buf *out, uint16_t channel)
{
    char key[NAME_MAX_BYTES + 1];
    amqp_queue_bind_t bind = {.queue = amqp_text(t->name),
                              .exchange = amqp_text(DELIVERY),
                              .routing_key = amqp_text(level_key(FOOT, t->name, key))};
    return frame_method(out, channel, AMQP_QUEUE_BIND_METHOD, &bind);
}

static bool step_write(const struct ladder *l, const struct step *s, struct buf *out,
                       uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE], below[LADDER_EXCHANGE_SIZE], key[LEVEL_KEY_SIZE];
    amqp_bytes_t level = amqp_text(level_name(s->level, name));
    amqp_exchange_declare_t exchange = {
        .exchange = level, .type = amqp_text("topic"), .passive = s->passive, .durable = 1};
    switch (s->what) {
    case STEP_EXCHANGE: return frame_method(out, channel, AMQP_EXCHANGE_DECLARE_METHOD, &exchange);
    case STEP_QUEUE: return queue_write(s, out, channel);
    case STEP_BIND_QUEUE: {
        amqp_queue_bind_t bind = {.queue = level,
                                  .exchange = level,
                                  .routing_key = amqp_text(level_key(s->level, "1.#", key))};
        return frame_method(out, channel, AMQP_QUEUE_BIND_METHOD, &bind);
    }
    case STEP_BIND_EXCHANGE: {
        amqp_exchange_bind_t bind = {.destination = amqp_text(level_name(s->level - 1, below)),
                                     .source = level,
                                     .routing_key = amqp_text(level_key(s->level, "0.#", key))};
        return frame_method(out, channel, AMQP_EXCHANGE_BIND_METHOD, &bind);
    }
    case STEP_BIND_TIE: return tie_write(l->tie, out, channel);
    }
    return false;
}

static amqp_method_number_t step_answer(const struct step *s)
{
    static const amqp_method_number_t answers[] = {
        [STEP_EXCHANGE] = AMQP_EXCHANGE_DECLARE_OK_METHOD,
        [STEP_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [STEP_BIND_QUEUE] = AMQP_QUEUE_BIND_OK_METHOD,
        [STEP_BIND_EXCHANGE] = AMQP_EXCHANGE_BIND_OK_METHOD,
        [STEP_BIND_TIE] = AMQP_QUEUE_BIND_OK_METHOD,
    };
    return answers[s->what];
}

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
        if (!step_write(l, &s, out, channel)) return false;
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

const char *ladder_answer(struct ladder *l, amqp_method_number_t id, int64_t now)
{
    if (l->walk == WALK_NONE || !l->asked) return "it answers what was not asked";
    struct step s = walk_step(l->walk, l->step);
    if (id != step_answer(&s)) return "it answers something else than was asked";
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
    } else if (l->walk == WALK_BUILD && s.what == STEP_QUEUE && code == AMQP_PRECONDITION_FAILED) {
        walk_step_done(l); /* it exists, of another type: used as it is */
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
