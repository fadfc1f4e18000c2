/* test_frame.c - frames are taken whole or not at all, whatever bytes come. */
#include "amqp/frame.h"

#include <check.h>
#include <stdlib.h>

static struct buf b;

static void setup(void)
{
    b = (struct buf){0};
}

static void teardown(void)
{
    buf_done(&b);
}

static void body_put(struct buf *out, uint16_t channel, const char *text)
{
    size_t n = strlen(text);
    uint8_t *at = frame_room(out, n);
    ck_assert_ptr_nonnull(at);
    memcpy(at, text, n);
    frame_seal(out, AMQP_FRAME_BODY, channel, n);
}

START_TEST(what_is_written_is_read_back)
{
    struct frame f;
    body_put(&b, 7, "hello");
    ck_assert_int_eq(frame_next(buf_bytes(&b), FRAME_MAX, &f), 5 + 8);
    ck_assert_int_eq(f.type, AMQP_FRAME_BODY);
    ck_assert_int_eq(f.channel, 7);
    ck_assert(bytes_is(f.payload, "hello"));
}
END_TEST

START_TEST(a_frame_cut_anywhere_needs_more)
{
    struct frame f;
    body_put(&b, 1, "hello");
    for (size_t n = 0; n < b.len; n++)
        ck_assert_int_eq(frame_next(bytes_of(buf_head(&b), n), FRAME_MAX, &f), 0);
}
END_TEST

START_TEST(a_frame_over_the_limit_is_refused_before_it_is_all_there)
{
    struct frame f;
    const uint8_t head[7] = {AMQP_FRAME_BODY, 0, 1, 0, 1, 255, 249}; /* 131,065 bytes */
    ck_assert_int_eq(frame_next(bytes_of(head, 7), FRAME_MAX, &f), -1);
    const uint8_t fits[7] = {AMQP_FRAME_BODY, 0, 1, 0, 1, 255, 248};
    ck_assert_int_eq(frame_next(bytes_of(fits, 7), FRAME_MAX, &f), 0);
    const uint8_t huge[7] = {AMQP_FRAME_BODY, 0, 1, 255, 255, 255, 255};
    ck_assert_int_eq(frame_next(bytes_of(huge, 7), FRAME_MAX, &f), -1);
}
END_TEST

START_TEST(another_type_or_end_is_refused)
{
    struct frame f;
    body_put(&b, 1, "x");
    uint8_t *p = buf_head(&b);
    for (int type = 0; type < 256; type++) {
        p[0] = (uint8_t)type;
        bool known = type == 1 || type == 2 || type == 3 || type == 8;
        ck_assert_int_eq(frame_next(buf_bytes(&b), FRAME_MAX, &f), known ? 9 : -1);
    }
    p[0] = AMQP_FRAME_BODY;
    p[8] = 0xCD;
    ck_assert_int_eq(frame_next(buf_bytes(&b), FRAME_MAX, &f), -1);
}
END_TEST

static struct frame written(struct buf *from)
{
    struct frame f;
    ck_assert_int_eq(frame_next(buf_bytes(from), FRAME_MAX, &f), (long)from->len);
    return f;
}

START_TEST(a_delivery_is_decoded_and_borrows_from_the_frame)
{
    amqp_pool_t pool;
    amqp_method_number_t id;
    init_amqp_pool(&pool, 512);
    amqp_basic_deliver_t d = {.consumer_tag = amqp_text("ctask.1"),
                              .delivery_tag = UINT64_C(1) << 60,
                              .redelivered = 1,
                              .routing_key = amqp_text("q")};
    ck_assert(frame_method(&b, 3, AMQP_BASIC_DELIVER_METHOD, &d));
    for (int i = 0; i < 1000; i++) { /* the pool is recycled, not grown */
        const amqp_basic_deliver_t *got = method_read(&pool, written(&b).payload, &id);
        ck_assert_ptr_nonnull(got);
        ck_assert_uint_eq(id, AMQP_BASIC_DELIVER_METHOD);
        ck_assert_uint_eq(got->delivery_tag, UINT64_C(1) << 60);
        ck_assert(bytes_is(bytes_amqp(got->consumer_tag), "ctask.1"));
        ck_assert(got->redelivered);
    }
    ck_assert_int_le(pool.pages.num_blocks, 1);
    empty_amqp_pool(&pool);
}
END_TEST

