/* test_child.c - frames between parent and children survive the trip, and any other bytes are
 * refused without harm. */
#include "wire/child.h"

#include "wire/outcome.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static const struct posted result = {
    .kind = POSTED_RESULT,
    .routing_key = {(const uint8_t *)"ctask.reply.1", 13},
    .props = {(const uint8_t *)"\xfc\0\0p", 4},
    .body = {(const uint8_t *)"{}", 2},
};
static const struct posted follow_up = {
    .kind = POSTED_TASK,
    .exchange = {(const uint8_t *)"x", 1},
    .routing_key = {(const uint8_t *)"key", 3},
    .ensure = {(const uint8_t *)"ctask", 5},
    .props = {(const uint8_t *)"props", 5},
    .body = {(const uint8_t *)"[]", 2},
    .delay = 86400,
};

static void same_posted(const struct posted *a, const struct posted *b)
{
    ck_assert_int_eq(a->kind, b->kind);
    ck_assert(bytes_equal(a->exchange, b->exchange));
    ck_assert(bytes_equal(a->routing_key, b->routing_key));
    ck_assert(bytes_equal(a->ensure, b->ensure));
    ck_assert(bytes_equal(a->props, b->props));
    ck_assert(bytes_equal(a->body, b->body));
    ck_assert_uint_eq(a->delay, b->delay);
}

/* The payload of the one frame in b, which must be of that type. */
static struct bytes only_frame(const struct buf *b, enum child_frame_type expected)
{
    enum child_frame_type type;
    struct bytes payload;
    ck_assert_int_eq(child_frame_next(buf_bytes(b), 0, &type, &payload), 1);
    ck_assert_int_eq(type, expected);
    ck_assert_uint_eq(payload.n + CHILD_HEADER, b->len);
    ck_assert_uint_eq(child_frame_size(buf_head(b)), b->len);
    return payload;
}

static struct job bury_job(void)
{
    struct job j = {.redelivered = true,
                    .queue = bytes_text("ctask"),
                    .props = bytes_of("\0\1\2", 3),
                    .body = bytes_text("[[],{},null]"),
                    .state = STATE_FAILURE};
    fault_set(&j.fault, "WorkerLostError", "signal %d", 9);
    return j;
}

static struct buf done_frame(void)
{
    struct buf posted = {0}, out = {0};
    ck_assert(posted_append(&posted, &result));
    ck_assert(posted_append(&posted, &follow_up));
    struct done d = {.state = DONE_FAILURE, .runtime = 0.125, .posted = buf_bytes(&posted)};
    fault_set(&d.fault, "ValueError", "no \xc3\xa9l\xc3\xa9phant");
    ck_assert(done_write(&out, &d));
    buf_done(&posted);
    return out;
}

START_TEST(a_job_arrives_as_it_was_sent)
{
    struct job sent = bury_job(), j;
    struct buf b = {0};
    ck_assert(job_write(&b, CHILD_BURY, &sent));
    ck_assert(job_read(only_frame(&b, CHILD_BURY), &j));
    ck_assert(j.redelivered);
    ck_assert(bytes_equal(j.queue, sent.queue));
    ck_assert(bytes_equal(j.props, sent.props));
    ck_assert(bytes_equal(j.body, sent.body));
    ck_assert_str_eq(j.state, STATE_FAILURE);
    ck_assert_str_eq(j.fault.type, "WorkerLostError");
    ck_assert_str_eq(j.fault.text, "signal 9");
    buf_done(&b);
}
END_TEST

START_TEST(an_empty_job_arrives_empty)
{
    struct job j;
    struct buf b = {0};
    ck_assert(job_write(&b, CHILD_JOB, &(struct job){0}));
    ck_assert(job_read(only_frame(&b, CHILD_JOB), &j));
    ck_assert(!j.redelivered && j.queue.n == 0 && j.props.n == 0 && j.body.n == 0);
    ck_assert_ptr_null(j.state);
    ck_assert_str_eq(j.fault.type, "");
    buf_done(&b);
}
END_TEST

