/* test_topology.c - queues are looked at, declared as Celery does when missing, and one that is
 * refused or not answered for holds up no other; consumers follow what is wanted. */
#include "amqp/arguments.h"
#include "amqp/consumers.h"
#include "amqp/topology.h"
#include "base/clock.h"

#include <check.h>
#include <ctask.h>
#include <stdio.h>
#include <stdlib.h>

#define T0 (1000 * CLOCK_SECOND)
#define CHANNELS 100

static struct topology t;
static struct consumers c;
static struct buf out;
static amqp_pool_t pool;
static struct queue *verdict;
static uint16_t channel; /* of the last question */

static void setup(void)
{
    topology_init(&t);
    t.last = CHANNELS;
    consumers_init(&c);
    out = (struct buf){0};
    init_amqp_pool(&pool, 512);
}

static void teardown(void)
{
    consumers_done(&c);
    topology_done(&t);
    buf_done(&out);
    empty_amqp_pool(&pool);
}

/* What was asked since the last call, as "look a; exchange b; ...". */
static const char *asked(void)
{
    static char text[1024];
    struct frame f;
    long n;
    text[0] = '\0';
    while ((n = frame_next(buf_bytes(&out), FRAME_MAX, &f)) > 0) {
        const uint8_t *p = f.payload.p;
        void *m = NULL;
        channel = f.channel;
        amqp_method_number_t id = (amqp_method_number_t)p[1] << 16 | p[3];
        recycle_amqp_pool(&pool);
        amqp_bytes_t args = {f.payload.n - 4, (void *)(uintptr_t)(p + 4)};
        ck_assert_int_ge(amqp_decode_method(id, &pool, args, &m), 0);
        const amqp_queue_declare_t *queue = m;
        const amqp_queue_bind_t *bind = m;
        const amqp_basic_consume_t *consume = m;
        const amqp_basic_cancel_t *cancel = m;
        char *at = text + strlen(text);
        size_t room = sizeof text - strlen(text);
        switch (id) {
        case AMQP_QUEUE_DECLARE_METHOD:
            ck_assert(queue->passive || (queue->durable && !queue->auto_delete));
            ck_assert(!queue->exclusive && !queue->nowait);
            snprintf(at, room, "%s%.*s(%d); ", queue->passive ? "look " : "queue ",
                     BYTES_ARG(bytes_amqp(queue->queue)), queue->arguments.num_entries);
            break;
        case AMQP_QUEUE_BIND_METHOD:
            ck_assert(bytes_equal(bytes_amqp(bind->queue), bytes_amqp(bind->exchange)));
            ck_assert(bytes_equal(bytes_amqp(bind->queue), bytes_amqp(bind->routing_key)));
            snprintf(at, room, "bind %.*s; ", BYTES_ARG(bytes_amqp(bind->queue)));
            break;
        case AMQP_QUEUE_DELETE_METHOD: snprintf(at, room, "delete; "); break;
        case AMQP_CHANNEL_OPEN_METHOD:
        case AMQP_CHANNEL_CLOSE_OK_METHOD: break;
        case AMQP_CHANNEL_CLOSE_METHOD: snprintf(at, room, "close; "); break;
        case AMQP_BASIC_QOS_METHOD:
            ck_assert(!((const amqp_basic_qos_t *)m)->global);
            snprintf(at, room, "qos %u; ", ((const amqp_basic_qos_t *)m)->prefetch_count);
            break;
        case AMQP_BASIC_CONSUME_METHOD:
            ck_assert(!consume->no_ack && !consume->exclusive);
            snprintf(at, room, "consume %.*s %.*s; ", BYTES_ARG(bytes_amqp(consume->queue)),
                     BYTES_ARG(bytes_amqp(consume->consumer_tag)));
            break;
        case AMQP_BASIC_CANCEL_METHOD:
            snprintf(at, room, "cancel %.*s; ", BYTES_ARG(bytes_amqp(cancel->consumer_tag)));
            break;
        default: ck_abort_msg("unexpected method");
        }
        buf_consume(&out, (size_t)n);
    }
    return text;
}

static const char *ask(int64_t now)
{
    ck_assert(topology_ask(&t, &out, now));
    return asked();
}

/* NULL, or what is wrong with it. */
static const char *answer(amqp_method_number_t id, const void *method)
{
    return topology_answer(&t, channel, id, method, &out, T0, &verdict);
}

static void there(uint32_t messages)
{
    amqp_queue_declare_ok_t ok = {.message_count = messages, .consumer_count = 2};
    ck_assert_ptr_null(answer(AMQP_QUEUE_DECLARE_OK_METHOD, &ok));
}

static void closed(uint16_t code, const char *text)
{
    amqp_channel_close_t close = {.reply_code = code, .reply_text = amqp_text(text)};
    ck_assert_ptr_null(answer(AMQP_CHANNEL_CLOSE_METHOD, &close));
}

START_TEST(a_queue_that_exists_is_used_as_it_is)
{
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "look q(0); ");
    there(5);
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert(!q->created);
    ck_assert_uint_eq(q->messages, 5);
    ck_assert_uint_eq(q->consumers, 2);
    ck_assert(!topology_pending(&t, T0));
    ck_assert_str_eq(ask(T0), "");
}
END_TEST

static void declared(void)
{
    there(0);
    ck_assert_ptr_null(verdict);
    ck_assert_ptr_null(answer(AMQP_QUEUE_BIND_OK_METHOD, NULL));
}

