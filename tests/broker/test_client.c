/* test_client.c - a client against a real broker and a worker that only answers: results come to
 * the right handles whatever their order, failures with their reasons. */
#include "client/inside.h"
#include "support/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(a_value_comes_back_as_it_was_sent)
{
    AsyncResult *r = task_delay("echo", 112272535095293);
    int64_t n = 0;
    int narrow = 7;
    ck_assert_int_eq(result_get(r, WAIT, &n), CTASK_OK);
    ck_assert(n == 112272535095293);
    ck_assert(result_ready(r));
    ck_assert_int_eq(result_get(r, 0, &narrow), CTASK_ETYPE);
    ck_assert_int_eq(narrow, 7);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, result_id(r)));
    ck_assert_uint_eq(strlen(result_id(r)), 36);
    result_forget(r);
}
END_TEST

START_TEST(every_kind_of_value_travels)
{
    json_t *object = json_pack("{s:[i,n]}", "a", 1);
    AsyncResult *r[] = {
        task_delay("echo", ctask_bool(1)),
        task_delay("echo", 0.5),
        task_delay("echo", "gr\xc3\xbc\xc3\x9f"),
        task_delay("echo", NULL),
        task_delay("echo", object),
        task_delay("echo", ctask_take(json_pack("[s]", "x"))),
        task_delay("echo"),
    };
    const char *json[] = {"true",    "0.5", "\"gr\xc3\xbc\xc3\x9f\"", "null", "{\"a\":[1,null]}",
                          "[\"x\"]", "null"};
    for (size_t i = 0; i < sizeof r / sizeof r[0]; i++) {
        expect(r[i], json[i]);
        result_forget(r[i]);
    }
    ck_assert_uint_eq(object->refcount, 1);
    json_decref(object);
}
END_TEST

START_TEST(keyword_arguments_arrive_by_name)
{
    AsyncResult *r = task_delay("kwargs", ctask_kw("width", 300), 1, ctask_kw("name", "x"));
    expect(r, "{\"name\":\"x\",\"width\":300}");
    result_forget(r);
    r = ctask_send_json(NULL, NULL, "kwargs", NULL, json_pack("{s:b}", "json", 1));
    expect(r, "{\"json\":true}");
    result_forget(r);
}
END_TEST

START_TEST(results_are_collected_in_any_order)
{
    AsyncResult *r[100];
    for (int i = 0; i < 100; i++) r[i] = task_delay("hold", i);
    ck_assert_int_eq(result_wait(r[99], 0), CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    fake_worker_release(worker, 100); /* answered backwards */
    for (int k = 0; k < 100; k++) {
        int i = k * 37 % 100, n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
    }
    for (int i = 0; i < 100; i++) result_forget(r[i]);
}
END_TEST

START_TEST(a_failed_task_says_type_and_text)
{
    AsyncResult *r = task_delay("fail");
    ck_assert_int_eq(result_get(r, WAIT, NULL), CTASK_ETASK);
    ck_assert_int_eq(result_state(r), CTASK_FAILURE);
    ck_assert_int_eq(result_error(r)->code, CTASK_ETASK);
    ck_assert_str_eq(result_error(r)->type, "ValueError");
    ck_assert_str_eq(result_error(r)->text, "no good");
    ck_assert_str_eq(ctask_error()->text, "no good");
    ck_assert_str_eq(json_string_value(json_object_get(result_json(r), "exc_type")), "ValueError");
    result_forget(r);
}
END_TEST

START_TEST(only_the_first_end_of_a_task_counts)
{
    AsyncResult *r = task_delay("twice"), *after = task_delay("echo", 1);
    expect(r, "1");
    expect(after, "1"); /* the other answers came before this one */
    expect(r, "1");
    result_forget(r);
    result_forget(after);
}
END_TEST

START_TEST(states_before_the_end_are_seen_and_do_not_end_the_wait)
{
    AsyncResult *r = task_delay("retry"), *p = task_delay("progress");
    expect(r, "true");
    expect(p, "true");
    ck_assert_int_eq(json_integer_value(result_progress(p)), 2);
    ck_assert_str_eq(json_string_value(json_object_get(result_progress(r), "exc_type")),
                     "ValueError");
    result_forget(r);
    result_forget(p);
}
END_TEST

START_TEST(a_reply_for_nobody_is_dropped)
{
    AsyncResult *r = task_delay("stray");
    expect(r, "2");
    result_forget(r);
    ck_assert_uint_eq(ctask_default()->dropped, 1);
}
END_TEST

START_TEST(a_reply_that_is_no_result_fails_its_handle_only)
{
    AsyncResult *r = task_delay("junk"), *other = task_delay("echo", 1);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_EPROTO);
    expect(other, "1");
    result_forget(r);
    result_forget(other);
}
END_TEST

