/* test_client_threads.c - one client shared by threads: sends and results in any order, waits that
 * hand over to each other, a close in the middle. Made to be run under the thread sanitizer too. */
#include "base/clock.h"
#include "support/fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define THREADS 8

static struct ctask_client *client;

static void setup(void)
{
    struct ctask_error e;
    fixture_setup();
    client = ctask_open(broker_url, &e);
    ck_assert_msg(client != NULL, "%s", e.text);
}

static void teardown(void)
{
    ctask_close(client);
    fixture_teardown();
}

static void run_threads(void *(*f)(void *), pthread_t t[THREADS])
{
    for (long i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, f, (void *)i), 0);
}

static void join_threads(pthread_t t[THREADS])
{
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(t[i], &wrong);
        ck_assert_msg(!wrong, "thread %d: %s", i, (char *)wrong);
    }
}

/* A thread cannot use check's assertions; it returns what is wrong. */
#define must(condition)                              \
    do {                                             \
        if (!(condition)) return (void *)#condition; \
    } while (0)

/* ---- Everybody at once ----------------------------------------------------------------------- */

enum { PER_THREAD = 400 };

static void *send_then_collect(void *ctx)
{
    long me = (long)ctx;
    AsyncResult *r[PER_THREAD];
    for (int i = 0; i < PER_THREAD; i++) r[i] = ctask_delay(client, "echo", me * PER_THREAD + i);
    for (int k = 0; k < PER_THREAD; k++) {
        int i = me % 2 ? PER_THREAD - 1 - k : k * 7 % PER_THREAD;
        long n = -1;
        must(result_get(r[i], WAIT, &n) == CTASK_OK);
        must(n == me * PER_THREAD + i);
    }
    for (int i = 0; i < PER_THREAD; i++) result_forget(r[i]);
    return NULL;
}

START_TEST(eight_threads_send_and_collect_in_any_order)
{
    pthread_t t[THREADS];
    run_threads(send_then_collect, t);
    join_threads(t);
    ck_assert_int_eq(ctask_flush(client, WAIT), 0);
}
END_TEST

static void *one_at_a_time(void *ctx)
{
    (void)ctx;
    for (long i = 0; i < 100; i++) {
        AsyncResult *r = ctask_delay(client, "echo", i);
        long n = -1;
        must(result_get(r, WAIT, &n) == CTASK_OK);
        must(n == i);
        result_forget(r);
    }
    return NULL;
}

START_TEST(round_trips_of_eight_threads_do_not_wait_for_each_other)
{
    pthread_t t[THREADS];
    run_threads(one_at_a_time, t);
    join_threads(t);
}
END_TEST

static void *map_in_chunks(void)
{
    struct ctask_map *m = ctask_map_open(client, TASK_OPTIONS(.chunk = 16), "echo", 0);
    for (int i = 0; i < 500; i++) must(ctask_map_put(m, i) == CTASK_OK);
    ctask_map_end(m);
    for (int i = 0; i < 500; i++) {
        AsyncResult *r;
        size_t index, value = 500;
        must(ctask_map_next(m, WAIT, &index, &r) == 1);
        must(result_get(r, 0, &value) == CTASK_OK && value == index);
    }
    ctask_map_close(m);
    return NULL;
}

static void *by_a_map_or_any(void *ctx)
{
    long me = (long)ctx;
    if (me % 4 == 3) return map_in_chunks();
    if (me % 2) {
        int in[200], out[200];
        for (int i = 0; i < 200; i++) in[i] = i;
        must(ctask_map_arrays(client, WAIT, "echo", CTASK_ARRAY(in), CTASK_OUT(out), 200) ==
             CTASK_OK);
        for (int i = 0; i < 200; i++) must(out[i] == i);
        return NULL;
    }
    AsyncResult *r[50];
    for (int i = 0; i < 50; i++) r[i] = ctask_delay(client, "progress", i);
    for (int left = 50; left > 0; left--) {
        long i = ctask_result_wait_any(r, 50, WAIT);
        must(i >= 0);
        must(json_integer_value(result_progress(r[i])) == 2);
        result_forget(r[i]);
        r[i] = NULL;
    }
    return NULL;
}

