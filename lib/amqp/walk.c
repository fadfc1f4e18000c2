/* walk.c - see walk.h. */
#include "amqp/walk.h"
#include "amqp/arguments.h"
#include "amqp/refusal.h"

#include <assert.h>
#include <stdio.h>

#define TOP (LADDER_LEVELS - 1)

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* The "levels" below level 0. */
enum { DELIVERY = -1, DUE = -2, UNROUTED = -3 };

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
    switch (level) {
    case DELIVERY: return "celery_delayed_delivery";
    case DUE: return EXCHANGE_DUE;
    case UNROUTED: return "ctask.due.unrouted";
    default: snprintf(out, LADDER_EXCHANGE_SIZE, "celery_delayed_%d", level); return out;
    }
}

static const char *level_queue(int level, char out[LADDER_EXCHANGE_SIZE])
{
    return level == UNROUTED ? QUEUE_UNDELIVERED : level_name(level, out);
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

/* ---- Which question is which ----------------------------------------------------------------- */

static const struct step look_below[] = {{STEP_EXCHANGE, DELIVERY, true},
                                         {STEP_EXCHANGE, DUE, true},
                                         {STEP_EXCHANGE, UNROUTED, true},
                                         {STEP_QUEUE, UNROUTED, true}};
static const struct step look_level[] = {{STEP_QUEUE, 0, true}, {STEP_EXCHANGE, 0, true}};
static const struct step build_below[] = {{STEP_EXCHANGE, UNROUTED, false},
                                          {STEP_QUEUE, UNROUTED, false},
                                          {STEP_BIND_QUEUE, UNROUTED, false},
                                          {STEP_EXCHANGE, DUE, false},
                                          {STEP_EXCHANGE, DELIVERY, false}};
static const struct step build_level[] = {{STEP_QUEUE, 0, false},
                                          {STEP_EXCHANGE, 0, false},
                                          {STEP_BIND_QUEUE, 0, false},
                                          {STEP_BIND_EXCHANGE, 0, false}};
static const struct step room_below[] = {{STEP_ROOM, UNROUTED, false}};
static const struct step room_level[] = {{STEP_ROOM, 0, false}};
static const struct step clear_below[] = {{STEP_CLEAR, UNROUTED, false}};
static const struct step clear_level[] = {{STEP_CLEAR, 0, false}};
/* The queue's binding first: ctask.due without it gives messages to ctask.undelivered. */
static const struct step bind[] = {{STEP_TIE, DUE, false}, {STEP_LEAD, DUE, false}};

static const struct {
    const struct step *below, *level, *end;
    unsigned below_count, level_count, end_count;
} walks[] = {
    [WALK_LOOK] = {look_below, look_level, NULL, COUNT(look_below), COUNT(look_level), 0},
    [WALK_ROOM] = {room_below, room_level, NULL, COUNT(room_below), COUNT(room_level), 0},
    [WALK_CLEAR] = {clear_below, clear_level, NULL, COUNT(clear_below), COUNT(clear_level), 0},
    [WALK_BUILD] = {build_below, build_level, NULL, COUNT(build_below), COUNT(build_level), 0},
    [WALK_BIND] = {NULL, NULL, bind, 0, 0, COUNT(bind)},
};

unsigned walk_length(enum ladder_walk walk)
{
    return walks[walk].below_count + walks[walk].level_count * LADDER_LEVELS +
           walks[walk].end_count;
}

struct step walk_step(enum ladder_walk walk, unsigned i)
{
    if (i < walks[walk].below_count) return walks[walk].below[i];
    i -= walks[walk].below_count;
    unsigned each = walks[walk].level_count;
    if (i >= each * LADDER_LEVELS) return walks[walk].end[i - each * LADDER_LEVELS];
    struct step s = walks[walk].level[i % each];
    s.level = (int)(i / each);
    return s;
}

/* ---- Writing them ---------------------------------------------------------------------------- */

static bool exchange_write(const struct step *s, struct buf *out, uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE], other[LADDER_EXCHANGE_SIZE];
    amqp_table_entry_t else_to = argument_text("alternate-exchange", level_name(UNROUTED, other));
    amqp_exchange_declare_t declare = {.exchange = amqp_text(level_name(s->level, name)),
                                       .type = amqp_text(s->level == UNROUTED ? "fanout" : "topic"),
                                       .passive = s->passive,
                                       .durable = 1};
    if (s->level == DUE && !s->passive) declare.arguments = (amqp_table_t){1, &else_to};
    return frame_method(out, channel, AMQP_EXCHANGE_DECLARE_METHOD, &declare);
}

static bool queue_declare(int level, bool passive, int count, amqp_table_entry_t *arguments,
                          struct buf *out, uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE];
    amqp_queue_declare_t declare = {
        .queue = amqp_text(level_queue(level, name)), .passive = passive, .durable = 1};
    if (!passive) declare.arguments = (amqp_table_t){count, arguments};
    return frame_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

static bool undelivered_write(const struct step *s, struct buf *out, uint16_t channel)
{
    amqp_table_entry_t arguments[] = {
        argument_text("x-queue-type", "quorum"),
        argument_number("x-delivery-limit", DELIVERY_LIMIT),
    };
    return queue_declare(s->level, s->passive, COUNT(arguments), arguments, out, channel);
}

