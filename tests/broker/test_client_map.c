/* test_client_map.c - maps whose items travel together: each item has its end once, whatever is
 * said of it and by whom. */
#include "client/inside.h"
#include "support/fixture.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define MANY 5000

static struct ctask_map *map_of(const char *name, int chunk, size_t window)
{
    struct ctask_map *m = ctask_map_open(NULL, TASK_OPTIONS(.chunk = chunk), name, window);
    ck_assert_msg(m != NULL, "%s", ctask_error()->text);
    return m;
}

static void put_all(struct ctask_map *m, int n)
{
    for (int i = 0; i < n; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
}

/* Takes n items of 0, 1, 2, ..., which have succeeded with their number, each once. */
static void take_numbers(struct ctask_map *m, size_t n)
{
    static bool seen[MANY];
    size_t index;
    AsyncResult *r;
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < n; i++) {
        size_t value = MANY;
        ck_assert_msg(ctask_map_next(m, WAIT, &index, &r) == 1, "%s", ctask_error()->text);
        ck_assert_msg(result_get(r, 0, &value) == CTASK_OK, "%s", result_error(r)->text);
        ck_assert_uint_eq(value, index);
        ck_assert(index < n && !seen[index]);
        seen[index] = true;
    }
}

static void at_end(struct ctask_map *m)
{
    size_t index;
    AsyncResult *r;
    ctask_map_end(m);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 0);
    ctask_map_close(m);
}

START_TEST(items_that_travel_together_come_back_one_by_one)
{
    static const char *const workers[] = {"echo", "python", "parts"};
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        struct ctask_map *m = map_of(workers[i], 64, MANY);
        size_t before = fake_worker_seen(worker);
        put_all(m, MANY);
        take_numbers(m, MANY);
        ck_assert_uint_eq(fake_worker_seen(worker) - before, (MANY + 63) / 64);
        ck_assert_uint_eq(ctask_map_stat(m).done, MANY);
        ck_assert_uint_eq(ctask_map_stat(m).failed, 0);
        at_end(m);
    }
}
END_TEST

START_TEST(an_item_has_an_id_of_its_own_and_its_share_of_the_run_time)
{
    struct ctask_map *m = map_of("echo", 4, 0);
    size_t index;
    AsyncResult *r;
    char first[64] = "";
    put_all(m, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_uint_eq(index, i);
        if (i == 0) snprintf(first, sizeof first, "%s", result_id(r));
        ck_assert_uint_eq(strlen(result_id(r)), 38);
        ck_assert_int_eq(result_id(r)[37], (int)('0' + i));
        ck_assert_int_eq(strncmp(result_id(r), first, 37), 0);
        ck_assert(fabs(ctask_result_runtime(r) - 1e-6) < 1e-9);
        ck_assert(!result_redelivered(r));
        ck_assert_ptr_null(result_progress(r));
        ck_assert_int_eq(result_state(r), CTASK_SUCCESS);
    }
    ck_assert(fabs(ctask_map_stat(m).serial - 4e-6) < 1e-9);
    at_end(m);
}
END_TEST

START_TEST(a_failure_of_all_is_the_failure_of_each)
{
    struct ctask_map *m = map_of("fail", 5, 0);
    size_t index;
    AsyncResult *r;
    put_all(m, 7);
    for (size_t i = 0; i < 7; i++) {
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_ETASK);
        ck_assert_str_eq(result_error(r)->type, "ValueError");
        ck_assert_ptr_nonnull(result_json(r));
    }
    ck_assert_uint_eq(ctask_map_stat(m).failed, 7);
    at_end(m);
}
END_TEST

START_TEST(a_list_that_is_not_of_all_items_is_none)
{
    struct ctask_map *m = map_of("short", 3, 0);
    size_t index;
    AsyncResult *r;
    put_all(m, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_EPROTO);
    }
    at_end(m);
}
END_TEST

START_TEST(what_was_put_leaves_before_anybody_waits_and_when_the_map_is_closed)
{
    struct ctask_map *m = map_of("echo", 100, 0);
    size_t before = fake_worker_seen(worker);
    put_all(m, 30);
    take_numbers(m, 30);
    ck_assert_uint_eq(fake_worker_seen(worker), before + 1);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK); /* one by itself is an ordinary task */
    ctask_map_close(m);
    for (int ms = 0; fake_worker_seen(worker) < before + 2; ms++) {
        ck_assert_int_lt(ms, (int)(WAIT * 1000));
        usleep(1000);
    }
}
END_TEST

START_TEST(a_window_is_of_items)
{
    struct ctask_map *m = map_of("echo", 8, 20);
    put_all(m, 20);
    ck_assert_int_eq(ctask_map_put(m, 20), CTASK_EAGAIN);
    ck_assert_uint_eq(ctask_map_stat(m).window, 20);
    take_numbers(m, 20);
    ck_assert_int_eq(ctask_map_put(m, 20), CTASK_OK);
    ctask_map_close(m);
}
END_TEST

START_TEST(what_no_message_of_many_can_carry_goes_alone)
{
    struct ctask_map *m = map_of("echo", 10, 0);
    size_t before = fake_worker_seen(worker), index;
    AsyncResult *r;
    json_t *deep = json_integer(1);
    for (int i = 0; i < 126; i++) deep = json_pack("[o]", deep);
    ck_assert_int_eq(ctask_map_put(m, 0), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, 2, ctask_kw("k", 3)), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, ctask_take(deep)), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, NAN), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_put(m, 4), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, 5), CTASK_OK);
    ctask_map_end(m);
    bool seen[6] = {false};
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_OK);
        ck_assert(!seen[index]);
        seen[index] = true;
        if (index != 3)
            ck_assert_int_eq(json_integer_value(result_json(r)), (json_int_t)index);
        else
            ck_assert(json_is_array(result_json(r)));
    }
    ck_assert_uint_eq(fake_worker_seen(worker), before + 4);
    at_end(m);
}
END_TEST

