/* test_client_many.c - groups, streams and plain arrays: many handles in bounded memory, in the
 * order they end. */
#include "client/inside.h"
#include "support/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(a_group_gives_its_members_as_they_end)
{
    AsyncResult *r[] = {task_delay("hold", 0), task_delay("echo", 1), task_delay("hold", 2)};
    struct ctask_group *g = ctask_group_of(r, 3);
    size_t index = 9;
    ck_assert_uint_eq(ctask_group_size(g), 3);
    ck_assert_ptr_eq(ctask_group_next(g, WAIT, &index), r[1]);
    ck_assert_uint_eq(index, 1);
    ck_assert_ptr_null(ctask_group_next(g, 0.02, &index));
    ck_assert_int_eq(ctask_error()->code, CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_group_wait(g, 0), CTASK_ETIMEDOUT);
    fake_worker_release(worker, 2);
    ck_assert_int_eq(ctask_group_wait(g, WAIT), CTASK_OK);
    ck_assert_ptr_eq(ctask_group_next(g, 0, &index), r[2]);
    ck_assert_ptr_eq(ctask_group_next(g, 0, &index), r[0]);
    ck_assert_ptr_null(ctask_group_next(g, -1, &index));
    ck_assert_int_eq(ctask_error()->code, CTASK_OK);
    ck_assert_ptr_eq(ctask_group_at(g, 2), r[2]);
    ck_assert_ptr_null(ctask_group_at(g, 3));
    ctask_group_forget(g);
}
END_TEST

START_TEST(a_group_with_a_failure_says_which)
{
    AsyncResult *r[] = {task_delay("echo", 0), task_delay("fail"), task_delay("f", NAN)};
    struct ctask_group *g = ctask_group_of(r, 3);
    ck_assert_int_eq(ctask_group_wait(g, WAIT), CTASK_ETASK);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "task 1 "));
    ck_assert_str_eq(ctask_error()->type, "ValueError");
    ctask_group_forget(g);
    g = ctask_group_of(NULL, 0);
    ck_assert_int_eq(ctask_group_wait(g, -1), CTASK_OK);
    ck_assert_ptr_null(ctask_group_next(g, -1, NULL));
    ctask_group_forget(g);
    r[0] = NULL;
    ck_assert_ptr_null(ctask_group_of(r, 1));
    ck_assert_int_eq(ctask_error()->code, CTASK_EINVAL);
    ctask_group_forget(NULL);
}
END_TEST

START_TEST(a_handle_is_in_one_group_once)
{
    for (int ended = 0; ended < 2; ended++) {
        AsyncResult *a = task_delay("echo", 1), *b = task_delay("echo", 2);
        if (ended) expect(a, "1");
        AsyncResult *twice[] = {a, b, a}, *one[] = {task_delay("echo", 3)};
        ck_assert_ptr_null(ctask_group_of(twice, 3));
        ck_assert_int_eq(ctask_error()->code, CTASK_EINVAL);
        struct ctask_group *g = ctask_group_of(one, 1);
        ck_assert_ptr_null(ctask_group_of(one, 1));
        ck_assert_int_eq(ctask_error()->code, CTASK_EINVAL);
        ck_assert_int_eq(ctask_group_wait(g, WAIT), CTASK_OK);
        ctask_group_forget(g);
    }
}
END_TEST

START_TEST(a_group_is_forgotten_with_its_pending_members)
{
    AsyncResult *r[] = {task_delay("hold", 0), task_delay("drop")};
    ctask_group_forget(ctask_group_of(r, 2));
    fake_worker_release(worker, 1);
    AsyncResult *after = task_delay("echo", 1);
    expect(after, "1");
    result_forget(after);
}
END_TEST

