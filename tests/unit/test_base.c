/* test_base.c - lists, maps, heaps, buffers, clocks, errors and descriptors keep their
 * headers' promises. Tables, properties, URLs and the log have tests of their own. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/throttle.h"
#include "base/utf8.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct item {
    struct list link;
    struct map_node node;
    struct heap_node deadline;
    char key[16];
    bool seen;
};

START_TEST(list_keeps_the_order_and_removing_twice_is_harmless)
{
    struct list l;
    list_init(&l);
    struct item a, b, c;
    ck_assert(list_empty(&l));
    list_append(&l, &b.link);
    list_append(&l, &c.link);
    list_prepend(&l, &a.link);
    ck_assert_ptr_eq(list_first(&l, struct item, link), &a);
    ck_assert_ptr_eq(list_last(&l, struct item, link), &c);
    list_remove(&b.link);
    list_remove(&b.link);
    const struct item *at, *left[] = {&a, &c};
    size_t n = 0;
    list_each(at, &l, struct item, link) ck_assert_ptr_eq(at, left[n++]);
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(list_members_may_be_freed_while_it_is_walked)
{
    struct list l;
    list_init(&l);
    for (int i = 0; i < 10; i++) {
        struct item *new = calloc(1, sizeof *new);
        ck_assert_ptr_nonnull(new);
        list_append(&l, &new->link);
    }
    struct item *at;
    list_each(at, &l, struct item, link) {
        list_remove(&at->link);
        free(at);
    }
    ck_assert(list_empty(&l));
}
END_TEST

static void items_add(struct map *m, struct item *items, int n)
{
    for (int i = 0; i < n; i++) {
        snprintf(items[i].key, sizeof items[i].key, "key %d", i);
        items[i].node.key = bytes_text(items[i].key);
        ck_assert(map_add(m, &items[i].node));
    }
}

START_TEST(map_finds_what_was_added_and_not_what_was_removed)
{
    enum { N = 10000 };
    struct map m = {0};
    struct item *items = calloc(N, sizeof *items);
    ck_assert_ptr_null(map_find(&m, bytes_text("key 1")));
    items_add(&m, items, N);
    for (int i = 0; i < N; i += 2) map_remove(&m, &items[i].node);
    ck_assert_uint_eq(m.count, N / 2);
    for (int i = 0; i < N; i++) {
        const struct map_node *found = map_find(&m, bytes_text(items[i].key));
        ck_assert_ptr_eq(found, i % 2 ? &items[i].node : NULL);
        ck_assert_ptr_eq(map_find(&m, bytes_text(items[i].key)), found);
    }
    for (int i = 1; i < N; i += 2) { /* one that was just found goes too */
        ck_assert_ptr_nonnull(map_find(&m, bytes_text(items[i].key)));
        map_remove(&m, &items[i].node);
        ck_assert_ptr_null(map_find(&m, bytes_text(items[i].key)));
    }
    map_done(&m);
    ck_assert_ptr_null(map_find(&m, bytes_text("key 1")));
    free(items);
}
END_TEST

START_TEST(map_takes_any_bytes_as_key)
{
    static const char zeros[32];
    struct map m = {0};
    struct map_node nodes[32];
    for (size_t i = 0; i < 32; i++) {
        nodes[i].key = bytes_of(zeros, i);
        ck_assert(map_add(&m, &nodes[i]));
    }
    for (size_t i = 0; i < 32; i++) ck_assert_ptr_eq(map_find(&m, bytes_of(zeros, i)), &nodes[i]);
    map_done(&m);
}
END_TEST

START_TEST(map_any_empties_a_map_and_meets_everyone_once)
{
    enum { N = 100000 }; /* quadratic cost would not end in time */
    struct map m = {0};
    struct item *items = calloc(N, sizeof *items);
    items_add(&m, items, N);
    struct map_node *n;
    while ((n = map_any(&m))) {
        struct item *item = container_of(n, struct item, node);
        ck_assert(!item->seen);
        item->seen = true;
        map_remove(&m, n);
    }
    for (int i = 0; i < N; i++) ck_assert(items[i].seen);
    ck_assert(map_add(&m, &items[7].node));
    ck_assert_ptr_eq(map_any(&m), &items[7].node);
    map_done(&m);
    free(items);
}
END_TEST

