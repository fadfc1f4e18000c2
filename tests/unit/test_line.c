/* test_line.c - bytes between two processes: whole and in order whatever their sizes, nobody sleeps
 * through what is there, and no index that the other has overwritten is believed. */
#include "base/line.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 300000
#define CHUNK 5000

static struct line parents, childs;

static void setup(void)
{
    ck_assert(line_pair(&parents, &childs));
}

static void teardown(void)
{
    line_close(&childs);
    line_close(&parents);
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + i / 257);
}

/* All of MANY bytes, in pieces of changing sizes. */
static void put_all(struct line *l)
{
    uint8_t chunk[CHUNK];
    for (size_t at = 0, size = 1; at < MANY; size = size * 7 % CHUNK + 1) {
        size_t n = size < MANY - at ? size : MANY - at;
        for (size_t i = 0; i < n; i++) chunk[i] = byte_at(at + i);
        size_t put = line_put(l, chunk, n);
        if (put == 0 && !line_wait(l, false, true)) exit(1);
        at += put;
    }
}

/* How many of them are as they were put. */
static size_t get_all(struct line *l)
{
    uint8_t chunk[CHUNK];
    size_t at = 0, right = 0;
    for (size_t size = 3; at < MANY; size = size * 5 % CHUNK + 1) {
        long n = line_get(l, chunk, size);
        if (n < 0 || (n == 0 && !line_wait(l, true, false))) return 0;
        for (long i = 0; i < n; i++) right += chunk[i] == byte_at(at + (size_t)i);
        at += (size_t)n;
    }
    return right;
}

START_TEST(bytes_arrive_whole_and_in_order_both_ways)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        size_t right = get_all(&childs);
        put_all(&childs);
        _exit(right != MANY);
    }
    put_all(&parents);
    ck_assert_uint_eq(get_all(&parents), MANY);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(what_was_put_is_there_after_its_writer_died)
{
    char got[16];
    pid_t pid = fork();
    if (pid == 0) {
        line_put(&childs, "last words", 10);
        abort();
    }
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(line_get(&parents, got, sizeof got), 10);
    ck_assert_int_eq(memcmp(got, "last words", 10), 0);
}
END_TEST

START_TEST(the_bell_rings_for_those_who_listen_and_once)
{
    uint8_t rung[4], byte;
    line_put(&childs, "a", 1);
    ck_assert_int_eq(recv(parents.bell, rung, sizeof rung, MSG_DONTWAIT), -1);
    ck_assert(line_listen(&parents, true, false)); /* it is there already */
    ck_assert_int_eq(line_get(&parents, &byte, 1), 1);
    ck_assert(!line_listen(&parents, true, false));
    line_put(&childs, "bc", 2);
    line_put(&childs, "d", 1);
    ck_assert_int_eq(recv(parents.bell, rung, sizeof rung, MSG_DONTWAIT), 1);
    line_awake(&parents);
    line_put(&childs, "e", 1);
    ck_assert_int_eq(recv(parents.bell, rung, sizeof rung, MSG_DONTWAIT), -1);
}
END_TEST

START_TEST(who_is_out_of_room_hears_of_it)
{
    static uint8_t much[1 << 17];
    size_t put = line_put(&parents, much, sizeof much);
    ck_assert_uint_gt(put, 0);
    ck_assert_uint_lt(put, sizeof much);
    ck_assert_uint_eq(line_put(&parents, much, 1), 0);
    ck_assert(!line_listen(&parents, true, true));
    ck_assert_int_eq(line_get(&childs, much, sizeof much), put);
    ck_assert_int_eq(line_hush(&parents, true), 1);
    ck_assert_uint_eq(line_put(&parents, much, 1), 1);
}
END_TEST

START_TEST(an_end_that_is_closed_and_a_bell_that_is_none_are_told)
{
    ck_assert_int_eq(line_hush(&parents, false), 1);
    ck_assert_int_eq(send(childs.bell, "x", 1, 0), 1);
    ck_assert_int_eq(line_hush(&parents, false), -1);
    ck_assert_int_eq(errno, EPROTO);
    shutdown(childs.bell, SHUT_RDWR);
    ck_assert_int_eq(line_hush(&parents, false), 0);
    ck_assert(!line_wait(&parents, true, false));
}
END_TEST

/* All of the shared memory, as a task may overwrite it that has lost its way. */
START_TEST(overwritten_indexes_are_not_believed)
{
    uint8_t got[64];
    for (int value = 0x01; value < 0x100; value++) {
        line_put(&parents, "job", 3);
        memset(childs.out, value, 256);
        long n = line_get(&parents, got, sizeof got);
        ck_assert(n == -1 || (n >= 0 && n <= (long)sizeof got));
        memset(childs.in, value, 128);
        ck_assert_uint_le(line_put(&parents, got, sizeof got), sizeof got);
    }
    memset(childs.out, 0x7f, 64);
    ck_assert_int_eq(line_get(&parents, got, sizeof got), -1);
}
END_TEST

START_TEST(what_is_begun_is_counted_until_it_is_halted)
{
    ck_assert_uint_eq(line_begun(&parents), 0);
    ck_assert(line_begin(&childs) && line_begin(&childs));
    ck_assert_uint_eq(line_halt(&parents), 2);
    ck_assert(!line_begin(&childs));
    ck_assert_uint_eq(line_begun(&parents), 2);
    line_resume(&childs);
    ck_assert(line_begin(&childs));
    ck_assert_uint_eq(line_begun(&parents), 3);
    /* What is said of the first halt does not undo the second. */
    ck_assert_uint_eq(line_halt(&parents), 3);
    ck_assert_uint_eq(line_halt(&parents), 3);
    line_resume(&childs);
    ck_assert(!line_begin(&childs));
    line_resume(&childs);
    ck_assert(line_begin(&childs));
    ck_assert_uint_eq(line_halt(&parents), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("line");
    TCase *t = tcase_create("line");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bytes_arrive_whole_and_in_order_both_ways);
    tcase_add_test(t, what_was_put_is_there_after_its_writer_died);
    tcase_add_test(t, the_bell_rings_for_those_who_listen_and_once);
    tcase_add_test(t, who_is_out_of_room_hears_of_it);
    tcase_add_test(t, an_end_that_is_closed_and_a_bell_that_is_none_are_told);
    tcase_add_test(t, overwritten_indexes_are_not_believed);
    tcase_add_test(t, what_is_begun_is_counted_until_it_is_halted);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