START_TEST(values_of_all_kinds_travel_together)
{
    struct ctask_map *m = map_of("echo", 20, 0);
    json_t *list = json_pack("[i, s]", 1, "two");
    ck_assert_int_eq(ctask_map_put(m, 1.5), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, "plain"), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, "\"\\\n\xc3\xa4"), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, INT64_MIN), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, NULL), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, ctask_bool(1)), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, list), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, ""), CTASK_OK);
    ck_assert_int_eq(ctask_map_put_json(m, NULL, NULL), CTASK_OK);
    ck_assert_int_eq(ctask_map_put(m, UINT64_MAX), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_put(m, "\xff"), CTASK_EINVAL);
    json_decref(list);
    static const char *const back[] = {"1.5",
                                       "\"plain\"",
                                       "\"\\\"\\\\\\n\xc3\xa4\"",
                                       "-9223372036854775808",
                                       "null",
                                       "true",
                                       "[1,\"two\"]",
                                       "\"\"",
                                       "null"};
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++) {
        size_t index;
        AsyncResult *r;
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_uint_eq(index, i);
        expect(r, back[i]);
    }
    at_end(m);
}
END_TEST

START_TEST(items_without_results_end_when_their_message_is_confirmed)
{
    struct ctask_map *m =
        ctask_map_open(NULL, TASK_OPTIONS(.no_result = true, .chunk = 30), "echo", 0);
    size_t index, n = 0;
    AsyncResult *r;
    put_all(m, 100);
    ctask_map_end(m);
    while (ctask_map_next(m, WAIT, &index, &r) == 1) {
        ck_assert_int_eq(result_wait(r, 0), CTASK_OK);
        ck_assert_ptr_null(result_json(r));
        n++;
    }
    ck_assert_uint_eq(n, 100);
    ctask_map_close(m);
}
END_TEST

START_TEST(one_that_is_closed_under_way_leaves_nothing_behind)
{
    struct ctask_map *m = map_of("hold", 10, 0);
    size_t index;
    AsyncResult *r;
    put_all(m, 95);
    ck_assert_int_eq(ctask_map_next(m, 0.02, &index, &r), CTASK_ETIMEDOUT);
    ctask_map_close(m);
    fake_worker_release(worker, 10);
    m = map_of("echo", 10, 0);
    put_all(m, 95);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
    ctask_map_close(m); /* with a reply that is read half */
}
END_TEST

START_TEST(a_client_that_is_closed_fails_all_items)
{
    struct ctask_client *c = ctask_open(NULL, NULL);
    struct ctask_map *m = ctask_map_open(c, TASK_OPTIONS(.chunk = 3), "drop", 0);
    size_t index;
    AsyncResult *r;
    put_all(m, 6);
    ck_assert_int_eq(ctask_flush(c, WAIT), 0);
    ctask_close(c);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_ECLOSED);
    }
    at_end(m);
}
END_TEST

START_TEST(one_that_is_closed_at_its_first_failure_leaves_nothing_behind)
{
    size_t index;
    AsyncResult *r;
    struct ctask_client *c = ctask_open(NULL, NULL);
    struct ctask_map *m = ctask_map_open(c, TASK_OPTIONS(.chunk = 10), "drop", 0);
    put_all(m, 10);
    client_ref(c);
    ctask_close(c);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ECLOSED);
    ctask_map_close(m);
    ck_assert_uint_eq(c->refs, 1); /* no handle is left */
    client_unref(c);
}
END_TEST

START_TEST(auto_sends_one_at_a_time_until_it_knows_how_long_they_take)
{
    struct ctask_map *m = map_of("echo", 0, MANY); /* who does not say */
    size_t before = fake_worker_seen(worker);
    put_all(m, 200);
    take_numbers(m, 200);
    ck_assert_uint_eq(fake_worker_seen(worker), before + 200);
    at_end(m);
    ck_assert_ptr_null(ctask_map_open(NULL, TASK_OPTIONS(.chunk = -1), "echo", 0));
    ck_assert_int_eq(ctask_error()->code, CTASK_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: maps");
    TCase *tests = tcase_create("maps");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, items_that_travel_together_come_back_one_by_one);
    tcase_add_test(tests, an_item_has_an_id_of_its_own_and_its_share_of_the_run_time);
    tcase_add_test(tests, a_failure_of_all_is_the_failure_of_each);
    tcase_add_test(tests, a_list_that_is_not_of_all_items_is_none);
    tcase_add_test(tests, what_was_put_leaves_before_anybody_waits_and_when_the_map_is_closed);
    tcase_add_test(tests, a_window_is_of_items);
    tcase_add_test(tests, what_no_message_of_many_can_carry_goes_alone);
    tcase_add_test(tests, values_of_all_kinds_travel_together);
    tcase_add_test(tests, items_without_results_end_when_their_message_is_confirmed);
    tcase_add_test(tests, one_that_is_closed_under_way_leaves_nothing_behind);
    tcase_add_test(tests, a_client_that_is_closed_fails_all_items);
    tcase_add_test(tests, one_that_is_closed_at_its_first_failure_leaves_nothing_behind);
    tcase_add_test(tests, auto_sends_one_at_a_time_until_it_knows_how_long_they_take);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
