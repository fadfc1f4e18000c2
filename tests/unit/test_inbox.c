/* test_inbox.c - messages are whole or not there, whatever order and size of frames comes. */
#include "amqp/inbox.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROPS bytes_of("\x10\0\x02", 3)

static struct inbox in;
static struct buf b;
static struct envelope *m;

static void setup(void)
{
    inbox_init(&in, 100);
    in.spool = true;
    b = (struct buf){0};
    m = NULL;
}

static void teardown(void)
{
    inbox_reset(&in);
    envelope_free(m);
    buf_done(&b);
}

static const struct inbox_head head = {.delivery = {7, 3}, .redelivered = true};

static void begin(void)
{
    struct inbox_head h = head;
    h.exchange = bytes_text("x");
    h.routing_key = bytes_text("key");
    h.queue = bytes_text("q");
    ck_assert_ptr_null(inbox_method(&in, &h));
}

static const char *header(uint64_t size)
{
    struct frame f;
    buf_clear(&b);
    ck_assert(frame_header(&b, 3, size, PROPS));
    frame_next(buf_bytes(&b), FRAME_MAX, &f);
    return inbox_content(&in, &f, &m);
}

static const char *body(const char *p, size_t n)
{
    struct frame f = {AMQP_FRAME_BODY, 3, bytes_of(p, n)};
    return inbox_content(&in, &f, &m);
}

START_TEST(a_message_is_put_together_with_all_that_was_said_of_it)
{
    begin();
    ck_assert_ptr_null(header(11));
    ck_assert_ptr_null(m);
    ck_assert_ptr_null(body("hello ", 6));
    ck_assert_ptr_null(m);
    ck_assert(inbox_busy(&in));
    ck_assert_ptr_null(body("world", 5));
    ck_assert_ptr_nonnull(m);
    ck_assert(!inbox_busy(&in));
    ck_assert(bytes_is(m->body, "hello world"));
    ck_assert(bytes_equal(m->props, PROPS));
    ck_assert_str_eq(m->exchange, "x");
    ck_assert_str_eq(m->routing_key, "key");
    ck_assert_str_eq(m->queue, "q");
    ck_assert_uint_eq(m->delivery.tag, 7);
    ck_assert_uint_eq(m->delivery.generation, 3);
    ck_assert(m->redelivered);
    ck_assert_int_eq(m->spool, -1);
}
END_TEST

START_TEST(an_empty_body_has_no_body_frames)
{
    begin();
    ck_assert_ptr_null(header(0));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->body_size, 0);
}
END_TEST

START_TEST(the_limit_itself_is_still_held_in_memory)
{
    char text[100] = {0};
    begin();
    ck_assert_ptr_null(header(100));
    ck_assert_ptr_null(body(text, 100));
    ck_assert_uint_eq(m->body.n, 100);
    ck_assert_int_eq(m->spool, -1);
}
END_TEST

START_TEST(a_body_over_the_limit_is_a_file_without_a_name)
{
    char text[101], back[101];
    struct stat st;
    memset(text, 'a', sizeof text);
    begin();
    ck_assert_ptr_null(header(101));
    ck_assert_ptr_null(body(text, 50));
    ck_assert_ptr_null(body(text + 50, 51));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->body.n, 0);
    ck_assert_uint_eq(m->body_size, 101);
    ck_assert_int_ge(m->spool, 0);
    ck_assert_int_eq(fstat(m->spool, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 0);
    ck_assert_int_eq(pread(m->spool, back, sizeof back, 0), 101);
    ck_assert_mem_eq(text, back, 101);
}
END_TEST

/* The body that is spooled now is read from here into `back`. */
static void spooled_read(char back[101])
{
    ck_assert_ptr_nonnull(m);
    ck_assert_int_ge(m->spool, 0);
    ck_assert_int_eq(pread(m->spool, back, 101, 0), 101);
}

START_TEST(a_body_goes_on_in_memory_where_the_disk_takes_no_more)
{
    char text[101], back[101], path[64];
    for (int i = 0; i < 101; i++) text[i] = (char)i;
    begin();
    ck_assert_ptr_null(header(101));
    ck_assert_ptr_null(body(text, 50));
    snprintf(path, sizeof path, "/proc/self/fd/%d", in.message->spool);
    int read_only = open(path, O_RDONLY);
    ck_assert_int_ge(read_only, 0);
    ck_assert_int_eq(dup2(read_only, in.message->spool), in.message->spool);
    close(read_only);
    ck_assert_ptr_null(body(text + 50, 51));
    spooled_read(back);
    ck_assert_mem_eq(text, back, 101);
    ck_assert_int_eq(m->spool_error, EBADF);
}
END_TEST

START_TEST(a_body_is_in_memory_where_no_file_can_be_had)
{
    char text[101] = "text", back[101];
    setenv("TMPDIR", "/nonexistent", 1);
    begin();
    ck_assert_ptr_null(header(101));
    ck_assert_ptr_null(body(text, 101));
    spooled_read(back);
    ck_assert_mem_eq(text, back, 101);
    ck_assert_int_eq(m->spool_error, ENOENT);
    envelope_free(m);
    /* Too large for that: its head is all that is left. */
    begin();
    ck_assert_ptr_null(header(SPOOL_MEMORY_MAX + 1));
    ck_assert_int_eq(in.message->spool, -1);
    ck_assert_int_eq(in.message->spool_error, ENOENT);
    unsetenv("TMPDIR");
}
END_TEST

