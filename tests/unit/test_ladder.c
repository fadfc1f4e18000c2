/* test_ladder.c - the keys and names of the delay queues; that they are looked at before they are
 * declared, declared from the bottom up as Celery does, and used as found otherwise. */
#include "amqp/ladder.h"
#include "base/clock.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define T0 (1000 * CLOCK_SECOND)
#define CHANNEL 256
#define LOOK (4 + 2 * LADDER_LEVELS)
#define BUILD (5 + 4 * LADDER_LEVELS)
#define BIND 2
#define ROOM (1 + LADDER_LEVELS)
#define UNDELIVERED 7 /* messages */
#define STARS "*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*."

static struct ladder l;
static struct buf out;
static amqp_pool_t pool;
static char questions[128][512]; /* of the last ask() */
static amqp_method_number_t ids[128];
static unsigned count;

static void setup(void)
{
    ladder_init(&l);
    out = (struct buf){0};
    init_amqp_pool(&pool, 512);
}

static void teardown(void)
{
    ladder_done(&l);
    buf_done(&out);
    empty_amqp_pool(&pool);
}

/* ---- What was asked, as text ----------------------------------------------------------------- */

static void say_arguments(const amqp_table_t *t, char *to, size_t room)
{
    for (int i = 0; i < t->num_entries; i++) {
        const amqp_table_entry_t *e = &t->entries[i];
        size_t n = strlen(to);
        if (e->value.kind == AMQP_FIELD_KIND_I64)
            snprintf(to + n, room - n, " %.*s=%lld", BYTES_ARG(bytes_amqp(e->key)),
                     (long long)e->value.value.i64);
        else
            snprintf(to + n, room - n, " %.*s=%.*s", BYTES_ARG(bytes_amqp(e->key)),
                     BYTES_ARG(bytes_amqp(e->value.value.bytes)));
    }
}

static void say(amqp_method_number_t id, const void *m, char *to, size_t room)
{
    const amqp_queue_declare_t *queue = m;
    const amqp_exchange_declare_t *exchange = m;
    const amqp_queue_bind_t *bind = m;
    const amqp_exchange_bind_t *chain = m;
    switch (id) {
    case AMQP_QUEUE_DECLARE_METHOD:
        ck_assert(queue->passive || (queue->durable != queue->exclusive && !queue->auto_delete));
        snprintf(to, room, "%s %.*s",
                 queue->passive     ? "look queue"
                 : queue->exclusive ? "exclusive queue"
                                    : "queue",
                 BYTES_ARG(bytes_amqp(queue->queue)));
        say_arguments(&queue->arguments, to, room);
        break;
    case AMQP_EXCHANGE_DECLARE_METHOD:
        ck_assert(exchange->durable && !exchange->auto_delete && !exchange->internal);
        snprintf(to, room, "%s %.*s",
                 exchange->passive                               ? "look exchange"
                 : bytes_is(bytes_amqp(exchange->type), "topic") ? "exchange"
                                                                 : "fanout exchange",
                 BYTES_ARG(bytes_amqp(exchange->exchange)));
        say_arguments(&exchange->arguments, to, room);
        break;
    case AMQP_QUEUE_BIND_METHOD:
        snprintf(to, room, "%.*s <- %.*s %.*s", BYTES_ARG(bytes_amqp(bind->queue)),
                 BYTES_ARG(bytes_amqp(bind->exchange)), BYTES_ARG(bytes_amqp(bind->routing_key)));
        break;
    case AMQP_EXCHANGE_BIND_METHOD:
        snprintf(to, room, "%.*s <= %.*s %.*s", BYTES_ARG(bytes_amqp(chain->destination)),
                 BYTES_ARG(bytes_amqp(chain->source)), BYTES_ARG(bytes_amqp(chain->routing_key)));
        break;
    case AMQP_QUEUE_DELETE_METHOD:
        snprintf(to, room, "delete %.*s", BYTES_ARG(bytes_amqp(((amqp_queue_delete_t *)m)->queue)));
        break;
    default: ck_abort_msg("unexpected method %x", id);
    }
}