START_TEST(a_queue_of_somebody_else_is_looked_at_and_never_declared)
{
    struct queue *q = topology_add(&t, "theirs", QUEUE_FOREIGN);
    ck_assert_str_eq(ask(T0), "look theirs(0); ");
    there(1);
    ck_assert_ptr_eq(verdict, q);
    topology_doubt(&t, q);
    ck_assert_str_eq(ask(T0), "look theirs(0); ");
    closed(404, "NOT_FOUND");
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_REFUSED);
    ck_assert_str_eq(ask(T0), "");
    topology_forget(&t, q);
    ck_assert_ptr_null(topology_find(&t, "theirs"));
    ck_assert_str_eq(ask(T0 + 60 * CLOCK_SECOND), "");
}
END_TEST

static struct queue *blamed(bool alone)
{
    struct queue *q = topology_blamed(&t, alone, bytes_text("541"), T0);
    topology_reset(&t);
    return q;
}

START_TEST(one_for_which_the_connection_is_closed_is_asked_about_alone_and_three_times)
{
    struct queue *bad = topology_add(&t, "bad", QUEUE_TASK);
    struct queue *good = topology_add(&t, "good", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "look bad(0); look good(0); ");
    ck_assert_ptr_null(blamed(true));
    ck_assert_str_eq(ask(T0), "look bad(0); ");
    topology_add(&t, "new", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "");
    ck_assert(!topology_pending(&t, T0));
    ck_assert_ptr_null(blamed(true));
    ck_assert_str_eq(ask(T0), "look new(0); "); /* which is no suspect */
    there(0);
    ck_assert_str_eq(ask(T0), "look good(0); ");
    there(0);
    ck_assert_int_eq(good->state, QUEUE_KNOWN);
    ck_assert_str_eq(ask(T0), "look bad(0); ");
    ck_assert_ptr_null(blamed(true));
    for (int i = 0; i < 2; i++) { /* after a reset the others are looked at anew, and before it */
        ask(T0);
        there(0);
    }
    ck_assert_str_eq(ask(T0), "look bad(0); ");
    ck_assert_ptr_eq(blamed(true), bad);
    ck_assert_int_eq(bad->state, QUEUE_REFUSED);
    ck_assert_str_eq(bad->why, "541");
    ask(T0 + 1000 * CLOCK_SECOND);
    ck_assert_int_eq(bad->state, QUEUE_REFUSED); /* for good */
    ck_assert_uint_eq(t.suspects, 0);
}
END_TEST

START_TEST(while_suspects_wait_the_others_are_asked_about)
{
    topology_add(&t, "bad", QUEUE_TASK);
    ask(T0);
    blamed(true);
    t.suspects_wait = true;
    ck_assert(!topology_pending(&t, T0));
    topology_add(&t, "a", QUEUE_TASK);
    topology_add(&t, "b", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "look a(0); look b(0); ");
    t.suspects_wait = false;
    ck_assert_str_eq(ask(T0), "");
    for (int i = 0; i < 2; i++) there(0);
    ck_assert_str_eq(ask(T0), "look bad(0); ");
}
END_TEST

START_TEST(a_suspect_that_is_not_answered_for_holds_up_no_other)
{
    topology_add(&t, "slow", QUEUE_TASK);
    ask(T0);
    blamed(false);
    ck_assert_str_eq(ask(T0), "look slow(0); ");
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "");
    int64_t later = topology_wake(&t);
    ck_assert(topology_pending(&t, later));
    ck_assert_str_eq(ask(later), "look q(0); ");
    there(0);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert_uint_eq(t.suspects, 0);
}
END_TEST

START_TEST(a_missing_one_is_declared_durable_and_bound_to_the_exchange_of_its_name)
{
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ask(T0);
    closed(404, "NOT_FOUND");
    ck_assert_ptr_null(verdict);
    ck_assert_str_eq(ask(T0), "queue q(0); bind q; ");
    declared();
    ck_assert_ptr_eq(verdict, q);
    ck_assert(q->created);
}
END_TEST

START_TEST(without_such_an_exchange_it_is_there_all_the_same)
{
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ask(T0);
    closed(404, "NOT_FOUND - no queue 'q'");
    ask(T0);
    there(0);
    closed(404, "NOT_FOUND - no exchange 'q'");
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert(q->created);
    ck_assert_str_eq(ask(T0), "");
}
END_TEST

static const char inequivalent[] = "PRECONDITION_FAILED - inequivalent arg 'x-max-priority'";

START_TEST(one_that_exists_is_compared_once_with_what_was_asked_for)
{
    t.arguments = "x-max-priority=9,x-message-ttl=1";
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    topology_add(&t, "q.dead", QUEUE_DEAD);
    ck_assert_str_eq(ask(T0), "look q(0); look q.dead(0); ");
    there(5);
    ck_assert_ptr_null(verdict);
    there(0);
    ck_assert_str_eq(verdict->name, "q.dead");
    ck_assert_str_eq(ask(T0), "queue q(2); ");
    there(5);
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert(!q->created && !q->differs);
    topology_reset(&t);
    ck_assert_str_eq(ask(T0), "look q.dead(0); look q(0); ");
    there(0);
    there(5);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
}
END_TEST

START_TEST(one_that_differs_is_used_as_it_is)
{
    t.arguments = "x-max-priority=9";
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    topology_add(&t, "fine", QUEUE_REPLY);
    ck_assert_str_eq(ask(T0), "look q(0); queue fine(1); ");
    there(5);
    there(0);
    ck_assert_str_eq(ask(T0), "queue q(1); ");
    closed(406, inequivalent);
    ck_assert_ptr_null(verdict);
    ck_assert_str_eq(ask(T0), "look q(0); ");
    there(5);
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert(q->differs);
    ck_assert_str_eq(q->why, inequivalent);
}
END_TEST