START_TEST(a_late_reply_after_forget_is_dropped)
{
    result_forget(task_delay("hold", 1));
    fake_worker_release(worker, 1);
    AsyncResult *r = task_delay("echo", 2);
    expect(r, "2");
    result_forget(r);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline_and_may_be_repeated)
{
    AsyncResult *r = task_delay("hold", 5);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_wait(r, 0.05), CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_error()->code, CTASK_ETIMEDOUT);
    ck_assert(ctask_error()->flags & CTASK_RETRIABLE);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    ck_assert_int_eq(result_error(r)->code, CTASK_ETIMEDOUT); /* what the last wait said */
    ck_assert_ptr_null(result_json(r));
    fake_worker_release(worker, 1);
    expect(r, "5");
    ck_assert_int_eq(result_error(r)->code, CTASK_OK);
    result_forget(r);
}
END_TEST

START_TEST(wait_any_gives_the_one_that_is_ready)
{
    AsyncResult *r[] = {task_delay("hold", 1), NULL, task_delay("echo", 2)};
    ck_assert_int_eq(result_wait_any(r, 3, WAIT), 2);
    ck_assert_int_eq(result_wait_any(r, 2, 0.05), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_wait_any(&r[1], 1, 0), CTASK_EINVAL);
    fake_worker_release(worker, 1);
    ck_assert_int_eq(result_wait_any(r, 2, WAIT), 0);
    result_forget(r[0]);
    result_forget(r[2]);
}
END_TEST

START_TEST(a_handle_outlives_its_client)
{
    struct ctask_client *c = ctask_open(broker_url, NULL);
    AsyncResult *done = ctask_delay(c, "echo", "kept"), *open = ctask_delay(c, "drop");
    const char *s = NULL;
    ck_assert_int_eq(result_wait(done, WAIT), CTASK_OK);
    ctask_close(c);
    ck_assert_int_eq(result_get(done, 0, &s), CTASK_OK);
    ck_assert_str_eq(s, "kept");
    ck_assert_int_eq(result_wait(open, -1), CTASK_ECLOSED);
    result_forget(done);
    result_forget(open);
}
END_TEST

START_TEST(the_run_time_comes_with_the_result)
{
    AsyncResult *r = task_delay("timed");
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    ck_assert(fabs(ctask_result_runtime(r) - 1.5) < 1e-9);
    result_forget(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *tests = tcase_create("client");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, a_value_comes_back_as_it_was_sent);
    tcase_add_test(tests, every_kind_of_value_travels);
    tcase_add_test(tests, keyword_arguments_arrive_by_name);
    tcase_add_test(tests, results_are_collected_in_any_order);
    tcase_add_test(tests, a_failed_task_says_type_and_text);
    tcase_add_test(tests, only_the_first_end_of_a_task_counts);
    tcase_add_test(tests, states_before_the_end_are_seen_and_do_not_end_the_wait);
    tcase_add_test(tests, a_reply_for_nobody_is_dropped);
    tcase_add_test(tests, a_reply_that_is_no_result_fails_its_handle_only);
    tcase_add_test(tests, a_late_reply_after_forget_is_dropped);
    tcase_add_test(tests, a_wait_ends_at_its_deadline_and_may_be_repeated);
    tcase_add_test(tests, wait_any_gives_the_one_that_is_ready);
    tcase_add_test(tests, a_handle_outlives_its_client);
    tcase_add_test(tests, the_run_time_comes_with_the_result);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