/* Fills `questions`; returns how many. */
static unsigned ask(int64_t now)
{
    struct frame f;
    long n;
    count = 0;
    ck_assert(ladder_ask(&l, &out, CHANNEL, now));
    while ((n = frame_next(buf_bytes(&out), FRAME_MAX, &f)) > 0) {
        void *m = NULL;
        const uint8_t *p = f.payload.p;
        ck_assert_int_eq(f.channel, CHANNEL);
        recycle_amqp_pool(&pool);
        ids[count] = (amqp_method_number_t)p[1] << 16 | p[3];
        amqp_bytes_t args = {f.payload.n - 4, (void *)(uintptr_t)(p + 4)};
        ck_assert_int_ge(amqp_decode_method(ids[count], &pool, args, &m), 0);
        say(ids[count], m, questions[count], sizeof questions[count]);
        count++;
        buf_consume(&out, (size_t)n);
    }
    return count;
}

/* Answers the questions [from, to) of the last ask() with what they hope for. */
static void yes(unsigned from, unsigned to)
{
    amqp_queue_declare_ok_t declared = {.message_count = UNDELIVERED};
    for (unsigned i = from; i < to; i++) /* declare 10, its ok 11 and so on */
        ck_assert_ptr_null(ladder_answer(&l, ids[i] | 1, &declared, T0));
}

static enum ladder_verdict says(const struct tie *t)
{
    const char *why = NULL;
    enum ladder_verdict v = ladder_says(&l, t, &why);
    if (v == LADDER_NO || v == LADDER_AWAY) ck_assert_str_ne(why, "");
    return v;
}

static struct tie *closed(unsigned code, const char *text)
{
    return ladder_closed(&l, code, bytes_text(text), T0);
}

/* ---- Keys and names -------------------------------------------------------------------------- */

START_TEST(a_key_counts_seconds_in_28_bits)
{
    char key[NAME_MAX_BYTES + 1], name[LADDER_NAME_MAX + 2];
    /* As Celery's own declaration and publish were captured. */
    ck_assert_str_eq(ladder_key(10, "celery", key),
                     "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.1.0.celery");
    char entry[LADDER_EXCHANGE_SIZE];
    ck_assert_str_eq(ladder_entry(10, entry), "celery_delayed_3");
    ck_assert_str_eq(ladder_entry(1, entry), "celery_delayed_0");
    ck_assert_str_eq(ladder_entry(LADDER_DELAY_MAX, entry), "celery_delayed_27");
    ck_assert_str_eq(ladder_key(LADDER_DELAY_MAX, "a.b", key),
                     "1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.a.b");
    memset(name, 'n', sizeof name);
    name[LADDER_NAME_MAX] = '\0';
    ck_assert_ptr_null(ladder_unfit(name));
    ck_assert_uint_eq(strlen(ladder_key(1, name, key)), NAME_MAX_BYTES);
    name[LADDER_NAME_MAX] = 'n';
    name[LADDER_NAME_MAX + 1] = '\0';
    ck_assert_ptr_nonnull(strstr(ladder_unfit(name), "199 bytes"));
}
END_TEST

