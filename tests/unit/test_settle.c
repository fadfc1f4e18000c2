/* test_settle.c - acks are few, name only what the broker has outstanding, and never another
 * channel's deliveries. A model of the broker's side checks every frame. */
#include "amqp/frame.h"
#include "amqp/settle.h"

#include <check.h>
#include <stdlib.h>

#define CHANNEL 3
#define TAGS 20000

static struct settle s;
static struct buf out;
static amqp_pool_t pool;
static bool outstanding[TAGS + 1]; /* the broker's view */
static unsigned frames;

static void setup(void)
{
    s = (struct settle){0};
    out = (struct buf){0};
    memset(outstanding, 0, sizeof outstanding);
    frames = 0;
    init_amqp_pool(&pool, 512);
    settle_begin(&s, s.generation + 1);
}

static void teardown(void)
{
    settle_done(&s);
    buf_done(&out);
    empty_amqp_pool(&pool);
}

static struct delivery delivery(uint64_t tag)
{
    return (struct delivery){tag, s.generation};
}

static void deliver(uint64_t tag)
{
    ck_assert_ptr_null(settle_add(&s, tag));
    outstanding[tag] = true;
}

/* What RabbitMQ does: a tag that is not outstanding closes the channel. */
static void broker_settle(uint64_t tag, bool multiple)
{
    ck_assert_msg(outstanding[tag], "tag %u is unknown to the broker", (unsigned)tag);
    for (uint64_t t = multiple ? 1 : tag; t <= tag; t++) outstanding[t] = false;
}

static void broker_reads(void)
{
    struct frame f;
    amqp_method_number_t id;
    long n;
    while ((n = frame_next(buf_bytes(&out), FRAME_MAX, &f)) > 0) {
        ck_assert_uint_eq(f.channel, CHANNEL);
        const void *m = method_read(&pool, f.payload, &id);
        const amqp_basic_ack_t *ack = m;
        const amqp_basic_nack_t *nack = m;
        if (id == AMQP_BASIC_ACK_METHOD) {
            broker_settle(ack->delivery_tag, ack->multiple);
        } else {
            ck_assert_uint_eq(id, AMQP_BASIC_NACK_METHOD);
            ck_assert(nack->requeue && !nack->multiple);
            broker_settle(nack->delivery_tag, false);
        }
        frames++;
        buf_consume(&out, (size_t)n);
    }
}

static void flush(void)
{
    ck_assert(settle_flush(&s, &out, CHANNEL));
    broker_reads();
}

START_TEST(what_is_settled_from_the_front_is_one_frame)
{
    for (uint64_t t = 1; t <= 100; t++) deliver(t);
    for (uint64_t t = 60; t >= 1; t--) ck_assert(settle_ack(&s, delivery(t)));
    flush();
    ck_assert_uint_eq(frames, 1);
    for (uint64_t t = 1; t <= 100; t++) ck_assert(outstanding[t] == (t > 60));
}
END_TEST

START_TEST(behind_an_unsettled_one_acks_are_single)
{
    for (uint64_t t = 1; t <= 10; t++) deliver(t);
    for (uint64_t t = 1; t <= 10; t++)
        if (t != 4) settle_ack(&s, delivery(t));
    flush();
    ck_assert_uint_eq(frames, 1 + 6);
    for (uint64_t t = 1; t <= 10; t++) ck_assert(outstanding[t] == (t == 4));
    settle_ack(&s, delivery(4));
    flush();
    ck_assert(!outstanding[4]);
}
END_TEST

START_TEST(the_last_of_a_prefix_is_itself_acked_not_given_back)
{
    for (uint64_t t = 1; t <= 4; t++) deliver(t);
    settle_ack(&s, delivery(1));
    settle_ack(&s, delivery(2));
    ck_assert(settle_give_back(&s, delivery(3), &out, CHANNEL));
    broker_reads();
    flush(); /* multiple up to 2; 3 is gone, and acking it would close the channel */
    ck_assert_uint_eq(frames, 2);
    ck_assert(outstanding[4]);
}
END_TEST