START_TEST(maps_and_waits_for_any_share_a_client)
{
    pthread_t t[THREADS];
    run_threads(by_a_map_or_any, t);
    join_threads(t);
}
END_TEST

static atomic_bool stop;

static void *watch_states(void *ctx)
{
    AsyncResult *r = ctx;
    while (!stop) {
        if (result_ready(r)) must(result_state(r) == CTASK_SUCCESS && result_json(r) != NULL);
        result_progress(r);
    }
    return NULL;
}

START_TEST(a_handle_is_read_while_another_thread_drives)
{
    pthread_t t[2];
    AsyncResult *r[2] = {ctask_delay(client, "progress"), ctask_delay(client, "progress")};
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, watch_states, r[i]), 0);
    for (int i = 0; i < 200; i++) {
        AsyncResult *mine = ctask_delay(client, "echo", i);
        ck_assert_int_eq(result_wait(mine, WAIT), CTASK_OK);
        result_forget(mine);
    }
    stop = true;
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
        result_forget(r[i]);
    }
}
END_TEST

/* Makes a group of r as soon as it has ended, which another thread is just telling. */
static void *group_what_has_ended(void *ctx)
{
    AsyncResult *r = ctx;
    size_t index = 1;
    while (!result_ready(r)) sched_yield();
    struct ctask_group *g = ctask_group_of(&r, 1);
    must(g != NULL);
    must(ctask_group_next(g, WAIT, &index) == r && index == 0);
    ctask_group_forget(g);
    return NULL;
}

START_TEST(a_group_of_what_has_just_ended_while_another_thread_drives)
{
    enum { ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t t;
        void *wrong;
        AsyncResult *r = ctask_delay(client, "echo", round);
        AsyncResult *mine = ctask_delay(client, "echo", round); /* answered after r */
        ck_assert_int_eq(pthread_create(&t, NULL, group_what_has_ended, r), 0);
        ck_assert_int_eq(result_wait(mine, WAIT), CTASK_OK);
        pthread_join(t, &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
        result_forget(mine);
    }
}
END_TEST

/* ---- Who drives ------------------------------------------------------------------------------ */

static atomic_int begun;

static void *wait_for(void *ctx)
{
    begun++;
    must(result_wait(ctx, WAIT) == CTASK_OK);
    return NULL;
}

/* Two waits, whichever drives; the results come one after the other, in either order. */
START_TEST(a_waiter_whose_wait_is_over_leaves_the_driving_to_the_other)
{
    char names[2][80];
    struct fake_worker *w[2];
    AsyncResult *r[2];
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        snprintf(names[i], sizeof names[i], "%s.%d", queue, i);
        w[i] = fake_worker_start(broker_url, names[i]);
        r[i] = ctask_apply(client, TASK_OPTIONS(.queue = names[i]), "hold", i);
    }
    begun = 0;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&t[i], NULL, wait_for, r[i]), 0);
        while (begun <= i) usleep(100);
        usleep(20000); /* it is likely to sleep now; the test holds either way */
    }
    for (int k = 0; k < 2; k++) {
        void *wrong;
        int i = _i ? 1 - k : k;
        fake_worker_release(w[i], 1);
        pthread_join(t[i], &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
    }
    for (int i = 0; i < 2; i++) {
        result_forget(r[i]);
        fake_worker_stop(w[i]);
    }
}
END_TEST

static void *wait_without_limit(void *ctx)
{
    AsyncResult *r = ctx;
    begun++;
    must(result_wait(r, -1) == CTASK_ECLOSED);
    must(ctask_error()->code == CTASK_ECLOSED);
    result_forget(r);
    return NULL;
}