START_TEST(a_name_that_means_others_too_is_unfit)
{
    static const char *const bad[] = {"", "*", "#", "a.#", "*.b", "a.*.c"};
    static const char *const good[] = {"ctask", "a*", "#1.b", "a..b", ".", "a.b.c", "**.##"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_ptr_nonnull(ladder_unfit(bad[i]));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_ptr_null(ladder_unfit(good[i]));
}
END_TEST

/* ---- The walks ------------------------------------------------------------------------------- */

START_TEST(a_ladder_that_exists_is_used_as_it_is)
{
    struct tie *t = ladder_want(&l, "q", T0);
    ck_assert(ladder_pending(&l));
    ck_assert_uint_eq(ask(T0), LOOK);
    ck_assert_str_eq(questions[0], "look exchange celery_delayed_delivery");
    ck_assert_str_eq(questions[1], "look exchange ctask.due");
    ck_assert_str_eq(questions[2], "look exchange ctask.due.unrouted");
    ck_assert_str_eq(questions[3], "look queue ctask.undelivered");
    ck_assert_str_eq(questions[4], "look queue celery_delayed_0");
    ck_assert_str_eq(questions[LOOK - 1], "look exchange celery_delayed_27");
    ck_assert(!ladder_pending(&l));
    ck_assert_uint_eq(ask(T0), 0);
    yes(0, LOOK);
    ck_assert_uint_eq(l.undelivered, UNDELIVERED);
    ck_assert_int_eq(says(t), LADDER_WAIT); /* not bound yet */
    ck_assert_uint_eq(ask(T0), BIND);
    ck_assert_str_eq(questions[0], "q <- ctask.due " STARS "q");
    ck_assert_str_eq(questions[1], "ctask.due <= celery_delayed_delivery " STARS "q");
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
    ck_assert(!ladder_pending(&l));
    ck_assert_ptr_eq(ladder_want(&l, "q", T0), t); /* it is believed */
    ck_assert(!ladder_pending(&l));
}
END_TEST

/* Looks at it, and what that question is about is not there. */
static struct tie *looked(unsigned from)
{
    struct tie *t = ladder_want(&l, "q", T0);
    ck_assert_uint_eq(ask(T0), LOOK);
    yes(0, from);
    closed(AMQP_NOT_FOUND, "NOT_FOUND");
    return t;
}

static struct tie *missing(unsigned from)
{
    struct tie *t = looked(from);
    if (from == 0 || from == 4) { /* there is none: it is looked for room */
        ck_assert_uint_eq(ask(T0), ROOM);
        yes(0, ROOM);
        ck_assert_uint_eq(ask(T0), ROOM);
        yes(0, ROOM);
    }
    ck_assert_uint_eq(ask(T0), BUILD);
    return t;
}

START_TEST(one_that_has_no_room_is_not_begun)
{
    const char *why = NULL;
    char expected[200];
    struct tie *t = looked(4);
    ck_assert_uint_eq(ask(T0), ROOM);
    snprintf(expected, sizeof expected,
             "exclusive queue celery_delayed_room_%s_0 x-queue-type=classic", l.room);
    ck_assert_str_eq(questions[0], expected);
    yes(0, 5);
    closed(AMQP_PRECONDITION_FAILED, "PRECONDITION_FAILED - queue limit in vhost is reached");
    ck_assert_int_eq(ladder_says(&l, t, &why), LADDER_NO);
    ck_assert_str_eq(why, "PRECONDITION_FAILED - queue limit in vhost is reached");
    ck_assert_uint_eq(ask(T0), ROOM);
    snprintf(expected, sizeof expected, "delete celery_delayed_room_%s_0", l.room);
    ck_assert_str_eq(questions[0], expected);
    yes(0, ROOM);
    ck_assert_uint_eq(ask(T0), BIND); /* of q, which no longer matters */
    yes(0, BIND);
    ck_assert(!ladder_pending(&l));
    ladder_want(&l, "q", T0 + CLOCK_SECOND);
    ck_assert_uint_eq(ask(T0), LOOK);
}
END_TEST

START_TEST(two_who_look_for_room_do_not_count_the_same_queues)
{
    char first[sizeof questions[0]];
    looked(4);
    ask(T0);
    memcpy(first, questions[0], sizeof first);
    teardown();
    setup();
    looked(4);
    ck_assert_uint_eq(ask(T0), ROOM);
    ck_assert_str_ne(questions[0], first);
}
END_TEST

START_TEST(what_it_took_to_see_that_is_deleted_without_an_answer_too)
{
    struct tie *t = looked(0);
    ask(T0);
    ladder_overdue(&l, ladder_wake(&l));
    ck_assert_int_eq(says(t), LADDER_AWAY);
    ck_assert_uint_eq(ask(T0), ROOM);
    do ladder_overdue(&l, T0);
    while (ladder_pending(&l));
}
END_TEST

START_TEST(a_missing_one_is_declared_from_the_bottom_up_as_celery_does)
{
    struct tie *t = missing(0);
    ck_assert_str_eq(questions[0], "fanout exchange ctask.due.unrouted");
    ck_assert_str_eq(questions[1],
                     "queue ctask.undelivered x-queue-type=quorum x-delivery-limit=1000000000");
    ck_assert_str_eq(questions[2], "ctask.undelivered <- ctask.due.unrouted ");
    ck_assert_str_eq(questions[3], "exchange ctask.due alternate-exchange=ctask.due.unrouted");
    ck_assert_str_eq(questions[4], "exchange celery_delayed_delivery");
    ck_assert_str_eq(questions[5], "queue celery_delayed_0 x-queue-type=quorum "
                                   "x-overflow=reject-publish x-dead-letter-strategy=at-least-once "
                                   "x-dead-letter-exchange=celery_delayed_delivery "
                                   "x-message-ttl=1000");
    ck_assert_str_eq(questions[6], "exchange celery_delayed_0");
    ck_assert_str_eq(questions[7], "celery_delayed_0 <- celery_delayed_0 "
                                   "*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.1.#");
    ck_assert_str_eq(questions[8], "celery_delayed_delivery <= celery_delayed_0 "
                                   "*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.0.#");
    ck_assert_str_eq(questions[BUILD - 4],
                     "queue celery_delayed_27 x-queue-type=quorum "
                     "x-overflow=reject-publish x-dead-letter-strategy=at-least-once "
                     "x-dead-letter-exchange=celery_delayed_26 x-message-ttl=134217728000");
    ck_assert_str_eq(questions[BUILD - 3], "exchange celery_delayed_27");
    ck_assert_str_eq(questions[BUILD - 2], "celery_delayed_27 <- celery_delayed_27 1.#");
    ck_assert_str_eq(questions[BUILD - 1], "celery_delayed_26 <= celery_delayed_27 0.#");
    yes(0, BUILD);
    ck_assert_uint_eq(ask(T0), BIND);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
}
END_TEST

START_TEST(levels_of_another_type_are_used_in_a_ladder_with_gaps)
{
    struct tie *t = missing(20);
    yes(0, 5);
    closed(AMQP_PRECONDITION_FAILED, "inequivalent arg 'x-queue-type'");
    ck_assert_uint_eq(ask(T0), BUILD - 6); /* what has an answer is not asked again */
    ck_assert_str_eq(questions[0], "exchange celery_delayed_0");
    yes(0, BUILD - 6);
    ask(T0);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
}
END_TEST

START_TEST(a_refusal_has_the_brokers_words_and_is_tried_again_by_the_next)
{
    const char *why = NULL;
    struct tie *t = missing(0);
    closed(AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - not yours");
    ck_assert_int_eq(ladder_says(&l, t, &why), LADDER_NO);
    ck_assert_str_eq(why, "ACCESS_REFUSED - not yours");
    ask(T0); /* its binding, which no longer matters */
    yes(0, count);
    ladder_want(&l, "q", T0 + CLOCK_SECOND / 2);
    ck_assert(!ladder_pending(&l));
    ck_assert_int_eq(says(t), LADDER_NO);
    ladder_want(&l, "q", T0 + CLOCK_SECOND);
    ck_assert(ladder_pending(&l));
    ck_assert_int_eq(says(t), LADDER_WAIT);
    ck_assert_uint_eq(ask(T0), LOOK);
}
END_TEST

START_TEST(a_limit_of_queues_refuses_the_ladder_with_its_words)
{
    const char *why = NULL;
    struct tie *t = missing(0);
    yes(0, 5);
    closed(AMQP_PRECONDITION_FAILED, "PRECONDITION_FAILED - queue limit in vhost is reached");
    ck_assert_int_eq(ladder_says(&l, t, &why), LADDER_NO);
    ck_assert_str_eq(why, "PRECONDITION_FAILED - queue limit in vhost is reached");
}
END_TEST

START_TEST(an_exchange_of_another_type_refuses_the_ladder)
{
    struct tie *t = missing(0);
    closed(AMQP_PRECONDITION_FAILED, "inequivalent arg 'type'");
    ck_assert_int_eq(says(t), LADDER_NO);
}
END_TEST

START_TEST(a_binding_that_is_refused_is_its_queues_own)
{
    struct tie *a = ladder_want(&l, "a", T0), *b = ladder_want(&l, "b", T0);
    ask(T0);
    yes(0, LOOK);
    ask(T0);
    closed(AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - not yours");
    ck_assert_int_eq(says(a), LADDER_NO);
    ask(T0);
    ck_assert_str_eq(questions[0], "b <- ctask.due " STARS "b");
    yes(0, BIND);
    ck_assert_int_eq(says(b), LADDER_READY);
}
END_TEST

/* A tie that is known, and the ladder with it. */
static struct tie *known(void)
{
    struct tie *t = ladder_want(&l, "q", T0);
    ask(T0);
    yes(0, LOOK);
    ask(T0);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
    return t;
}

START_TEST(what_is_missing_at_the_foot_is_looked_at_again_once)
{
    struct tie *t = ladder_want(&l, "q", T0);
    ask(T0);
    yes(0, LOOK);
    ask(T0);
    ck_assert_ptr_eq(closed(AMQP_NOT_FOUND, "NOT_FOUND - no queue 'q'"), t);
    ck_assert_int_eq(says(t), LADDER_WAIT);
    ck_assert_uint_eq(ask(T0), LOOK);
    yes(0, 1);
    closed(AMQP_NOT_FOUND, "NOT_FOUND - no exchange 'ctask.due'");
    ck_assert_uint_eq(ask(T0), BUILD);
    yes(0, BUILD);
    ck_assert(!ladder_pending(&l)); /* its owner declares it, and asks again */
    ladder_want(&l, "q", T0);
    ck_assert_uint_eq(ask(T0), BIND);
    ck_assert_ptr_null(closed(AMQP_NOT_FOUND, "NOT_FOUND - no queue 'q'"));
    ck_assert_int_eq(says(t), LADDER_NO);
}
END_TEST

/* It is not missing, and comes back with its node: what is to be delayed can be sent again. */
START_TEST(what_is_on_a_node_that_is_down_is_away)
{
    struct tie *t = looked(4);
    ck_assert_uint_eq(ask(T0), ROOM);
    closed(AMQP_NOT_FOUND,
           "NOT_FOUND - home node 'a' of durable queue 'q' is down or inaccessible");
    ck_assert_int_eq(says(t), LADDER_AWAY);
}
END_TEST

START_TEST(what_is_known_is_looked_at_again_while_it_is_used_and_nobody_waits)
{
    struct tie *t = known();
    ladder_want(&l, "q", T0 + 9 * CLOCK_SECOND);
    ck_assert(!ladder_pending(&l));
    ladder_want(&l, "q", T0 + 10 * CLOCK_SECOND);
    ck_assert_uint_eq(ask(T0), LOOK);
    ck_assert_int_eq(says(t), LADDER_READY);
    yes(0, LOOK);
    ck_assert_uint_eq(ask(T0), BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
    yes(0, BIND);
    ck_assert(!ladder_pending(&l));
    ladder_want(&l, "q", T0 + 10 * CLOCK_SECOND); /* both were answered at T0 */
    ask(T0);
    yes(0, LOOK - 1);
    closed(AMQP_NOT_FOUND, "NOT_FOUND - no exchange 'celery_delayed_27'");
    ck_assert_int_eq(says(t), LADDER_WAIT);
    ck_assert_uint_eq(ask(T0), BUILD);
    yes(0, BUILD);
    ask(T0);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
}
END_TEST

START_TEST(a_queue_that_may_be_a_new_one_is_bound_again)
{
    struct tie *t = known();
    ladder_forget(&l, "other");
    ladder_forget(&l, "q");
    ck_assert(!ladder_pending(&l)); /* when next needed */
    ladder_want(&l, "q", T0);
    ck_assert_int_eq(says(t), LADDER_READY);
    ck_assert_uint_eq(ask(T0), BIND);
    ladder_forget(&l, "q"); /* it may have been the old one that is bound now */
    yes(0, BIND);
    ladder_want(&l, "q", T0);
    ck_assert_uint_eq(ask(T0), BIND);
    yes(0, BIND);
    t->wanted = true;
    ladder_forget(&l, "q");
    ck_assert_uint_eq(ask(T0), BIND); /* now */
    ladder_forget(&l, "q");
    yes(0, BIND);
    ck_assert_uint_eq(ask(T0), BIND);
}
END_TEST

START_TEST(it_is_bound_again_although_the_bind_before_had_no_answer)
{
    struct tie *t = known();
    int64_t later = T0 + 10 * CLOCK_SECOND;
    for (int wanted = 0; wanted < 2; wanted++) {
        t->wanted = wanted;
        ladder_want(&l, "q", later);
        ask(later);
        yes(0, LOOK);
        ck_assert_uint_eq(ask(later), BIND);
        ladder_forget(&l, "q");
        do ladder_overdue(&l, later + 15 * CLOCK_SECOND);
        while (ladder_pending(&l));
        ck_assert_int_eq(says(t), LADDER_READY);
    }
    ladder_want(&l, "q", T0);
    ck_assert_uint_eq(ask(later), BIND);
}
END_TEST

START_TEST(a_refused_queue_that_is_bound_as_a_new_one_is_ready)
{
    struct tie *t = ladder_want(&l, "q", T0);
    t->wanted = true;
    ask(T0);
    yes(0, LOOK);
    ask(T0);
    closed(AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - not yours");
    ck_assert_int_eq(says(t), LADDER_NO);
    ladder_forget(&l, "q");
    ck_assert_uint_eq(ask(T0), BIND);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
}
END_TEST

START_TEST(what_is_doubted_is_declared_again)
{
    struct tie *t = missing(0);
    yes(0, BUILD);
    ask(T0);
    yes(0, BIND);
    ladder_doubt(&l, t);
    ck_assert_int_eq(says(t), LADDER_WAIT);
    ck_assert_uint_eq(ask(T0), BUILD);
    yes(0, BUILD);
    ck_assert_uint_eq(ask(T0), BIND);
    yes(0, BIND);
    ck_assert_int_eq(says(t), LADDER_READY);
}
END_TEST

START_TEST(an_answer_that_does_not_come_refuses)
{
    struct tie *t = ladder_want(&l, "q", T0);
    ck_assert(ladder_wake(&l) == CLOCK_NEVER);
    ask(T0);
    ck_assert(ladder_wake(&l) > T0);
    ladder_wait_anew(&l, T0 + 100 * CLOCK_SECOND);
    ck_assert(ladder_wake(&l) > T0 + 100 * CLOCK_SECOND);
    ladder_overdue(&l, ladder_wake(&l));
    ck_assert_int_eq(says(t), LADDER_AWAY);
    ck_assert(ladder_wake(&l) == CLOCK_NEVER);
}
END_TEST

/* Ten times in a row it is asked for again 4 s after the broker's time was up. */
static void unanswered(const char *queue, int64_t now)
{
    for (int i = 0; i < 10; i++) {
        ladder_want(&l, queue, now);
        ck_assert_uint_gt(ask(now), 0);
        now += 15 * CLOCK_SECOND;
        do ladder_overdue(&l, now);
        while (ladder_pending(&l));
        now += 4 * CLOCK_SECOND;
    }
}

/* Both the ladder and, where that is known, a queue's binding. */
START_TEST(what_did_not_answer_is_asked_for_again_after_four_seconds)
{
    unanswered("q", T0);
    teardown();
    setup();
    known();
    unanswered("another", T0);
}
END_TEST

START_TEST(what_is_known_is_believed_when_a_look_has_no_answer)
{
    struct tie *t = known();
    int64_t later = T0 + 100 * CLOCK_SECOND;
    ladder_want(&l, "q", later);
    ask(later);
    int64_t due = ladder_wake(&l);
    do ladder_overdue(&l, due);
    while (ladder_pending(&l));
    ck_assert_int_eq(says(t), LADDER_READY);
    ladder_want(&l, "q", due + 9 * CLOCK_SECOND);
    ck_assert(!ladder_pending(&l));
}
END_TEST

START_TEST(after_a_loss_what_is_wanted_is_asked_again_and_the_rest_when_needed)
{
    struct tie *used = known();
    ladder_reset(&l);
    ck_assert_int_eq(says(used), LADDER_WAIT);
    ck_assert(!ladder_pending(&l));
    ladder_want(&l, "w", T0)->wanted = true;
    ladder_reset(&l);
    ck_assert_uint_eq(ask(T0), LOOK);
    yes(0, LOOK);
    ck_assert_uint_eq(ask(T0), BIND);
    ck_assert_str_eq(questions[0], "w <- ctask.due " STARS "w");
    yes(0, BIND);
    ck_assert(!ladder_pending(&l));
    ladder_want(&l, "q", T0);
    ck_assert_uint_eq(ask(T0), BIND);
}
END_TEST

START_TEST(answers_out_of_turn_are_refused)
{
    ck_assert_ptr_nonnull(ladder_answer(&l, AMQP_QUEUE_BIND_OK_METHOD, NULL, T0));
    ladder_want(&l, "q", T0);
    ask(T0);
    ck_assert_ptr_nonnull(ladder_answer(&l, AMQP_QUEUE_BIND_OK_METHOD, NULL, T0));
    closed(AMQP_NOT_FOUND, "NOT_FOUND");
    ck_assert_ptr_nonnull(ladder_answer(&l, AMQP_EXCHANGE_DECLARE_OK_METHOD, NULL, T0));
    closed(AMQP_NOT_FOUND, "NOT_FOUND"); /* nothing was asked: nothing is refused */
    ck_assert(ladder_pending(&l));
}
END_TEST

int main(void)
{
    TCase *k = tcase_create("ladder");
    tcase_add_checked_fixture(k, setup, teardown);
    tcase_add_test(k, a_key_counts_seconds_in_28_bits);
    tcase_add_test(k, a_name_that_means_others_too_is_unfit);
    tcase_add_test(k, a_ladder_that_exists_is_used_as_it_is);
    tcase_add_test(k, one_that_has_no_room_is_not_begun);
    tcase_add_test(k, two_who_look_for_room_do_not_count_the_same_queues);
    tcase_add_test(k, what_it_took_to_see_that_is_deleted_without_an_answer_too);
    tcase_add_test(k, a_missing_one_is_declared_from_the_bottom_up_as_celery_does);
    tcase_add_test(k, levels_of_another_type_are_used_in_a_ladder_with_gaps);
    tcase_add_test(k, a_refusal_has_the_brokers_words_and_is_tried_again_by_the_next);
    tcase_add_test(k, a_limit_of_queues_refuses_the_ladder_with_its_words);
    tcase_add_test(k, an_exchange_of_another_type_refuses_the_ladder);
    tcase_add_test(k, a_binding_that_is_refused_is_its_queues_own);
    tcase_add_test(k, what_is_missing_at_the_foot_is_looked_at_again_once);
    tcase_add_test(k, what_is_on_a_node_that_is_down_is_away);
    tcase_add_test(k, what_is_known_is_looked_at_again_while_it_is_used_and_nobody_waits);
    tcase_add_test(k, a_queue_that_may_be_a_new_one_is_bound_again);
    tcase_add_test(k, it_is_bound_again_although_the_bind_before_had_no_answer);
    tcase_add_test(k, a_refused_queue_that_is_bound_as_a_new_one_is_ready);
    tcase_add_test(k, what_is_doubted_is_declared_again);
    tcase_add_test(k, an_answer_that_does_not_come_refuses);
    tcase_add_test(k, what_did_not_answer_is_asked_for_again_after_four_seconds);
    tcase_add_test(k, what_is_known_is_believed_when_a_look_has_no_answer);
    tcase_add_test(k, after_a_loss_what_is_wanted_is_asked_again_and_the_rest_when_needed);
    tcase_add_test(k, answers_out_of_turn_are_refused);
    Suite *s = suite_create("ladder");
    suite_add_tcase(s, k);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