START_TEST(a_map_streams_in_bounded_memory)
{
    enum { N = 5000, WINDOW = 50 };
    struct ctask_map *m = ctask_map_open(NULL, NULL, "echo", WINDOW);
    size_t sent = 0, index, taken = 0;
    static bool seen[N];
    AsyncResult *r;
    ck_assert_int_eq(ctask_map_next(m, 0, &index, &r), CTASK_EAGAIN);
    for (;;) {
        while (sent < N) {
            int rc = ctask_map_put(m, (int)sent);
            if (rc == CTASK_EAGAIN) break;
            ck_assert_int_eq(rc, CTASK_OK);
            sent++;
        }
        ck_assert_uint_le(sent - taken, WINDOW);
        if (sent == N) ctask_map_end(m);
        int rc = ctask_map_next(m, WAIT, &index, &r);
        if (rc == 0) break;
        ck_assert_int_eq(rc, 1);
        size_t n = N;
        ck_assert_int_eq(result_get(r, 0, &n), CTASK_OK);
        ck_assert_uint_eq(n, index);
        ck_assert(!seen[n]);
        seen[n] = true;
        taken++;
    }
    ck_assert_uint_eq(taken, N);
    struct ctask_map_stat s = ctask_map_stat(m);
    ck_assert_uint_eq(s.sent, N);
    ck_assert_uint_eq(s.done, N);
    ck_assert_uint_eq(s.failed, 0);
    ck_assert(s.wall > 0);
    ctask_map_close(m);
}
END_TEST

START_TEST(a_map_tells_timeout_failure_and_a_wrong_item_apart)
{
    struct ctask_map *m = ctask_map_open(NULL, NULL, "fail", 0);
    size_t index;
    AsyncResult *r;
    ck_assert_int_eq(ctask_map_put(m, NAN), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
    ck_assert_uint_eq(index, 0);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETASK);
    ck_assert_uint_eq(ctask_map_stat(m).failed, 1);
    ctask_map_end(m);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 0);
    ctask_map_close(m);
    m = ctask_map_open(NULL, NULL, "drop", 0);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_next(m, 0.05, &index, &r), CTASK_ETIMEDOUT);
    ctask_map_close(m);
    ctask_map_close(NULL);
    ck_assert_ptr_null(ctask_map_open(NULL, NULL, "", 0));
    ck_assert_ptr_null(ctask_map_open(NULL, NULL, NULL, 0));
}
END_TEST

START_TEST(what_was_put_leaves_when_the_map_is_closed)
{
    AsyncResult *first = task_delay("echo", 0);
    expect(first, "0");
    result_forget(first);
    size_t seen = fake_worker_seen(worker);
    struct ctask_map *m = ctask_map_open(NULL, NULL, "echo", 0);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
    ctask_map_close(m);
    for (int ms = 0; fake_worker_seen(worker) < seen + 3; ms++) {
        ck_assert_int_lt(ms, (int)(WAIT * 1000));
        usleep(1000);
    }
}
END_TEST

START_TEST(a_map_adds_up_run_times)
{
    struct ctask_map *m = ctask_map_open(NULL, NULL, "timed", 0);
    size_t index;
    AsyncResult *r;
    for (int i = 0; i < 4; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
    ctask_map_end(m);
    while (ctask_map_next(m, WAIT, &index, &r) == 1) {
    }
    ck_assert(fabs(ctask_map_stat(m).serial - 6) < 1e-9);
    ctask_map_close(m);
}
END_TEST

START_TEST(items_of_a_map_without_results_end_when_confirmed)
{
    struct ctask_map *m = ctask_map_open(NULL, TASK_OPTIONS(.no_result = true), "echo", 0);
    size_t index;
    AsyncResult *r;
    for (int i = 0; i < 100; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
    ctask_map_end(m);
    int rc, n = 0;
    while ((rc = ctask_map_next(m, WAIT, &index, &r)) == 1) n++;
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(n, 100);
    ctask_map_close(m);
}
END_TEST

START_TEST(plain_arrays_are_mapped_in_order)
{
    enum { N = 3000 };
    static int64_t in[N], out[N];
    for (int i = 0; i < N; i++) in[i] = (int64_t)i * i;
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, N), CTASK_OK);
    ck_assert_int_eq(memcmp(in, out, sizeof in), 0);
    bool flags[2] = {true, false}, back[2] = {false, true};
    ck_assert_int_eq(task_map(WAIT, "echo", flags, back, 2), CTASK_OK);
    ck_assert(back[0] && !back[1]);
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, 0), CTASK_OK);
}
END_TEST