/* The driver sleeps and knows nothing of what was gathered meanwhile. */
START_TEST(what_is_waited_for_leaves_although_it_is_corked_and_another_thread_drives)
{
    pthread_t driver;
    AsyncResult *r = ctask_delay(client, "drop");
    ck_assert_int_eq(ctask_flush(client, WAIT), 0);
    begun = 0;
    ck_assert_int_eq(pthread_create(&driver, NULL, wait_without_limit, r), 0);
    while (begun < 1) usleep(100);
    usleep(20000);
    ctask_cork(client);
    r = ctask_delay(client, "echo", 1);
    ck_assert_int_eq(result_wait(r, 5), CTASK_OK); /* a turn for another reason comes after 10 s */
    result_forget(r);
    ctask_close(client);
    client = NULL;
    pthread_join(driver, NULL);
}
END_TEST

START_TEST(a_close_ends_the_waits_of_other_threads)
{
    pthread_t t[THREADS];
    begun = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(
            pthread_create(&t[i], NULL, wait_without_limit, ctask_delay(client, "drop")), 0);
    while (begun < THREADS) usleep(100);
    usleep(20000);
    ctask_close(client);
    join_threads(t);
    client = NULL;
}
END_TEST

static void *wait_a_second(void *ctx)
{
    begun++;
    must(result_wait(ctx, 1) == CTASK_ETIMEDOUT);
    pthread_testcancel();
    return (void *)"it was not cancelled";
}

START_TEST(a_thread_that_is_cancelled_while_it_drives_leaves_the_driving_to_others)
{
    pthread_t t;
    void *end;
    AsyncResult *dropped = ctask_delay(client, "drop");
    ck_assert_int_eq(ctask_flush(client, WAIT), 0);
    begun = 0;
    ck_assert_int_eq(pthread_create(&t, NULL, wait_a_second, dropped), 0);
    while (begun < 1) usleep(100);
    usleep(20000);
    pthread_cancel(t);
    pthread_join(t, &end);
    ck_assert_msg(end == PTHREAD_CANCELED, "%s", (char *)end);
    AsyncResult *r = ctask_delay(client, "echo", 1);
    int64_t start = clock_now();
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    ck_assert_int_lt(clock_now() - start, WAIT * CLOCK_SECOND / 2); /* not only at its end */
    result_forget(r);
    result_forget(dropped);
}
END_TEST

static void *send_until_closed(void *ctx)
{
    (void)ctx;
    for (;;) {
        AsyncResult *r = ctask_delay(ctask_default(), "echo", 1);
        int rc = result_wait(r, WAIT);
        result_forget(r);
        if (rc == CTASK_ECLOSED) return NULL;
        must(rc == CTASK_OK);
        if (stop) return NULL;
    }
}

START_TEST(the_default_client_is_made_once_for_all_threads)
{
    pthread_t t[THREADS];
    stop = false;
    run_threads(send_until_closed, t);
    usleep(300000);
    stop = true;
    join_threads(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: threads");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, eight_threads_send_and_collect_in_any_order);
    tcase_add_test(tests, round_trips_of_eight_threads_do_not_wait_for_each_other);
    tcase_add_test(tests, maps_and_waits_for_any_share_a_client);
    tcase_add_test(tests, a_handle_is_read_while_another_thread_drives);
    tcase_add_test(tests, a_group_of_what_has_just_ended_while_another_thread_drives);
    tcase_add_loop_test(tests, a_waiter_whose_wait_is_over_leaves_the_driving_to_the_other, 0, 2);
    tcase_add_test(tests,
                   what_is_waited_for_leaves_although_it_is_corked_and_another_thread_drives);
    tcase_add_test(tests, a_close_ends_the_waits_of_other_threads);
    tcase_add_test(tests, a_thread_that_is_cancelled_while_it_drives_leaves_the_driving_to_others);
    tcase_add_test(tests, the_default_client_is_made_once_for_all_threads);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