START_TEST(settling_twice_does_nothing)
{
    deliver(1);
    deliver(2);
    ck_assert(settle_ack(&s, delivery(2)));
    ck_assert(!settle_ack(&s, delivery(2)));
    ck_assert(settle_give_back(&s, delivery(2), &out, CHANNEL));
    flush();
    ck_assert(!settle_ack(&s, delivery(2)));
    flush();
    ck_assert_uint_eq(frames, 1);
}
END_TEST

START_TEST(a_delivery_of_an_earlier_channel_is_never_settled_on_this_one)
{
    deliver(1);
    struct delivery old = delivery(1);
    settle_begin(&s, s.generation + 1);
    memset(outstanding, 0, sizeof outstanding);
    deliver(1); /* another message */
    ck_assert(!settle_is_open(&s, old));
    ck_assert(!settle_ack(&s, old));
    ck_assert(settle_give_back(&s, old, &out, CHANNEL));
    flush();
    ck_assert_uint_eq(frames, 0);
    ck_assert(outstanding[1]);
}
END_TEST

START_TEST(acks_that_did_not_leave_die_with_the_channel)
{
    deliver(1);
    settle_ack(&s, delivery(1));
    settle_begin(&s, s.generation + 1);
    flush();
    ck_assert_uint_eq(frames, 0);
}
END_TEST

START_TEST(tags_that_do_not_grow_are_refused)
{
    deliver(5);
    ck_assert_ptr_nonnull(settle_add(&s, 5));
    ck_assert_ptr_nonnull(settle_add(&s, 4));
    ck_assert_ptr_nonnull(settle_add(&s, 0));
}
END_TEST

START_TEST(a_long_task_at_the_front_costs_no_memory_for_those_behind_it)
{
    deliver(1);
    for (uint64_t t = 2; t <= TAGS; t++) {
        deliver(t);
        settle_ack(&s, delivery(t));
        flush();
    }
    ck_assert_uint_le(s.cap, 128);
    ck_assert(outstanding[1]);
    settle_ack(&s, delivery(1));
    flush();
    ck_assert(!outstanding[1]);
}
END_TEST

START_TEST(any_order_settles_everything_once)
{
    uint32_t seed = 11;
    uint64_t open[256], next = 1;
    size_t n = 0;
    while (next <= TAGS || n > 0) {
        seed = seed * 1664525 + 1013904223;
        if (next <= TAGS && n < 256 && (seed >> 30) != 0) {
            deliver(next);
            open[n++] = next++;
        } else if (n > 0) {
            size_t i = (seed >> 8) % n;
            if (seed >> 28 & 1)
                ck_assert(settle_ack(&s, delivery(open[i])));
            else
                ck_assert(settle_give_back(&s, delivery(open[i]), &out, CHANNEL));
            open[i] = open[--n];
        }
        if ((seed >> 20 & 15) == 0) flush();
    }
    flush();
    for (uint64_t t = 1; t <= TAGS; t++) ck_assert(!outstanding[t]);
    ck_assert_uint_eq(s.first, s.end);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("settle");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_settled_from_the_front_is_one_frame);
    tcase_add_test(t, behind_an_unsettled_one_acks_are_single);
    tcase_add_test(t, the_last_of_a_prefix_is_itself_acked_not_given_back);
    tcase_add_test(t, settling_twice_does_nothing);
    tcase_add_test(t, a_delivery_of_an_earlier_channel_is_never_settled_on_this_one);
    tcase_add_test(t, acks_that_did_not_leave_die_with_the_channel);
    tcase_add_test(t, tags_that_do_not_grow_are_refused);
    tcase_add_test(t, a_long_task_at_the_front_costs_no_memory_for_those_behind_it);
    tcase_add_test(t, any_order_settles_everything_once);
    Suite *suite = suite_create("settle");
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