START_TEST(only_what_a_broker_says_to_a_client_reaches_the_decoder)
{
    amqp_pool_t pool;
    amqp_method_number_t id;
    init_amqp_pool(&pool, 512);
    amqp_queue_declare_t declare = {.queue = amqp_text("q")};
    ck_assert(frame_method(&b, 1, AMQP_QUEUE_DECLARE_METHOD, &declare));
    ck_assert_ptr_null(method_read(&pool, written(&b).payload, &id));
    ck_assert_uint_eq(id, AMQP_QUEUE_DECLARE_METHOD);
    ck_assert_ptr_null(method_read(&pool, bytes_of("\0\x3c\0", 3), &id));
    ck_assert_uint_eq(id, 0);
    empty_amqp_pool(&pool);
}
END_TEST

START_TEST(a_method_cut_anywhere_is_refused)
{
    amqp_pool_t pool;
    amqp_method_number_t id;
    init_amqp_pool(&pool, 512);
    amqp_basic_return_t r = {312, amqp_text("NO_ROUTE"), amqp_text("x"), amqp_text("key")};
    ck_assert(frame_method(&b, 1, AMQP_BASIC_RETURN_METHOD, &r));
    struct bytes whole = written(&b).payload;
    ck_assert_ptr_nonnull(method_read(&pool, whole, &id));
    for (size_t n = 0; n < whole.n; n++) {
        uint8_t *copy = malloc(n + !n); /* so that a sanitizer sees a read too far */
        memcpy(copy, whole.p, n);
        ck_assert_ptr_null(method_read(&pool, bytes_of(copy, n), &id));
        free(copy);
    }
    empty_amqp_pool(&pool);
}
END_TEST

START_TEST(a_content_header_gives_size_and_properties)
{
    uint64_t size;
    struct bytes props;
    ck_assert(frame_header(&b, 1, UINT64_C(0x123456789a), bytes_of("\x10\0\x02", 3)));
    struct bytes payload = written(&b).payload;
    ck_assert(header_read(payload, &size, &props));
    ck_assert_uint_eq(size, UINT64_C(0x123456789a));
    ck_assert(bytes_equal(props, bytes_of("\x10\0\x02", 3)));
    for (size_t n = 0; n < 14; n++) ck_assert(!header_read(bytes_of(payload.p, n), &size, &props));
    buf_head(&b)[7 + 1] = 61;
    ck_assert(!header_read(payload, &size, &props));
}
END_TEST

START_TEST(a_full_buffer_is_left_as_it_was)
{
    b.max = 5000;
    amqp_channel_open_t open = {0};
    while (frame_method(&b, 1, AMQP_CHANNEL_OPEN_METHOD, &open)) {
    }
    struct frame f;
    struct bytes rest = buf_bytes(&b);
    while (rest.n > 0) {
        long n = frame_next(rest, FRAME_MAX, &f);
        ck_assert_int_gt(n, 0);
        rest = bytes_of(rest.p + n, rest.n - (size_t)n);
    }
}
END_TEST

START_TEST(random_bytes_never_give_a_frame_outside_of_them)
{
    uint32_t seed = 1;
    uint8_t bytes[64];
    for (int i = 0; i < 200000; i++) {
        struct frame f;
        for (size_t k = 0; k < sizeof bytes; k++) {
            seed = seed * 1664525 + 1013904223;
            bytes[k] = (uint8_t)(seed >> 24);
        }
        bytes[0] = (uint8_t)(1 + i % 3);
        bytes[3] = bytes[4] = bytes[5] = 0;
        long n = frame_next(bytes_of(bytes, sizeof bytes), FRAME_MAX, &f);
        if (n > 0) ck_assert(f.payload.p + f.payload.n < bytes + sizeof bytes);
    }
}
END_TEST

/* ---- The four methods of each message, beside librabbitmq --------------------------------------
 */

static uint32_t dice = 1;

static uint32_t roll(uint32_t n)
{
    dice = dice * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)dice * n >> 32);
}

static bool same(struct bytes a, amqp_bytes_t b)
{
    return bytes_equal(a, bytes_amqp(b));
}