START_TEST(heap_gives_the_earliest_first_whatever_was_removed)
{
    enum { N = 2000 };
    struct heap h = {0};
    struct item *items = calloc(N, sizeof *items);
    ck_assert_ptr_null(heap_first(&h));
    for (int i = 0; i < N; i++) {
        items[i].deadline.at = i * 7919 % 997;
        ck_assert(heap_add(&h, &items[i].deadline));
    }
    for (int i = 0; i < N; i += 3) heap_remove(&h, &items[i].deadline);
    for (int i = 0; i < N; i += 3) heap_remove(&h, &items[i].deadline); /* twice is harmless */
    int64_t last = INT64_MIN;
    size_t left = 0;
    struct heap_node *n;
    while ((n = heap_first(&h))) {
        ck_assert_int_ge(n->at, last);
        last = n->at;
        ck_assert_uint_ne(n->place, 0);
        heap_remove(&h, n);
        ck_assert_uint_eq(n->place, 0);
        left++;
    }
    ck_assert_uint_eq(left, N - (N + 2) / 3);
    heap_done(&h);
    free(items);
}
END_TEST

START_TEST(buf_is_a_queue_of_bytes_through_all_growth)
{
    struct buf b = {0};
    uint8_t next_in = 0, next_out = 0;
    unsigned wrong = 0; /* counted: an assert for each byte takes its time */
    for (unsigned step = 1; step < 3000; step++) {
        for (unsigned i = 0; i < step % 701; i++) wrong += !buf_u8(&b, next_in++);
        size_t n = b.len < step % 653 ? b.len : step % 653;
        for (size_t i = 0; i < n; i++) wrong += buf_head(&b)[i] != next_out++;
        buf_consume(&b, n);
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq((uint8_t)(next_out + b.len), next_in);
    buf_done(&b);
    ck_assert_uint_eq(buf_bytes(&b).n, 0);
    ck_assert(buf_append(&b, "again", 5) && bytes_is(buf_bytes(&b), "again"));
    buf_done(&b);
}
END_TEST

START_TEST(buf_over_max_refuses_and_stays_as_it_was)
{
    struct buf b = {.max = 1000};
    uint8_t block[600] = {0};
    ck_assert(buf_append(&b, block, sizeof block));
    ck_assert(!buf_append(&b, block, sizeof block));
    ck_assert(b.failed);
    ck_assert_uint_eq(b.len, 600);
    ck_assert(!buf_u8(&b, 1)); /* until it is cleared: one look at the end of a run is enough */
    buf_clear(&b);
    ck_assert(!b.failed);
    ck_assert(buf_append(&b, block, 600) && buf_append(&b, block, 400) && !buf_u8(&b, 1));
    buf_clear(&b);
    ck_assert_ptr_null(buf_room(&b, SIZE_MAX));
    buf_done(&b);
    ck_assert_uint_eq(b.max, 1000);
}
END_TEST

START_TEST(buf_that_stays_full_is_not_copied_at_each_append)
{
    struct buf b = {0};
    unsigned moves = 0, failures = 0;
    for (int i = 0; i < 65536; i++) failures += !buf_u8(&b, 0);
    buf_consume(&b, 1);
    for (int i = 0; i < 500000; i++) {
        const uint8_t *data = b.data;
        size_t off = b.off;
        failures += !buf_u8(&b, 0);
        if (b.data != data || b.off != off) moves++;
        buf_consume(&b, 1);
    }
    ck_assert_uint_eq(failures, 0);
    ck_assert_uint_le(moves, 500000 / 65536 + 2);
    buf_done(&b);
}
END_TEST

START_TEST(buf_over_memory_of_others_takes_to_its_own_when_that_is_full)
{
    uint8_t room[8];
    struct buf b = buf_over(room, sizeof room, 20);
    ck_assert(buf_append(&b, "12345678", 8));
    ck_assert_ptr_eq(buf_head(&b), room);
    ck_assert(buf_append(&b, "9", 1));
    ck_assert_ptr_ne(buf_head(&b), room);
    ck_assert(bytes_is(buf_bytes(&b), "123456789"));
    ck_assert(!buf_append(&b, "123456789012", 12));
    ck_assert(b.failed);
    buf_done(&b);
    b = buf_over(room, sizeof room, 4); /* less than there is room for */
    ck_assert(!buf_append(&b, "12345", 5));
    buf_clear(&b);
    ck_assert(buf_append(&b, "1234", 4));
    buf_done(&b);
    ck_assert(buf_append(&b, "1", 1));
    ck_assert_ptr_ne(buf_head(&b), room);
    buf_done(&b);
}
END_TEST

START_TEST(buf_writes_integers_in_network_order)
{
    static const uint8_t want[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct buf b = {0};
    ck_assert(buf_u8(&b, 1) && buf_u16(&b, 0x0203) && buf_u32(&b, 0x04050607) &&
              buf_u64(&b, 0x08090a0b0c0d0e0f));
    ck_assert(bytes_equal(buf_bytes(&b), bytes_of(want, sizeof want)));
    buf_done(&b);
    memset(buf_room(&b, 8), 7, 8);
    buf_added(&b, 8);
    ck_assert_uint_eq(b.len, 8);
    ck_assert_ptr_nonnull(buf_room(&b, 0));
    buf_done(&b);
}
END_TEST

START_TEST(clock_never_wakes_early_and_never_overflows)
{
    ck_assert_int_eq(clock_poll_ms(CLOCK_NEVER, 5), -1);
    ck_assert_int_eq(clock_poll_ms(5, 5), 0);
    ck_assert_int_eq(clock_poll_ms(4, 5), 0);
    ck_assert_int_eq(clock_poll_ms(6, 5), 1);
    ck_assert_int_eq(clock_poll_ms(5 + CLOCK_MS, 5), 1);
    ck_assert_int_eq(clock_poll_ms(6 + CLOCK_MS, 5), 2);
    ck_assert_int_eq(clock_poll_ms(CLOCK_NEVER - 1, 0), 60000);
    ck_assert_int_eq(clock_in(-1), CLOCK_NEVER);
    ck_assert_int_eq(clock_in((double)NAN), CLOCK_NEVER);
    ck_assert_int_eq(clock_in((double)INFINITY), CLOCK_NEVER);
    ck_assert_int_eq(clock_in(1e300), CLOCK_NEVER);
    int64_t now = clock_now(), then = clock_in(2.5);
    ck_assert_int_ge(then, now + 5 * CLOCK_SECOND / 2);
    ck_assert_int_lt(then, now + 60 * CLOCK_SECOND);
}
END_TEST

START_TEST(error_texts_may_be_built_from_themselves_and_are_cut)
{
    struct ctask_error e;
    ck_assert_int_eq(error_set(&e, CTASK_ECONN, "no answer from %s", "a host"), CTASK_ECONN);
    ck_assert_uint_eq(e.flags, CTASK_RETRIABLE);
    ck_assert_int_eq(error_set(&e, CTASK_EINVAL, "outer: %s", e.text), CTASK_EINVAL);
    ck_assert_str_eq(e.text, "outer: no answer from a host");
    ck_assert_uint_eq(e.flags, 0);
    ck_assert_int_eq(error_set(NULL, CTASK_EINVAL, "nobody asks"), CTASK_EINVAL);
    ck_assert_int_eq(error_raise(&e), CTASK_EINVAL);
    ck_assert_str_eq(ctask_error()->text, e.text);
    error_set(&e, CTASK_EINVAL, "%01000d", 7);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
#define HAS_A_SENTENCE(name, value, flags, text) ck_assert_str_eq(ctask_strerror(value), text);
    CTASK_ERRORS(HAS_A_SENTENCE)
#undef HAS_A_SENTENCE
    ck_assert_str_eq(ctask_strerror(-9999), "an unknown error");
}
END_TEST

START_TEST(fd_reads_all_or_tells_a_clean_end_from_a_torn_one)
{
    int fds[2];
    char in[8];
    ck_assert_int_eq(fd_pair(fds), 0);
    ck_assert(fcntl(fds[0], F_GETFD) & FD_CLOEXEC && fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(fd_write_all(fds[0], "12345678abc", 11), 0);
    ck_assert_int_eq(fd_read_all(fds[1], in, 8), 1);
    ck_assert_mem_eq(in, "12345678", 8);
    close(fds[0]);
    ck_assert_int_eq(fd_read_all(fds[1], in, 8), -1);
    ck_assert_int_eq(fd_read_all(fds[1], in, 8), 0);
    ck_assert_int_eq(fd_write_all(fds[1], "x", 1), -1); /* and no SIGPIPE */
    ck_assert_int_eq(errno, EPIPE);
    ck_assert_int_eq(fd_nonblock(fds[1], true), 0);
    ck_assert(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
    ck_assert_int_eq(fd_nonblock(fds[1], false), 0);
    ck_assert(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
    close(fds[1]);
}
END_TEST

START_TEST(fd_spool_leaves_no_name_behind)
{
    struct stat st;
    char in[4];
    int fd = fd_spool();
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(fd_write_all(fd, "body", 4), 0);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(fd_read_all(fd, in, 4), 1);
    ck_assert_mem_eq(in, "body", 4);
    close(fd);
    setenv("TMPDIR", "/nonexistent", 1);
    ck_assert_int_eq(fd_spool(), -1);
}
END_TEST

/* Each byte at each place among plain ones, whatever is looked at at once. */
START_TEST(text_has_no_control_characters_and_is_utf8)
{
    for (unsigned c = 0; c < 256; c++)
        for (size_t at = 0; at < 17; at++) {
            uint8_t text[17];
            memset(text, ' ' + (int)(at % 95), sizeof text);
            text[at] = (uint8_t)c;
            ck_assert_int_eq(utf8_is_text(bytes_of(text, sizeof text)), c >= 0x20 && c < 0x7f);
        }
    ck_assert(utf8_is_text(bytes_text("eight   then \u20ac and ~")));
    ck_assert(utf8_is_text(bytes_text("1234567\xe2\x82\xac 12345678")));
    ck_assert(!utf8_is_text(bytes_text("1234567\xe2\x82 12345678")));
}
END_TEST

START_TEST(a_topic_passes_once_a_minute_and_counts_what_did_not)
{
    struct throttle t;
    unsigned left_out = 7;
    int64_t minute = 60 * CLOCK_SECOND, now = CLOCK_SECOND;
    throttle_init(&t);
    ck_assert(throttle_pass(&t, "a", now, &left_out));
    ck_assert_uint_eq(left_out, 0);
    for (int i = 0; i < 5; i++) ck_assert(!throttle_pass(&t, "a", now + i, &left_out));
    ck_assert(throttle_pass(&t, "b", now, &left_out));
    ck_assert_uint_eq(left_out, 0);
    ck_assert(throttle_pass(&t, "a", now + minute, &left_out));
    ck_assert_uint_eq(left_out, 5);
    ck_assert(!throttle_pass(&t, "a", now + 2 * minute - 1, &left_out));
    throttle_done(&t);
}
END_TEST

START_TEST(topics_without_end_share_one_line_a_minute)
{
    struct throttle t;
    unsigned left_out, passed = 0;
    char name[16];
    throttle_init(&t);
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "%d", i);
        passed += throttle_pass(&t, name, CLOCK_SECOND, &left_out);
    }
    ck_assert_uint_le(passed, 101);
    ck_assert_uint_le(t.count, 101);
    throttle_done(&t);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("base");
    tcase_add_test(t, list_keeps_the_order_and_removing_twice_is_harmless);
    tcase_add_test(t, list_members_may_be_freed_while_it_is_walked);
    tcase_add_test(t, map_finds_what_was_added_and_not_what_was_removed);
    tcase_add_test(t, map_takes_any_bytes_as_key);
    tcase_add_test(t, map_any_empties_a_map_and_meets_everyone_once);
    tcase_add_test(t, heap_gives_the_earliest_first_whatever_was_removed);
    tcase_add_test(t, buf_is_a_queue_of_bytes_through_all_growth);
    tcase_add_test(t, buf_over_max_refuses_and_stays_as_it_was);
    tcase_add_test(t, buf_that_stays_full_is_not_copied_at_each_append);
    tcase_add_test(t, buf_over_memory_of_others_takes_to_its_own_when_that_is_full);
    tcase_add_test(t, buf_writes_integers_in_network_order);
    tcase_add_test(t, clock_never_wakes_early_and_never_overflows);
    tcase_add_test(t, error_texts_may_be_built_from_themselves_and_are_cut);
    tcase_add_test(t, fd_reads_all_or_tells_a_clean_end_from_a_torn_one);
    tcase_add_test(t, fd_spool_leaves_no_name_behind);
    tcase_add_test(t, text_has_no_control_characters_and_is_utf8);
    tcase_add_test(t, a_topic_passes_once_a_minute_and_counts_what_did_not);
    tcase_add_test(t, topics_without_end_share_one_line_a_minute);
    Suite *s = suite_create("base");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