static bool level_write(const struct step *s, struct buf *out, uint16_t channel)
{
    char below[LADDER_EXCHANGE_SIZE];
    assert(s->level >= 0);
    amqp_table_entry_t arguments[] = {
        argument_text("x-queue-type", "quorum"),
        argument_text("x-overflow", "reject-publish"), /* else there is no at-least-once */
        argument_text("x-dead-letter-strategy", "at-least-once"),
        argument_text("x-dead-letter-exchange", level_name(s->level - 1, below)),
        argument_number("x-message-ttl", (INT64_C(1) << s->level) * 1000),
    };
    return queue_declare(s->level, s->passive, COUNT(arguments), arguments, out, channel);
}

static const char *room_name(const char *id, int level, char out[NAME_MAX_BYTES + 1])
{
    snprintf(out, NAME_MAX_BYTES + 1, "celery_delayed_room_%s_%d", id, level - UNROUTED);
    return out;
}

/* They go with their connection if they are not deleted. */
static bool room_write(const char *id, int level, struct buf *out, uint16_t channel)
{
    char name[NAME_MAX_BYTES + 1];
    amqp_table_entry_t type = argument_text("x-queue-type", "classic");
    amqp_queue_declare_t declare = {
        .queue = amqp_text(room_name(id, level, name)), .exclusive = 1, .arguments = {1, &type}};
    return frame_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

static bool clear_write(const char *id, int level, struct buf *out, uint16_t channel)
{
    char name[NAME_MAX_BYTES + 1];
    amqp_queue_delete_t delete = {.queue = amqp_text(room_name(id, level, name))};
    return frame_method(out, channel, AMQP_QUEUE_DELETE_METHOD, &delete);
}

static bool queue_bind_write(const char *queue, int from, const char *key, struct buf *out,
                             uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE];
    amqp_queue_bind_t bind = {.queue = amqp_text(queue),
                              .exchange = amqp_text(level_name(from, name)),
                              .routing_key = amqp_text(key)};
    return frame_method(out, channel, AMQP_QUEUE_BIND_METHOD, &bind);
}

static bool exchange_bind_write(int to, int from, const char *key, struct buf *out,
                                uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE], source[LADDER_EXCHANGE_SIZE];
    amqp_exchange_bind_t bind = {.destination = amqp_text(level_name(to, name)),
                                 .source = amqp_text(level_name(from, source)),
                                 .routing_key = amqp_text(key)};
    return frame_method(out, channel, AMQP_EXCHANGE_BIND_METHOD, &bind);
}

bool step_write(const struct step *s, const char *of, struct buf *out, uint16_t channel)
{
    char name[LADDER_EXCHANGE_SIZE], key[NAME_MAX_BYTES + 1];
    switch (s->what) {
    case STEP_EXCHANGE: return exchange_write(s, out, channel);
    case STEP_QUEUE:
        return s->level == UNROUTED ? undelivered_write(s, out, channel)
                                    : level_write(s, out, channel);
    case STEP_BIND_QUEUE:
        return queue_bind_write(level_queue(s->level, name), s->level,
                                s->level < 0 ? "" : level_key(s->level, "1.#", key), out, channel);
    case STEP_BIND_EXCHANGE:
        return exchange_bind_write(s->level - 1, s->level, level_key(s->level, "0.#", key), out,
                                   channel);
    case STEP_TIE: return queue_bind_write(of, DUE, level_key(DELIVERY, of, key), out, channel);
    case STEP_LEAD:
        return exchange_bind_write(DUE, DELIVERY, level_key(DELIVERY, of, key), out, channel);
    case STEP_ROOM: return room_write(of, s->level, out, channel);
    case STEP_CLEAR: return clear_write(of, s->level, out, channel);
    }
    return false;
}

amqp_method_number_t step_answer(const struct step *s)
{
    static const amqp_method_number_t answers[] = {
        [STEP_EXCHANGE] = AMQP_EXCHANGE_DECLARE_OK_METHOD,
        [STEP_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [STEP_BIND_QUEUE] = AMQP_QUEUE_BIND_OK_METHOD,
        [STEP_BIND_EXCHANGE] = AMQP_EXCHANGE_BIND_OK_METHOD,
        [STEP_TIE] = AMQP_QUEUE_BIND_OK_METHOD,
        [STEP_LEAD] = AMQP_EXCHANGE_BIND_OK_METHOD,
        [STEP_ROOM] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [STEP_CLEAR] = AMQP_QUEUE_DELETE_OK_METHOD,
    };
    return answers[s->what];
}

bool step_exists_otherwise(const struct step *s, unsigned code, struct bytes text)
{
    return s->what == STEP_QUEUE && refused_as_inequivalent(code, text);
}

bool step_is_first(const struct step *s)
{
    return s->level == DELIVERY || s->level == 0;
}

bool step_counts_undelivered(const struct step *s)
{
    return s->what == STEP_QUEUE && s->level == UNROUTED;
}