START_TEST(a_map_of_arrays_names_the_first_failure_and_fills_the_rest)
{
    double in[4] = {0, NAN, 2, 3};
    int out[4] = {-1, -1, -1, -1};
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, 4), CTASK_EINVAL);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "item 1:"));
    ck_assert_int_eq(out[0], 0);
    ck_assert_int_eq(out[1], -1);
    ck_assert_int_eq(out[3], 3);
    double halves[3] = {1, 2.5, 3.5};
    ck_assert_int_eq(task_map(WAIT, "echo", halves, out, 3), CTASK_ETYPE);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "item 1:"));
    ck_assert_int_eq(task_map(WAIT, "fail", in, out, 1), CTASK_ETASK);
    ck_assert_str_eq(ctask_error()->type, "ValueError");
    ck_assert_int_eq(task_map(0.05, "drop", in, out, 1), CTASK_ETIMEDOUT);
    const char *words[1];
    ck_assert_int_eq(task_map(WAIT, "echo", words, words, 1), CTASK_EINVAL);
}
END_TEST

/* Looks on while a client is driven: after each turn it is asked whether it is done. */
struct watch {
    int64_t turned_at;
    bool load; /* after that turn */
    unsigned turns;
};

static bool all_came(struct ctask_client *c, void *ctx)
{
    struct watch *w = ctx;
    if (c->turned_at != w->turned_at) {
        if (w->load) ck_assert_int_ge(c->turned_at - w->turned_at, 32 * 4000);
        w->turned_at = c->turned_at;
        w->turns++;
    }
    w->load = c->pending.count > 32;
    return c->pending.count == 0;
}

START_TEST(under_load_a_pause_is_between_two_reads)
{
    enum { N = 2000 };
    struct ctask_client *c = ctask_default();
    AsyncResult **r = calloc(N, sizeof *r);
    struct watch w = {0};
    ctask_cork(c);
    for (int i = 0; i < N; i++) r[i] = task_delay("echo", i);
    ck_assert_int_eq(ctask_uncork(c), CTASK_OK);
    ck_assert_int_eq(client_hold(c), CTASK_OK);
    ck_assert_int_eq(pump_until(c, all_came, &w, clock_in(WAIT)), CTASK_OK);
    client_leave(c);
    ck_assert_uint_gt(w.turns, 0);
    for (int i = 0; i < N; i++) {
        int n = -1;
        ck_assert_int_eq(result_get(r[i], 0, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
    free(r);
}
END_TEST

START_TEST(who_waits_for_many_is_told_why_one_is_tried_again)
{
    static const char reason[] = "tried again: ValueError: no good";
    AsyncResult *r[] = {task_delay("again"), task_delay("drop")}, *item;
    struct ctask_group *g = ctask_group_of(r, 2);
    size_t index;
    while (result_state(r[0]) != CTASK_RETRY) ck_assert_int_eq(ctask_poll(NULL, WAIT), CTASK_OK);
    ck_assert_int_eq(ctask_result_wait_any(r, 2, 0), CTASK_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, reason));
    ck_assert_int_eq(ctask_group_wait(g, 0), CTASK_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, reason));
    ck_assert_ptr_null(ctask_group_next(g, 0, &index));
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, reason));
    ctask_group_forget(g);
    for (unsigned chunk = 1; chunk <= 3; chunk += 2) {
        struct ctask_map *m = ctask_map_open(NULL, TASK_OPTIONS(.chunk = chunk), "again", 0);
        ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
        ck_assert_int_eq(ctask_map_next(m, 0.5, &index, &item), CTASK_ETIMEDOUT);
        ck_assert_ptr_nonnull(strstr(ctask_error()->text, reason));
        ctask_map_close(m);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: many");
    TCase *tests = tcase_create("many");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, a_group_gives_its_members_as_they_end);
    tcase_add_test(tests, a_group_with_a_failure_says_which);
    tcase_add_test(tests, a_group_is_forgotten_with_its_pending_members);
    tcase_add_test(tests, a_handle_is_in_one_group_once);
    tcase_add_test(tests, a_map_streams_in_bounded_memory);
    tcase_add_test(tests, a_map_tells_timeout_failure_and_a_wrong_item_apart);
    tcase_add_test(tests, what_was_put_leaves_when_the_map_is_closed);
    tcase_add_test(tests, a_map_adds_up_run_times);
    tcase_add_test(tests, items_of_a_map_without_results_end_when_confirmed);
    tcase_add_test(tests, plain_arrays_are_mapped_in_order);
    tcase_add_test(tests, under_load_a_pause_is_between_two_reads);
    tcase_add_test(tests, a_map_of_arrays_names_the_first_failure_and_fills_the_rest);
    tcase_add_test(tests, who_waits_for_many_is_told_why_one_is_tried_again);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