static void delivers_agree(amqp_pool_t *pool, struct bytes payload)
{
    struct deliver d;
    amqp_method_number_t id;
    const amqp_basic_deliver_t *theirs = method_read(pool, payload, &id);
    bool read = deliver_read(payload, &d);
    ck_assert_int_eq(read, theirs != NULL);
    if (!read) return;
    ck_assert(same(d.consumer_tag, theirs->consumer_tag));
    ck_assert(same(d.exchange, theirs->exchange));
    ck_assert(same(d.routing_key, theirs->routing_key));
    ck_assert_uint_eq(d.tag, theirs->delivery_tag);
    ck_assert_int_eq(d.redelivered, theirs->redelivered);
}

static void confirms_agree(amqp_pool_t *pool, struct bytes payload)
{
    struct confirm c;
    amqp_method_number_t id;
    const void *theirs = method_read(pool, payload, &id);
    const amqp_basic_ack_t *ack = theirs;
    const amqp_basic_nack_t *nack = theirs;
    bool read = confirm_read(payload, &c);
    ck_assert_int_eq(read, theirs != NULL);
    if (!read) return;
    bool is_ack = id == AMQP_BASIC_ACK_METHOD;
    ck_assert_uint_eq(c.tag, is_ack ? ack->delivery_tag : nack->delivery_tag);
    ck_assert_int_eq(c.multiple, is_ack ? ack->multiple : nack->multiple);
}

START_TEST(what_comes_with_each_message_is_read_as_by_librabbitmq)
{
    static const uint8_t methods[] = {60, 80, 120}; /* deliver, ack, nack */
    amqp_pool_t pool;
    init_amqp_pool(&pool, 512);
    for (int round = 0; round < 300000; round++) {
        size_t n = 4 + roll(40);
        uint8_t *payload = malloc(n); /* of exact size, for the sanitizer */
        ck_assert_ptr_nonnull(payload);
        for (size_t i = 0; i < n; i++) payload[i] = (uint8_t)roll(roll(2) ? 256 : 12);
        uint8_t method = methods[roll(3)];
        memcpy(payload, (uint8_t[]){0, 60, 0, method}, 4);
        ck_assert_uint_eq(method_number(bytes_of(payload, n)), 60u << 16 | method);
        if (method == 60)
            delivers_agree(&pool, bytes_of(payload, n));
        else
            confirms_agree(&pool, bytes_of(payload, n));
        free(payload);
    }
    ck_assert_uint_eq(method_number(bytes_of("\0\0\0", 3)), 0);
    empty_amqp_pool(&pool);
}
END_TEST

START_TEST(a_publish_is_written_as_by_librabbitmq)
{
    char name[256];
    memset(name, 'x', sizeof name);
    for (uint32_t round = 0; round < 2000; round++) {
        size_t exchange = round < 256 ? round : roll(256), key = round < 256 ? 255 : roll(256);
        struct buf theirs = {0};
        amqp_basic_publish_t publish = {
            .exchange = {exchange, name}, .routing_key = {key, name}, .mandatory = 1};
        buf_clear(&b);
        ck_assert(frame_publish(&b, 7, bytes_of(name, exchange), bytes_of(name, key)));
        ck_assert(frame_method(&theirs, 7, AMQP_BASIC_PUBLISH_METHOD, &publish));
        ck_assert(bytes_equal(buf_bytes(&b), buf_bytes(&theirs)));
        buf_done(&theirs);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("frame");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_written_is_read_back);
    tcase_add_test(t, a_frame_cut_anywhere_needs_more);
    tcase_add_test(t, a_frame_over_the_limit_is_refused_before_it_is_all_there);
    tcase_add_test(t, another_type_or_end_is_refused);
    tcase_add_test(t, a_delivery_is_decoded_and_borrows_from_the_frame);
    tcase_add_test(t, only_what_a_broker_says_to_a_client_reaches_the_decoder);
    tcase_add_test(t, a_method_cut_anywhere_is_refused);
    tcase_add_test(t, a_content_header_gives_size_and_properties);
    tcase_add_test(t, a_full_buffer_is_left_as_it_was);
    tcase_add_test(t, random_bytes_never_give_a_frame_outside_of_them);
    tcase_add_test(t, what_comes_with_each_message_is_read_as_by_librabbitmq);
    tcase_add_test(t, a_publish_is_written_as_by_librabbitmq);
    Suite *s = suite_create("frame");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