/* Two who look at the same moment both find it missing. */
START_TEST(one_that_another_has_declared_meanwhile_is_used_as_it_is)
{
    t.arguments = "x-max-priority=9";
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ask(T0);
    closed(404, "NOT_FOUND");
    ck_assert_str_eq(ask(T0), "queue q(1); bind q; ");
    closed(406, inequivalent);
    ck_assert_ptr_null(verdict);
    ck_assert_str_eq(ask(T0), "look q(0); ");
    there(0);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    ck_assert(q->differs);
}
END_TEST

START_TEST(arguments_that_no_queue_can_have_refuse_it)
{
    t.arguments = "x-max-priority=many";
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    ask(T0);
    closed(404, "NOT_FOUND");
    ask(T0);
    closed(406, "PRECONDITION_FAILED - invalid arg 'x-max-priority'");
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_REFUSED);
    ck_assert(!q->differs);
}
END_TEST

START_TEST(dead_and_reply_queues_have_no_exchange_of_their_own)
{
    topology_add(&t, "q.dead", QUEUE_DEAD);
    topology_add(&t, "mine", QUEUE_REPLY);
    ck_assert_str_eq(ask(T0), "look q.dead(0); queue mine(1); ");
    closed(404, "NOT_FOUND");
    ck_assert_str_eq(ask(T0), "queue q.dead(0); look mine(0); ");
    there(0);
    ck_assert_str_eq(verdict->name, "q.dead");
    there(0);
    ck_assert_str_eq(verdict->name, "mine");
}
END_TEST

START_TEST(a_reply_queue_that_was_lost_is_said_to_be_new)
{
    struct queue *q = topology_add(&t, "mine", QUEUE_REPLY);
    ck_assert_str_eq(ask(T0), "queue mine(1); ");
    there(0);
    for (int i = 0; i < 2; i++) {
        topology_reset(&t);
        ck_assert_str_eq(ask(T0), "look mine(0); ");
        if (i == 0) there(0);
    }
    ck_assert(!q->created);
    closed(404, "NOT_FOUND");
    ck_assert_str_eq(ask(T0), "queue mine(1); ");
    there(0);
    ck_assert_ptr_eq(verdict, q);
    ck_assert(q->created);
}
END_TEST

static const char *arguments(const struct queue *q)
{
    static char text[512];
    amqp_table_entry_t entries[ARGUMENTS_MAX];
    amqp_table_t table = queue_arguments(q, entries);
    text[0] = 0;
    for (int i = 0; i < table.num_entries; i++) {
        amqp_field_value_t v = table.entries[i].value;
        char *at = text + strlen(text);
        size_t room = sizeof text - strlen(text);
        at += snprintf(at, room, "%.*s=", BYTES_ARG(bytes_amqp(table.entries[i].key)));
        room = sizeof text - strlen(text);
        if (v.kind == AMQP_FIELD_KIND_UTF8)
            snprintf(at, room, "%.*s; ", BYTES_ARG(bytes_amqp(v.value.bytes)));
        else if (v.kind == AMQP_FIELD_KIND_BOOLEAN)
            snprintf(at, room, "%s; ", v.value.boolean ? "yes" : "no");
        else
            snprintf(at, room, "%lld; ", (long long)v.value.i64);
    }
    return text;
}

START_TEST(a_task_queue_is_declared_as_asked_for_and_only_then)
{
    enum queue_type types[] = {QUEUE_AS_BROKER_LIKES, QUEUE_CLASSIC, QUEUE_QUORUM};
    const char *words[] = {"", "classic", "quorum"};
    const char *said[] = {"", "x-queue-type=classic; ", "x-queue-type=quorum; "};
    for (int i = 0; i < 3; i++) {
        char name[] = {'q', (char)('0' + i), 0};
        ck_assert(queue_type_read(words[i], &t.type));
        ck_assert_int_eq(t.type, types[i]);
        ck_assert_str_eq(arguments(topology_add(&t, name, QUEUE_TASK)), said[i]);
    }
    ck_assert(queue_type_read(NULL, &t.type));
    ck_assert(!queue_type_read("Quorum", &t.type));
    ck_assert(!queue_type_read("stream", &t.type));
    topology_add(&t, "x", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "look q0(0); look q1(0); look q2(0); look x(0); ");
}
END_TEST

/* What a queue is declared with, or why it is not. */
static const char *asked_for(const char *text, enum queue_type type)
{
    static char why[256];
    struct topology own;
    topology_init(&own);
    own.arguments = text;
    own.type = type;
    if (!queue_arguments_read(text, &own.type, why, sizeof why)) return why;
    const char *said = arguments(topology_add(&own, "q", QUEUE_TASK));
    ck_assert_str_eq(said, arguments(topology_add(&own, "q2", QUEUE_TASK)));
    topology_done(&own);
    return said;
}