START_TEST(without_leave_to_spool_it_is_read_past)
{
    char text[101] = {0};
    struct inbox_head h = head;
    in.spool = false;
    ck_assert_ptr_null(inbox_method(&in, &h));
    ck_assert_ptr_null(header(101));
    ck_assert_ptr_null(body(text, 101));
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->spool, -1);
    ck_assert_uint_eq(m->body.n, 0);
    ck_assert_uint_eq(m->body_size, 101);
}
END_TEST

START_TEST(a_size_beyond_all_memory_costs_none)
{
    begin();
    ck_assert_ptr_null(header(UINT64_MAX));
    ck_assert_ptr_null(body("x", 1));
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(more_than_the_header_said_is_refused)
{
    begin();
    ck_assert_ptr_null(header(3));
    ck_assert_ptr_null(body("ab", 2));
    ck_assert_ptr_nonnull(body("cd", 2));
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(frames_out_of_order_are_refused)
{
    ck_assert_ptr_nonnull(header(3)); /* no method before */
    ck_assert_ptr_nonnull(body("abc", 3));
    begin();
    ck_assert_ptr_nonnull(body("abc", 3)); /* no header before */
    ck_assert_ptr_null(header(3));
    ck_assert_ptr_nonnull(header(3));
    ck_assert_ptr_nonnull(inbox_method(&in, &head)); /* in the middle */
}
END_TEST

START_TEST(a_malformed_header_is_refused)
{
    struct frame f = {AMQP_FRAME_HEADER, 3, bytes_of("\0\x3c\0\0", 4)};
    begin();
    ck_assert_ptr_nonnull(inbox_content(&in, &f, &m));
}
END_TEST

START_TEST(after_a_reset_the_next_message_starts_clean)
{
    begin();
    ck_assert_ptr_null(header(50));
    ck_assert_ptr_null(body("abc", 3));
    inbox_reset(&in);
    begin();
    ck_assert_ptr_null(header(2));
    ck_assert_ptr_null(body("ok", 2));
    ck_assert(bytes_is(m->body, "ok"));
}
END_TEST

START_TEST(names_are_at_most_what_the_wire_can_say)
{
    char name[256];
    struct inbox_head h = head;
    memset(name, 'n', sizeof name);
    h.routing_key = bytes_of(name, 255);
    ck_assert_ptr_null(inbox_method(&in, &h));
    ck_assert_ptr_null(header(0));
    ck_assert_uint_eq(strlen(m->routing_key), 255);
}
END_TEST

START_TEST(the_memory_of_one_is_used_for_another)
{
    struct spares spares = {.size = PARCEL_USUAL, .most = 1};
    char large[PARCEL_USUAL];
    memset(large, 'x', sizeof large);
    in.spares = &spares;
    in.body_max = sizeof large;
    for (int i = 0; i < 3; i++) {
        begin();
        ck_assert_ptr_null(header(5));
        ck_assert_ptr_null(body(i % 2 ? "apple" : "pears", 5));
        ck_assert(bytes_is(m->body, i % 2 ? "apple" : "pears"));
        ck_assert_str_eq(m->queue, "q");
        envelope_recycle(m, &spares);
    }
    begin(); /* one that fits none of them, and one that is not given back */
    ck_assert_ptr_null(header(sizeof large));
    ck_assert_ptr_null(body(large, sizeof large));
    ck_assert_mem_eq(m->body.p, large, sizeof large);
    envelope_recycle(m, &spares);
    begin();
    ck_assert_ptr_null(header(1));
    ck_assert_ptr_null(body("x", 1));
    envelope_free(m);
    envelope_recycle(NULL, &spares);
    m = NULL;
    spares_done(&spares);
}
END_TEST

START_TEST(random_frames_leave_a_state_to_go_on_from)
{
    uint32_t seed = 3;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 1664525 + 1013904223;
        const char *wrong = NULL;
        switch (seed >> 30) {
        case 0: wrong = inbox_method(&in, &head); break;
        case 1: wrong = header(seed >> 8 & 0xff); break;
        default: wrong = body("0123456789", 1 + (seed >> 8) % 10); break;
        }
        envelope_free(m);
        m = NULL;
        if (wrong) inbox_reset(&in); /* its owner ends the connection */
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("inbox");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_message_is_put_together_with_all_that_was_said_of_it);
    tcase_add_test(t, an_empty_body_has_no_body_frames);
    tcase_add_test(t, the_limit_itself_is_still_held_in_memory);
    tcase_add_test(t, a_body_over_the_limit_is_a_file_without_a_name);
    tcase_add_test(t, a_body_goes_on_in_memory_where_the_disk_takes_no_more);
    tcase_add_test(t, a_body_is_in_memory_where_no_file_can_be_had);
    tcase_add_test(t, without_leave_to_spool_it_is_read_past);
    tcase_add_test(t, a_size_beyond_all_memory_costs_none);
    tcase_add_test(t, more_than_the_header_said_is_refused);
    tcase_add_test(t, frames_out_of_order_are_refused);
    tcase_add_test(t, a_malformed_header_is_refused);
    tcase_add_test(t, after_a_reset_the_next_message_starts_clean);
    tcase_add_test(t, names_are_at_most_what_the_wire_can_say);
    tcase_add_test(t, the_memory_of_one_is_used_for_another);
    tcase_add_test(t, random_frames_leave_a_state_to_go_on_from);
    Suite *s = suite_create("inbox");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
