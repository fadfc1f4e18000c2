/* test_props.c - properties are read and written as Celery and librabbitmq do. */
#include "base/props.h"
#include "support/agree.h"
#include "support/golden.h"

#include <check.h>
#include <stdlib.h>

static struct bytes task, result;

static void setup(void)
{
    task = golden_read("celery-task-props.hex");
    result = golden_read("celery-result-props.hex");
}

static void teardown(void)
{
    free((void *)task.p);
    free((void *)result.p);
}

static bool text_agrees(struct bytes ours, bool theirs_is_set, amqp_bytes_t theirs)
{
    return theirs_is_set ? ours.p && bytes_equal(ours, bytes_amqp(theirs)) : !ours.p;
}

static bool number_agrees(bool has, uint64_t ours, bool theirs_is_set, uint64_t theirs)
{
    return has == theirs_is_set && (!has || ours == theirs);
}

static const char *fields_agree(const struct props *p, const amqp_basic_properties_t *q)
{
#define SET(NAME) ((q->_flags & AMQP_BASIC_##NAME##_FLAG) != 0)
#define TEXT(NAME, field) \
    if (!text_agrees(p->field, SET(NAME), q->field)) return #field
#define NUMBER(NAME, field) \
    if (!number_agrees(p->has_##field, p->field, SET(NAME), q->field)) return #field
    TEXT(CONTENT_TYPE, content_type);
    TEXT(CONTENT_ENCODING, content_encoding);
    NUMBER(DELIVERY_MODE, delivery_mode);
    NUMBER(PRIORITY, priority);
    TEXT(CORRELATION_ID, correlation_id);
    TEXT(REPLY_TO, reply_to);
    TEXT(EXPIRATION, expiration);
    TEXT(MESSAGE_ID, message_id);
    NUMBER(TIMESTAMP, timestamp);
    TEXT(TYPE, type);
    TEXT(USER_ID, user_id);
    TEXT(APP_ID, app_id);
    TEXT(CLUSTER_ID, cluster_id);
    if (p->has_headers != SET(HEADERS)) return "headers";
    return p->has_headers ? agree(p->headers, &q->headers) : NULL;
#undef SET
#undef TEXT
#undef NUMBER
}

/* NULL if librabbitmq decodes the same from what was read as *p, else what differs. */
static const char *props_agree(struct bytes raw, const struct props *p)
{
    amqp_pool_t pool;
    void *decoded;
    const char *differs = "they do not decode it";
    init_amqp_pool(&pool, 4096);
    amqp_bytes_t encoded = {.len = raw.n, .bytes = (void *)raw.p};
    if (amqp_decode_properties(AMQP_BASIC_CLASS, &pool, encoded, &decoded) == 0)
        differs = fields_agree(p, decoded);
    empty_amqp_pool(&pool);
    return differs;
}

static void assert_same_bytes_again(struct bytes raw)
{
    struct props p;
    struct buf b = {0};
    ck_assert_pstr_eq(props_read(raw, &p), NULL);
    ck_assert_pstr_eq(props_agree(raw, &p), NULL);
    ck_assert(props_write(&b, &p));
    ck_assert(bytes_equal(buf_bytes(&b), raw));
    buf_done(&b);
}

START_TEST(celerys_task_is_read)
{
    struct props p;
    struct field f;
    ck_assert_uint_eq(task.n, 449);
    ck_assert_pstr_eq(props_read(task, &p), NULL);
    ck_assert(bytes_is(p.content_type, "application/json"));
    ck_assert(bytes_is(p.content_encoding, "utf-8"));
    ck_assert(p.has_delivery_mode && p.delivery_mode == 2);
    ck_assert(p.has_priority && p.priority == 0);
    ck_assert(bytes_is(p.correlation_id, "11111111-2222-4333-8444-555555555555"));
    ck_assert(bytes_is(p.reply_to, "4288a5f2-e44f-3b1e-862d-1c1f86ffe28f"));
    ck_assert(!p.expiration.p && !p.message_id.p && !p.has_timestamp && !p.user_id.p);
    ck_assert(table_find(p.headers, "task", &f) && bytes_is(f.text, "tasks.is_prime"));
    ck_assert(table_find(p.headers, "retries", &f) && f.is_int && f.i == 0);
    ck_assert(table_find(p.headers, "timelimit", &f) && bytes_is(f.text, "VV"));
}
END_TEST

START_TEST(celerys_result_is_read_and_its_headers_are_there_and_empty)
{
    struct props p;
    ck_assert_uint_eq(result.n, 68);
    ck_assert_pstr_eq(props_read(result, &p), NULL);
    ck_assert(p.has_headers && p.headers.n == 0);
    ck_assert_ptr_null(p.reply_to.p);
}
END_TEST

START_TEST(what_celery_wrote_is_written_back_byte_for_byte)
{
    assert_same_bytes_again(task);
    assert_same_bytes_again(result);
    assert_same_bytes_again(bytes_of("\0\0", 2));
}
END_TEST

/* Each property alone and all together, each one also empty. */
START_TEST(every_property_is_written_and_read_as_librabbitmq_does)
{
    for (unsigned set = 0; set <= 14; set++) {
        for (int empty = 0; empty < 2; empty++) {
            struct bytes text = bytes_text(empty ? "" : "some text");
            struct bytes none = bytes_of(NULL, 0);
#define IF(i) (set == 14 || set == (i))
#define TEXT_IF(i) (IF(i) ? text : none)
            struct props p = {
                .content_type = TEXT_IF(0),
                .content_encoding = TEXT_IF(1),
                .has_headers = IF(2),
                .headers = IF(2) && !empty ? bytes_text("\1kV") : none,
                .has_delivery_mode = IF(3),
                .delivery_mode = 2,
                .has_priority = IF(4),
                .priority = 255,
                .correlation_id = TEXT_IF(5),
                .reply_to = TEXT_IF(6),
                .expiration = TEXT_IF(7),
                .message_id = TEXT_IF(8),
                .has_timestamp = IF(9),
                .timestamp = 0x8000000000000001,
                .type = TEXT_IF(10),
                .user_id = TEXT_IF(11),
                .app_id = TEXT_IF(12),
                .cluster_id = TEXT_IF(13),
            };
            struct buf b = {0};
            ck_assert(props_write(&b, &p));
            ck_assert_pstr_eq(props_agree(buf_bytes(&b), &p), NULL);
            assert_same_bytes_again(buf_bytes(&b));
            buf_done(&b);
        }
    }
}
END_TEST

START_TEST(a_cut_at_any_byte_is_noticed)
{
    const struct bytes whole[] = {task, result};
    for (size_t w = 0; w < 2; w++) {
        for (size_t n = 0; n < whole[w].n; n++) {
            struct props p;
            uint8_t *cut = malloc(n); /* exact, for the sanitizer */
            memcpy(cut, whole[w].p, n);
            ck_assert_pstr_eq(props_read(bytes_of(cut, n), &p), "the properties are cut short");
            free(cut);
        }
    }
}
END_TEST

START_TEST(what_follows_and_unknown_flags_are_faults)
{
    struct props p;
    ck_assert_pstr_ne(props_read(bytes_of("\0\0x", 3), &p), NULL);
    ck_assert_pstr_ne(props_read(bytes_of("\0\1\0\0", 4), &p), NULL); /* more flags follow */
    ck_assert_pstr_ne(props_read(bytes_of("\0\2", 2), &p), NULL);
    ck_assert_pstr_ne(props_read(bytes_of(NULL, 0), &p), NULL);
}
END_TEST

START_TEST(wrong_headers_leave_the_other_properties_readable)
{
    struct props p;
    uint8_t *bad = malloc(task.n);
    memcpy(bad, task.p, task.n);
    bad[2 + 17 + 6 + 4 + 5] = 'Q'; /* the kind of the first header */
    ck_assert_pstr_ne(props_read(bytes_of(bad, task.n), &p), NULL);
    ck_assert_uint_eq(p.headers.n, 0);
    ck_assert(bytes_is(p.correlation_id, "11111111-2222-4333-8444-555555555555"));
    ck_assert(bytes_is(p.reply_to, "4288a5f2-e44f-3b1e-862d-1c1f86ffe28f"));
    free(bad);
}
END_TEST

START_TEST(a_text_has_at_most_255_bytes)
{
    char text[256];
    memset(text, 'x', sizeof text);
    struct buf b = {0};
    struct props p = {.message_id = bytes_of(text, 255)};
    ck_assert(props_write(&b, &p));
    assert_same_bytes_again(buf_bytes(&b));
    p.message_id.n = 256;
    ck_assert(!props_write(&b, &p));
    buf_done(&b);
}
END_TEST

START_TEST(a_buffer_too_small_is_said)
{
    struct props p;
    ck_assert_pstr_eq(props_read(task, &p), NULL);
    for (size_t max = 1; max < task.n; max++) {
        struct buf b = {.max = max};
        ck_assert(!props_write(&b, &p));
        buf_done(&b);
    }
}
END_TEST

START_TEST(any_bytes_get_a_verdict_that_librabbitmq_shares)
{
    unsigned taken = 0;
    srand(1);
    for (int round = 0; round < 40000; round++) {
        struct bytes from = round % 2 ? task : result;
        struct props p;
        uint8_t *copy = malloc(from.n);
        memcpy(copy, from.p, from.n);
        for (int i = rand() % 3; i >= 0; i--) copy[(size_t)rand() % from.n] = (uint8_t)rand();
        struct bytes raw = bytes_of(copy, from.n);
        if (!props_read(raw, &p)) {
            taken++;
            ck_assert_pstr_eq(props_agree(raw, &p), NULL);
            assert_same_bytes_again(raw);
        }
        free(copy);
    }
    ck_assert_uint_gt(taken, 1000);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("props");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, celerys_task_is_read);
    tcase_add_test(t, celerys_result_is_read_and_its_headers_are_there_and_empty);
    tcase_add_test(t, what_celery_wrote_is_written_back_byte_for_byte);
    tcase_add_test(t, every_property_is_written_and_read_as_librabbitmq_does);
    tcase_add_test(t, a_cut_at_any_byte_is_noticed);
    tcase_add_test(t, what_follows_and_unknown_flags_are_faults);
    tcase_add_test(t, wrong_headers_leave_the_other_properties_readable);
    tcase_add_test(t, a_text_has_at_most_255_bytes);
    tcase_add_test(t, a_buffer_too_small_is_said);
    tcase_add_test(t, any_bytes_get_a_verdict_that_librabbitmq_shares);
    Suite *s = suite_create("props");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