START_TEST(so_it_is_with_the_arguments_that_were_asked_for)
{
    ck_assert_str_eq(asked_for(NULL, QUEUE_AS_BROKER_LIKES), "");
    ck_assert_str_eq(asked_for("", QUEUE_QUORUM), "x-queue-type=quorum; ");
    ck_assert_str_eq(asked_for("x-max-priority=9", QUEUE_CLASSIC),
                     "x-queue-type=classic; x-max-priority=9; ");
    ck_assert_str_eq(asked_for("x-a=-5,x-b=true,x-c=false,x-d=9.5,x-e=,x-f=a=b,x-g=-,x-h=x-i",
                               QUEUE_AS_BROKER_LIKES),
                     "x-a=-5; x-b=yes; x-c=no; x-d=9.5; x-e=; x-f=a=b; x-g=-; x-h=x-i; ");
    ck_assert_str_eq(asked_for("x-most=999999999999999999,x-text=1000000000000000000", 0),
                     "x-most=999999999999999999; x-text=1000000000000000000; ");
    const char *typed[] = {"x-queue-type=quorum,x-overflow=reject-publish",
                           "x-overflow=reject-publish,x-queue-type=quorum"};
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(asked_for(typed[i % 2], i < 2 ? QUEUE_AS_BROKER_LIKES : QUEUE_QUORUM),
                         "x-queue-type=quorum; x-overflow=reject-publish; ");
}
END_TEST

START_TEST(what_cannot_be_asked_for_is_said)
{
    const char *bad[] = {"max-priority=9", "x-max-priority", "x-=9", ",",      "x-a=1,",
                         "x-a=1,,x-b=2",   "x-a=1, x-b=2",   "=",    "x-a b=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_ptr_nonnull(strstr(asked_for(bad[i], 0), "takes x-NAME=VALUE with commas"));
    ck_assert_str_eq(asked_for("x-a=1,x-b=2,x-a=1", 0), "names x-a twice");
    ck_assert_ptr_nonnull(strstr(asked_for("x-a=1,x-expires=5", 0), "takes no x-expires"));
    ck_assert_str_eq(asked_for("x-queue-type=stream", 0),
                     "takes x-queue-type=classic or quorum, not \"stream\"");
    ck_assert_ptr_nonnull(strstr(asked_for("x-queue-type=", 0), "classic or quorum"));
    ck_assert_ptr_nonnull(strstr(asked_for("x-queue-type=quorum", QUEUE_CLASSIC),
                                 "says x-queue-type=quorum, and --queue-type"));
    char many[17 * 8] = "", large[QUEUE_ARGUMENTS_MAX + 2];
    for (int i = 0; i < 17; i++)
        snprintf(many + strlen(many), 8, "%sx-%c=1", i ? "," : "", 'a' + i);
    ck_assert_str_eq(asked_for(many, 0), "takes at most 16 arguments");
    many[strlen(many) - strlen(",x-q=1")] = 0;
    ck_assert_ptr_null(strstr(asked_for(many, 0), "takes"));
    memset(large, 'a', sizeof large);
    memcpy(large, "x-a=", 4);
    large[sizeof large - 1] = 0;
    ck_assert_str_eq(asked_for(large, 0), "takes at most 1000 bytes");
}
END_TEST

/* None of them may be on one node alone when the task queues are not, and reading one without
 * emptying it must not use its messages up. */
START_TEST(so_is_every_other_queue_of_ours)
{
    enum queue_type types[] = {QUEUE_AS_BROKER_LIKES, QUEUE_CLASSIC, QUEUE_QUORUM};
    const char *dead[] = {"", "x-queue-type=classic; ",
                          "x-queue-type=quorum; x-delivery-limit=1000000000; "};
    const char *reply[] = {"x-expires=1800000; ", "x-queue-type=classic; x-expires=1800000; ",
                           "x-queue-type=quorum; x-delivery-limit=1000000000; "
                           "x-expires=1800000; "};
    for (int i = 0; i < 3; i++) {
        char name[] = {'q', (char)('0' + i), 0}, other[] = {'r', (char)('0' + i), 0};
        t.type = types[i];
        ck_assert_str_eq(arguments(topology_add(&t, name, QUEUE_DEAD)), dead[i]);
        ck_assert_str_eq(arguments(topology_add(&t, other, QUEUE_REPLY)), reply[i]);
    }
}
END_TEST

/* At least once, so it is a quorum queue. It must outlive what it holds: expired, it would take the
 * message with it. */
START_TEST(a_lease_queue_sends_home_what_it_holds)
{
    struct queue *q = topology_add_lease(&t, "lease", "", "home", 1000000);
    ck_assert_str_eq(arguments(q),
                     "x-queue-type=quorum; x-message-ttl=1000000000; x-expires=2604800000; "
                     "x-dead-letter-exchange=; x-dead-letter-routing-key=home; "
                     "x-dead-letter-strategy=at-least-once; x-overflow=reject-publish; ");
    ck_assert_str_eq(ask(T0), "queue lease(7); ");
    there(0);
    ck_assert(q->created);
    topology_reset(&t);
    ck_assert_str_eq(ask(T0), "look lease(0); ");
    there(1);
    ck_assert(!q->created);
    topology_doubt(&t, q);
    ck_assert_str_eq(ask(T0), "look lease(0); ");
    closed(404, "NOT_FOUND");
    ck_assert_str_eq(ask(T0), "queue lease(7); ");
    there(0);
    ck_assert(q->created);
    topology_delete(&t, q);
    ck_assert_str_eq(ask(T0), "delete; ");
}
END_TEST

START_TEST(looks_are_asked_together_and_a_close_repeats_the_unanswered)
{
    topology_add(&t, "a", QUEUE_TASK);
    topology_add(&t, "b", QUEUE_TASK);
    topology_add(&t, "c", QUEUE_TASK);
    ck_assert_str_eq(ask(T0), "look a(0); look b(0); look c(0); ");
    there(0);
    ck_assert_str_eq(verdict->name, "a");
    closed(404, "NOT_FOUND - no queue 'b'");
    ck_assert_str_eq(ask(T0), "queue b(0); bind b; look c(0); ");
    declared();
    ck_assert_str_eq(verdict->name, "b");
    there(0);
    ck_assert_str_eq(verdict->name, "c");
}
END_TEST

START_TEST(a_refusal_is_one_queues_own_and_is_tried_again_later)
{
    struct queue *q = topology_add(&t, "no", QUEUE_TASK);
    struct queue *fine = topology_add(&t, "fine", QUEUE_TASK);
    int64_t last = 0;
    ask(T0);
    closed(403, "ACCESS_REFUSED");
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_REFUSED);
    ck_assert_str_eq(q->why, "ACCESS_REFUSED");
    ck_assert_str_eq(ask(T0), "look fine(0); ");
    there(0);
    ck_assert_ptr_eq(verdict, fine);
    for (int i = 0; i < 8; i++) {
        int64_t wait = topology_wake(&t) - T0;
        ck_assert_int_ge(wait, last);
        ck_assert_int_ge(wait, CLOCK_SECOND);
        ck_assert_int_le(wait, 30 * CLOCK_SECOND);
        ck_assert_str_eq(ask(T0 + wait - 1), "");
        ck_assert_str_eq(ask(T0 + wait), "look no(0); ");
        closed(405, "RESOURCE_LOCKED");
        last = wait;
    }
    ck_assert_int_eq(last, 30 * CLOCK_SECOND);
}
END_TEST