START_TEST(a_published_message_arrives_as_it_was_sent)
{
    struct posted p;
    struct buf b = {0};
    ck_assert(publish_write(&b, &follow_up));
    ck_assert(publish_read(only_frame(&b, CHILD_PUBLISH), &p));
    same_posted(&p, &follow_up);
    buf_done(&b);
}
END_TEST

START_TEST(the_end_of_a_job_arrives_with_all_its_messages_in_order)
{
    struct buf b = done_frame();
    struct done d;
    struct posted p;
    ck_assert(done_read(only_frame(&b, CHILD_DONE), 0, &d));
    ck_assert_int_eq(d.state, DONE_FAILURE);
    ck_assert_double_eq(d.runtime, 0.125);
    ck_assert_str_eq(d.fault.type, "ValueError");
    ck_assert_str_eq(d.fault.text, "no \xc3\xa9l\xc3\xa9phant");
    ck_assert_int_eq(posted_next(&d.posted, &p), 1);
    same_posted(&p, &result);
    ck_assert_int_eq(posted_next(&d.posted, &p), 1);
    same_posted(&p, &follow_up);
    ck_assert_int_eq(posted_next(&d.posted, &p), 0);
    buf_done(&b);
}
END_TEST

START_TEST(frames_in_a_row_are_taken_one_by_one)
{
    struct buf b = {0};
    ck_assert(publish_write(&b, &result) && publish_write(&b, &follow_up));
    for (int i = 0; i < 2; i++) {
        enum child_frame_type type;
        struct bytes payload;
        struct posted p;
        ck_assert_int_eq(child_frame_next(buf_bytes(&b), 0, &type, &payload), 1);
        ck_assert(publish_read(payload, &p));
        same_posted(&p, i ? &follow_up : &result);
        buf_consume(&b, CHILD_HEADER + payload.n);
    }
    ck_assert_uint_eq(b.len, 0);
    buf_done(&b);
}
END_TEST

START_TEST(a_frame_that_has_not_all_arrived_is_waited_for)
{
    struct buf b = done_frame();
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = malloc(n + !n);
        ck_assert_ptr_nonnull(cut);
        memcpy(cut, buf_head(&b), n);
        enum child_frame_type type;
        struct bytes payload;
        ck_assert_int_eq(child_frame_next(bytes_of(cut, n), 0, &type, &payload), 0);
        free(cut);
    }
    buf_done(&b);
}
END_TEST

START_TEST(a_header_beyond_the_limits_loses_the_stream)
{
    static const uint8_t heads[][CHILD_HEADER] = {{0, 0, 0, 0, 0},       {0, 0, 0, 0, 8},
                                                  {0, 0, 0, 0, 255},     {4, 0, 0, 0, 4},
                                                  {3, 255, 255, 244, 4}, {255, 255, 255, 255, 4}};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        enum child_frame_type type;
        struct bytes payload;
        ck_assert_int_eq(child_frame_next(bytes_of(heads[i], CHILD_HEADER), 0, &type, &payload),
                         -1);
        ck_assert(heads[i][0] == 0 || child_frame_size(heads[i]) == 0);
    }
    static const uint8_t largest[CHILD_HEADER] = {3, 255, 255, 243, 4};
    ck_assert_uint_eq(child_frame_size(largest), CHILD_FRAME_MAX);
}
END_TEST

/* Reads n bytes as each kind of payload; returns which took them. */
static unsigned read_as_all(const uint8_t *p, size_t n)
{
    struct job j;
    struct posted one;
    struct done d;
    struct bytes s = bytes_of(p, n), rest = s;
    unsigned taken = job_read(s, &j) ? 1 : 0;
    if (publish_read(s, &one)) taken |= 2;
    if (done_read(s, 0, &d)) {
        taken |= 4;
        while (posted_next(&d.posted, &one) > 0) continue;
    }
    while (posted_next(&rest, &one) > 0) continue;
    return taken;
}