/* "Not found", said to one that declares it. It is looked at often: its node may be back. */
START_TEST(a_queue_whose_node_is_down_is_not_refused)
{
    static const char down[] = "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is "
                               "down or inaccessible";
    struct queue *q = topology_add(&t, "q", QUEUE_REPLY);
    ask(T0);
    closed(404, down);
    for (int i = 0; i < 8; i++) {
        ck_assert_ptr_eq(verdict, q);
        ck_assert_int_eq(q->state, QUEUE_REFUSED);
        ck_assert_int_eq(q->code, CTASK_EUNAVAILABLE);
        ck_assert_int_le(q->retry_at, T0 + 4 * CLOCK_SECOND);
        ck_assert_str_eq(ask(q->retry_at), "look q(0); ");
        closed(404, down);
        ask(T0); /* declares it */
        closed(404, down);
    }
}
END_TEST

/* A look finds none, a declare finds another one: so says a broker whose node of the queue is down.
 */
START_TEST(one_that_is_neither_found_nor_declared_waits)
{
    static const char stopped[] =
        "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor";
    t.type = QUEUE_QUORUM;
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    for (int64_t now = T0, i = 0; i < 8; i++, now = q->retry_at) {
        for (int round = 0; round < 2; round++) {
            ck_assert_ptr_null(verdict);
            ck_assert_str_eq(ask(now), "look q(0); ");
            closed(404, stopped);
            ck_assert_str_eq(ask(now), "queue q(1); bind q; ");
            closed(406, inequivalent);
        }
        ck_assert_ptr_eq(verdict, q);
        ck_assert_int_eq(q->state, QUEUE_REFUSED);
        ck_assert_int_eq(q->code, CTASK_EUNAVAILABLE);
        ck_assert_int_gt(q->retry_at, T0);
        ck_assert_int_le(q->retry_at, T0 + 4 * CLOCK_SECOND);
        ck_assert(!topology_pending(&t, T0));
        verdict = NULL;
    }
    ck_assert_str_eq(ask(q->retry_at), "look q(0); "); /* its node is back */
    there(1);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
}
END_TEST

/* One that nobody here declares: only the words tell. */
START_TEST(somebody_elses_queue_is_missing_or_on_a_node_that_is_down)
{
    struct queue *q = topology_add(&t, "q", QUEUE_FOREIGN);
    q->wanted = true;
    ck_assert_str_eq(ask(T0), "look q(0); ");
    closed(404, "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is down");
    ck_assert_int_eq(q->code, CTASK_EUNAVAILABLE);
    ck_assert_str_eq(ask(topology_wake(&t)), "look q(0); ");
    closed(404, "NOT_FOUND - no queue 'q' in vhost '/'");
    ck_assert_int_eq(q->state, QUEUE_REFUSED);
    ck_assert_int_eq(q->code, CTASK_EROUTE);
    q->wanted = false; /* believed for a while, then forgotten */
    ck_assert_int_eq(q->retry_at, T0 + 30 * CLOCK_SECOND);
    ck_assert_str_eq(ask(q->retry_at), "");
    ck_assert_ptr_null(topology_find(&t, "q"));
}
END_TEST

/* A queue that is exclusive is there, and takes messages from everybody. */
START_TEST(somebody_elses_exclusive_queue_is_there)
{
    struct queue *q = topology_add(&t, "q", QUEUE_FOREIGN);
    ask(T0);
    closed(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q'");
    ck_assert_ptr_eq(verdict, q);
    ck_assert_int_eq(q->state, QUEUE_KNOWN);
    q = topology_add(&t, "to be consumed", QUEUE_TASK);
    ask(T0);
    closed(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue");
    ck_assert_int_eq(q->state, QUEUE_REFUSED);
}
END_TEST

START_TEST(a_queue_that_is_not_answered_for_holds_up_no_other)
{
    struct queue *stuck = topology_add(&t, "stuck", QUEUE_TASK);
    topology_add(&t, "fine", QUEUE_TASK);
    ask(T0);
    uint16_t before = channel;
    int64_t slow = topology_wake(&t);
    ck_assert_int_eq(slow, T0 + CLOCK_SECOND);
    ck_assert_str_eq(ask(slow), "look fine(0); ");
    ck_assert_uint_ne(channel, before);
    there(0);
    ck_assert_str_eq(verdict->name, "fine");
    topology_add(&t, "late", QUEUE_TASK);
    ck_assert_str_eq(ask(slow), "look late(0); ");
    ck_assert_uint_ne(channel, before);
    there(0);
    channel = before;
    there(0);
    ck_assert_ptr_eq(verdict, stuck); /* after all */
    there(0);
    ck_assert_ptr_null(verdict); /* what had been asked there before is known */
    ck_assert_int_eq(topology_wake(&t), CLOCK_NEVER);
}
END_TEST

START_TEST(a_queue_that_is_never_answered_for_is_refused_and_its_channel_given_up)
{
    amqp_queue_declare_ok_t late = {0};
    struct queue *stuck = topology_add(&t, "stuck", QUEUE_TASK);
    ask(T0);
    uint16_t before = channel;
    int64_t due = topology_wake(&t);
    ck_assert(!topology_overdue(&t, &out, due - 1, &verdict));
    ck_assert(topology_overdue(&t, &out, due, &verdict));
    ck_assert_ptr_eq(verdict, stuck);
    ck_assert_int_eq(stuck->state, QUEUE_REFUSED);
    ck_assert_str_eq(asked(), "close; ");
    ck_assert_str_eq(ask(stuck->retry_at), "look stuck(0); ");
    ck_assert_uint_ne(channel, before);
    there(0);
    ck_assert_ptr_eq(verdict, stuck);
    channel = before;
    ck_assert_ptr_null(answer(AMQP_QUEUE_DECLARE_OK_METHOD, &late));
    ck_assert_ptr_null(verdict);
    ck_assert(topology_owns(&t, before));
    ck_assert_ptr_null(answer(AMQP_CHANNEL_CLOSE_OK_METHOD, NULL));
    ck_assert(!topology_owns(&t, before));
}
END_TEST

START_TEST(after_a_loss_all_are_looked_at_again)
{
    topology_add(&t, "a", QUEUE_TASK);
    ask(T0);
    there(0);
    topology_add(&t, "b", QUEUE_TASK);
    ask(T0);
    topology_reset(&t);
    ck_assert_str_eq(ask(T0), "look b(0); look a(0); ");
}
END_TEST

START_TEST(answers_out_of_turn_are_refused)
{
    amqp_queue_declare_ok_t ok = {0};
    ck_assert_ptr_nonnull(answer(AMQP_QUEUE_DECLARE_OK_METHOD, &ok));
    topology_add(&t, "a", QUEUE_TASK);
    ask(T0);
    ck_assert_ptr_nonnull(answer(AMQP_QUEUE_BIND_OK_METHOD, NULL));
}
END_TEST

START_TEST(a_queue_deleted_while_asked_for_is_forgotten)
{
    struct queue *q = topology_add(&t, "a", QUEUE_TASK);
    ask(T0);
    topology_delete(&t, q);
    ck_assert_ptr_null(topology_find(&t, "a"));
    ck_assert_str_eq(ask(T0), "delete; ");
    there(0);
    ck_assert_ptr_null(verdict);
    ck_assert_ptr_null(answer(AMQP_QUEUE_DELETE_OK_METHOD, NULL));
    ck_assert(!topology_pending(&t, T0));
}
END_TEST

/* ---- Consumers ------------------------------------------------------------------------------- */

static struct queue *known(const char *name)
{
    struct queue *q = topology_add(&t, name, QUEUE_TASK);
    ask(T0);
    there(0);
    return q;
}

static const char *consume(int64_t now)
{
    ck_assert(consumers_ask(&c, &out, 3, now));
    return asked();
}

START_TEST(consuming_waits_for_the_queue)
{
    struct queue *q = topology_add(&t, "q", QUEUE_TASK);
    consumers_add(&c, q, 7);
    ck_assert(!consumers_pending(&c, T0));
    ck_assert_str_eq(consume(T0), "");
    ask(T0);
    there(0);
    ck_assert(consumers_pending(&c, T0));
    ck_assert_str_eq(consume(T0), "qos 7; consume q ctask.1; ");
    ck_assert(!consumers_pending(&c, T0));
    ck_assert_ptr_eq(consumers_started(&c, bytes_text("ctask.1")), q);
}
END_TEST

START_TEST(a_further_consumer_is_opened_and_none_is_cancelled)
{
    uint32_t window;
    struct queue *q = known("q");
    ck_assert(consumers_add(&c, q, 7));
    consume(T0);
    ck_assert(consumers_add(&c, q, 9));
    ck_assert_str_eq(consume(T0), "qos 9; consume q ctask.2; ");
    consumers_started(&c, bytes_text("ctask.1"));
    ck_assert_ptr_eq(consumers_started(&c, bytes_text("ctask.2")), q);
    ck_assert_str_eq(consume(T0), "");
    ck_assert_uint_eq(consumers_count(&c, q), 2);
    for (uint32_t n = 1; n <= 2; n++) {
        ck_assert_ptr_eq(consumers_find(&c, bytes_text(n == 1 ? "ctask.1" : "ctask.2"), &window),
                         q);
        ck_assert_uint_eq(window, n);
    }
}
END_TEST

START_TEST(one_of_several_is_cancelled_by_its_number)
{
    uint32_t window;
    struct queue *q = known("q");
    for (unsigned n = 1; n <= 3; n++) consumers_add(&c, q, n);
    consume(T0);
    consumers_cancel(&c, q, 2, T0 + 1);
    consumers_started(&c, bytes_text("ctask.2"));
    ck_assert_str_eq(consume(T0), ""); /* its time has not come: */
    ck_assert(consumers_hold_acks(&c, T0));
    ck_assert_int_eq(consumers_wake(&c), T0 + 1);
    ck_assert(!consumers_hold_acks(&c, T0 + 1));
    ck_assert(consumers_pending(&c, T0 + 1));
    ck_assert_str_eq(consume(T0 + 1), "cancel ctask.2; ");
    ck_assert_ptr_eq(consumers_find(&c, bytes_text("ctask.2"), &window), q); /* still under way */
    ck_assert_ptr_null(consumers_ended(&c, bytes_text("ctask.2")));          /* as we asked */
    ck_assert_ptr_null(consumers_find(&c, bytes_text("ctask.2"), &window));
    ck_assert_uint_eq(window, 0);
    consumers_add(&c, q, 4);
    consumers_cancel(&c, q, 4, T0); /* was never asked for */
    ck_assert_str_eq(consume(T0), "");
    consumers_started(&c, bytes_text("ctask.1"));
    consumers_cancel(&c, q, 0, T0);
    ck_assert(!consumers_hold_acks(&c, T0));
    ck_assert_str_eq(consume(T0), "cancel ctask.1; ");
    consumers_started(&c, bytes_text("ctask.3"));
    ck_assert_str_eq(consume(T0), "cancel ctask.3; ");
}
END_TEST

START_TEST(after_a_loss_those_that_are_not_cancelled_start_again)
{
    struct queue *q = known("q");
    for (unsigned n = 1; n <= 3; n++) consumers_add(&c, q, n);
    consume(T0);
    consumers_cancel(&c, q, 2, T0);
    consumers_reset(&c, false, T0);
    ck_assert_uint_eq(consumers_count(&c, q), 0);
    ck_assert_str_eq(consume(T0), "qos 1; consume q ctask.4; qos 3; consume q ctask.5; ");
}
END_TEST

START_TEST(a_consumer_that_the_broker_ended_names_its_queue)
{
    struct queue *q = known("q");
    consumers_add(&c, q, 7);
    consume(T0);
    consumers_started(&c, bytes_text("ctask.1"));
    ck_assert_ptr_eq(consumers_ended(&c, bytes_text("ctask.1")), q);
    topology_doubt(&t, q);
    ck_assert_str_eq(consume(T0), "");
    ask(T0);
    there(0);
    ck_assert_str_eq(consume(T0), "qos 7; consume q ctask.2; ");
}
END_TEST

START_TEST(a_refused_consume_is_tried_again_later_and_the_others_at_once)
{
    struct queue *a = known("a"), *b = known("b");
    consumers_add(&c, a, 1);
    consume(T0);
    consumers_started(&c, bytes_text("ctask.1"));
    consumers_add(&c, b, 1);
    consume(T0);
    ck_assert_ptr_eq(consumers_reset(&c, true, T0), b);
    ck_assert_str_eq(consume(T0), "qos 1; consume a ctask.3; ");
    ck_assert_int_gt(consumers_wake(&c), T0);
    ck_assert_str_eq(consume(consumers_wake(&c)), "qos 1; consume b ctask.4; ");
}
END_TEST

START_TEST(a_deleted_queues_consumer_is_cancelled)
{
    struct queue *q = known("q");
    uint32_t window;
    consumers_add(&c, q, 1);
    consume(T0);
    consumers_started(&c, bytes_text("ctask.1"));
    consumers_forget(&c, q);
    topology_delete(&t, q);
    ck_assert_ptr_null(consumers_find(&c, bytes_text("ctask.1"), &window));
    ck_assert_uint_ne(window, 0);
    ck_assert_str_eq(consume(T0), "cancel ctask.1; ");
}
END_TEST

/* ---- Any order ------------------------------------------------------------------------------- */

static uint64_t dice;

static unsigned roll(unsigned sides)
{
    dice = dice * 6364136223846793005 + 1442695040888963407;
    return (unsigned)(dice >> 33) % sides;
}

/* The broker answers the oldest question of some channel in one of the ways that it has. */
static void answer_somehow(int64_t now)
{
    amqp_queue_declare_ok_t ok = {0};
    amqp_channel_close_t close = {.reply_code = roll(2) ? 404 : 403,
                                  .reply_text = amqp_text("no queue")};
    static const amqp_method_number_t fits[] = {
        [ASK_LOOK] = AMQP_QUEUE_DECLARE_OK_METHOD,  [ASK_COMPARE] = AMQP_QUEUE_DECLARE_OK_METHOD,
        [ASK_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD, [ASK_BIND] = AMQP_QUEUE_BIND_OK_METHOD,
        [ASK_DELETE] = AMQP_QUEUE_DELETE_OK_METHOD,
    };
    struct asker *a;
    list_each(a, &t.askers, struct asker, link) {
        struct question *k = asker_first(a);
        if ((!k && !a->closing) || roll(3)) continue;
        amqp_method_number_t id = a->closing     ? AMQP_CHANNEL_CLOSE_OK_METHOD
                                  : roll(3) == 0 ? AMQP_CHANNEL_CLOSE_METHOD
                                                 : fits[k->what];
        const void *m = id == AMQP_CHANNEL_CLOSE_METHOD ? (const void *)&close : &ok;
        ck_assert_ptr_null(topology_answer(&t, a->channel, id, m, &out, now, &verdict));
        return;
    }
}

static void happen_somehow(int64_t *now)
{
    char name[] = {'a', 0};
    name[0] = (char)('a' + roll(6));
    struct queue *q = topology_find(&t, name);
    switch (roll(9)) {
    case 0:
    case 1:
        if (!q) topology_add(&t, name, roll(2) ? QUEUE_TASK : QUEUE_FOREIGN)->wanted = roll(2);
        break;
    case 2:
        if (q) topology_doubt(&t, q);
        break;
    case 3:
        if (q && roll(3) == 0) topology_delete(&t, q);
        break;
    case 4: *now += roll(3) ? roll(2000) * CLOCK_MS : 16 * CLOCK_SECOND; break;
    case 5:
        if (roll(20) > 0) break;
        topology_blamed(&t, roll(2), bytes_text("541"), *now);
        topology_reset(&t);
        break;
    default: answer_somehow(*now);
    }
}

/* Else the connection would end for want of a channel, or its owner would turn without sleeping. */
START_TEST(whatever_happens_all_that_can_be_asked_is_asked_at_once)
{
    for (unsigned seed = 0; seed < 200; seed++) {
        int64_t now = T0;
        dice = seed;
        teardown();
        setup();
        t.first = (uint16_t)(CHANNELS - seed % 4);
        t.arguments = seed & 4 ? "x-max-priority=9" : NULL;
        for (int step = 0; step < 300; step++) {
            happen_somehow(&now);
            while (topology_overdue(&t, &out, now, &verdict)) continue;
            ck_assert_msg(topology_ask(&t, &out, now), "seed %u, step %d", seed, step);
            ck_assert_msg(!topology_pending(&t, now), "seed %u, step %d", seed, step);
            buf_consume(&out, out.len);
        }
    }
}
END_TEST

int main(void)
{
    TCase *k = tcase_create("topology");
    tcase_add_checked_fixture(k, setup, teardown);
    tcase_add_test(k, a_queue_that_exists_is_used_as_it_is);
    tcase_add_test(k, a_missing_one_is_declared_durable_and_bound_to_the_exchange_of_its_name);
    tcase_add_test(k, without_such_an_exchange_it_is_there_all_the_same);
    tcase_add_test(k, one_that_exists_is_compared_once_with_what_was_asked_for);
    tcase_add_test(k, one_that_differs_is_used_as_it_is);
    tcase_add_test(k, one_that_another_has_declared_meanwhile_is_used_as_it_is);
    tcase_add_test(k, arguments_that_no_queue_can_have_refuse_it);
    tcase_add_test(k, one_for_which_the_connection_is_closed_is_asked_about_alone_and_three_times);
    tcase_add_test(k, while_suspects_wait_the_others_are_asked_about);
    tcase_add_test(k, a_suspect_that_is_not_answered_for_holds_up_no_other);
    tcase_add_test(k, a_queue_of_somebody_else_is_looked_at_and_never_declared);
    tcase_add_test(k, dead_and_reply_queues_have_no_exchange_of_their_own);
    tcase_add_test(k, a_reply_queue_that_was_lost_is_said_to_be_new);
    tcase_add_test(k, a_task_queue_is_declared_as_asked_for_and_only_then);
    tcase_add_test(k, so_it_is_with_the_arguments_that_were_asked_for);
    tcase_add_test(k, what_cannot_be_asked_for_is_said);
    tcase_add_test(k, so_is_every_other_queue_of_ours);
    tcase_add_test(k, a_lease_queue_sends_home_what_it_holds);
    tcase_add_test(k, looks_are_asked_together_and_a_close_repeats_the_unanswered);
    tcase_add_test(k, a_refusal_is_one_queues_own_and_is_tried_again_later);
    tcase_add_test(k, a_queue_whose_node_is_down_is_not_refused);
    tcase_add_test(k, one_that_is_neither_found_nor_declared_waits);
    tcase_add_test(k, somebody_elses_queue_is_missing_or_on_a_node_that_is_down);
    tcase_add_test(k, somebody_elses_exclusive_queue_is_there);
    tcase_add_test(k, a_queue_that_is_not_answered_for_holds_up_no_other);
    tcase_add_test(k, a_queue_that_is_never_answered_for_is_refused_and_its_channel_given_up);
    tcase_add_test(k, after_a_loss_all_are_looked_at_again);
    tcase_add_test(k, answers_out_of_turn_are_refused);
    tcase_add_test(k, a_queue_deleted_while_asked_for_is_forgotten);
    tcase_add_test(k, consuming_waits_for_the_queue);
    tcase_add_test(k, a_further_consumer_is_opened_and_none_is_cancelled);
    tcase_add_test(k, one_of_several_is_cancelled_by_its_number);
    tcase_add_test(k, after_a_loss_those_that_are_not_cancelled_start_again);
    tcase_add_test(k, a_consumer_that_the_broker_ended_names_its_queue);
    tcase_add_test(k, a_refused_consume_is_tried_again_later_and_the_others_at_once);
    tcase_add_test(k, a_deleted_queues_consumer_is_cancelled);
    tcase_add_test(k, whatever_happens_all_that_can_be_asked_is_asked_at_once);
    Suite *s = suite_create("topology");
    suite_add_tcase(s, k);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