START_TEST(a_frame_is_of_the_job_that_it_was_asked_for)
{
    struct job j = bury_job();
    j.nonce = 0x0123456789abcdef;
    struct buf b = {0};
    enum child_frame_type type;
    struct bytes payload;
    ck_assert(job_write(&b, CHILD_JOB, &j));
    ck_assert(child_frame_nonce(buf_head(&b)) == j.nonce);
    ck_assert_int_eq(child_frame_next(buf_bytes(&b), j.nonce, &type, &payload), 1);
    ck_assert_int_eq(child_frame_next(buf_bytes(&b), j.nonce + 1, &type, &payload), -1);
    /* Junk is known by its first bytes, whatever length it claims to have. */
    struct bytes start = bytes_of(buf_head(&b), CHILD_HEADER);
    ck_assert_int_eq(child_frame_next(start, j.nonce, &type, &payload), 0);
    ck_assert_int_eq(child_frame_next(start, 0, &type, &payload), -1);

    struct buf frames = done_frame();
    size_t first = frames.len;
    ck_assert(bare_frame_write(&frames, CHILD_OUTPUT));
    child_frames_stamp(&frames, j.nonce);
    ck_assert(child_frame_nonce(buf_head(&frames)) == j.nonce);
    ck_assert(child_frame_nonce(buf_head(&frames) + first) == j.nonce);
    buf_done(&frames);
    buf_done(&b);
}
END_TEST

START_TEST(a_payload_cut_anywhere_is_refused)
{
    struct job j = bury_job();
    struct buf frames[3] = {{0}, {0}, done_frame()};
    ck_assert(job_write(&frames[0], CHILD_BURY, &j));
    ck_assert(publish_write(&frames[1], &follow_up));
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *whole = buf_head(&frames[i]) + CHILD_HEADER;
        size_t size = frames[i].len - CHILD_HEADER;
        unsigned accepted = 0;
        ck_assert_uint_eq(read_as_all(whole, size) & 1u << i, 1u << i);
        for (size_t n = 0; n < size; n++) {
            uint8_t *cut = malloc(n + !n); /* of exact size, for the sanitizer */
            ck_assert_ptr_nonnull(cut);
            memcpy(cut, whole, n);
            if (read_as_all(cut, n) & 1u << i) accepted++;
            free(cut);
        }
        /* A DONE of two messages cut before either of them is a DONE of fewer. */
        ck_assert_uint_eq(accepted, i == 2 ? 2 : 0);
        buf_done(&frames[i]);
    }
}
END_TEST

START_TEST(bytes_after_the_last_field_are_refused)
{
    struct job j = bury_job();
    struct buf b = {0};
    ck_assert(job_write(&b, CHILD_JOB, &j) && buf_u8(&b, 0));
    ck_assert(!job_read(bytes_of(buf_head(&b) + CHILD_HEADER, b.len - CHILD_HEADER), &j));
    buf_clear(&b);
    struct posted p;
    ck_assert(publish_write(&b, &result) && buf_u8(&b, 0));
    ck_assert(!publish_read(bytes_of(buf_head(&b) + CHILD_HEADER, b.len - CHILD_HEADER), &p));
    buf_done(&b);
    b = done_frame();
    struct done d;
    buf_u8(&b, 0);
    ck_assert(!done_read(bytes_of(buf_head(&b) + CHILD_HEADER, b.len - CHILD_HEADER), 0, &d));
    buf_done(&b);
}
END_TEST

START_TEST(a_done_that_holds_too_much_is_refused)
{
    struct done d = {.state = DONE_SUCCESS}, got;
    struct buf posted = {0}, b = {0};
    for (int i = 0; i < DONE_MESSAGES_MAX; i++) ck_assert(posted_append(&posted, &follow_up));
    d.posted = buf_bytes(&posted);
    ck_assert(done_write(&b, &d));
    ck_assert(done_read(only_frame(&b, CHILD_DONE), 0, &got));
    buf_clear(&b);
    ck_assert(posted_append(&posted, &follow_up));
    d.posted = buf_bytes(&posted);
    ck_assert(done_write(&b, &d));
    ck_assert(!done_read(only_frame(&b, CHILD_DONE), 0, &got));
    buf_clear(&posted);
    buf_clear(&b);
    struct posted large = follow_up;
    large.body = bytes_of(calloc(1, DONE_BYTES_MAX), DONE_BYTES_MAX);
    ck_assert(posted_append(&posted, &large));
    d.posted = buf_bytes(&posted);
    ck_assert(done_write(&b, &d));
    ck_assert(!done_read(only_frame(&b, CHILD_DONE), 0, &got));
    ck_assert(done_read(only_frame(&b, CHILD_DONE), 1000, &got)); /* beside the job's own body */
    free((void *)(uintptr_t)large.body.p);
    buf_done(&posted);
    buf_done(&b);
}
END_TEST

START_TEST(every_single_wrong_byte_does_no_harm)
{
    struct buf b = done_frame();
    size_t n = b.len - CHILD_HEADER;
    uint8_t *p = malloc(n);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        for (unsigned v = 0; v < 256; v += 5) {
            memcpy(p, buf_head(&b) + CHILD_HEADER, n);
            p[i] = (uint8_t)v;
            read_as_all(p, n);
        }
    free(p);
    buf_done(&b);
}
END_TEST

START_TEST(values_that_cannot_be_are_refused)
{
    struct done d = {.state = DONE_SUCCESS}, got;
    const double runtimes[] = {-1, NAN, INFINITY, -INFINITY};
    struct buf b = {0};
    for (size_t i = 0; i < 4; i++) {
        d.runtime = runtimes[i];
        ck_assert(done_write(&b, &d));
        ck_assert(!done_read(only_frame(&b, CHILD_DONE), 0, &got));
        buf_clear(&b);
    }
    d = (struct done){.state = (enum done_state)5};
    ck_assert(done_write(&b, &d));
    ck_assert(!done_read(only_frame(&b, CHILD_DONE), 0, &got));
    buf_clear(&b);
    struct job j = {.state = "BOGUS"};
    ck_assert(job_write(&b, CHILD_BURY, &j));
    ck_assert(!job_read(only_frame(&b, CHILD_BURY), &j));
    buf_clear(&b);
    char name[256];
    memset(name, 'q', sizeof name);
    struct posted p = {.kind = POSTED_TASK, .routing_key = bytes_of(name, sizeof name)};
    ck_assert(publish_write(&b, &p));
    ck_assert(!publish_read(only_frame(&b, CHILD_PUBLISH), &p));
    buf_done(&b);
}
END_TEST

START_TEST(a_frame_over_the_limit_is_not_written)
{
    uint8_t *huge = calloc(1, CHILD_FRAME_MAX);
    ck_assert_ptr_nonnull(huge);
    struct buf b = {0};
    ck_assert(buf_append(&b, "before", 6));
    struct posted p = {.kind = POSTED_COPY, .body = bytes_of(huge, CHILD_FRAME_MAX)};
    ck_assert(!publish_write(&b, &p));
    ck_assert(bytes_is(buf_bytes(&b), "before"));
    buf_done(&b);
    b = (struct buf){.max = 64};
    struct job j = {.body = bytes_of(huge, 100)};
    ck_assert(!job_write(&b, CHILD_JOB, &j));
    ck_assert_uint_eq(b.len, 0);
    buf_done(&b);
    free(huge);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("child");
    TCase *tc = tcase_create("frames");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_job_arrives_as_it_was_sent);
    tcase_add_test(tc, an_empty_job_arrives_empty);
    tcase_add_test(tc, a_published_message_arrives_as_it_was_sent);
    tcase_add_test(tc, the_end_of_a_job_arrives_with_all_its_messages_in_order);
    tcase_add_test(tc, frames_in_a_row_are_taken_one_by_one);
    tcase_add_test(tc, a_frame_that_has_not_all_arrived_is_waited_for);
    tcase_add_test(tc, a_header_beyond_the_limits_loses_the_stream);
    tcase_add_test(tc, a_frame_is_of_the_job_that_it_was_asked_for);
    tcase_add_test(tc, a_payload_cut_anywhere_is_refused);
    tcase_add_test(tc, bytes_after_the_last_field_are_refused);
    tcase_add_test(tc, a_done_that_holds_too_much_is_refused);
    tcase_add_test(tc, every_single_wrong_byte_does_no_harm);
    tcase_add_test(tc, values_that_cannot_be_are_refused);
    tcase_add_test(tc, a_frame_over_the_limit_is_not_written);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
