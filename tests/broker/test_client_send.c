/* test_client_send.c - what becomes of a call on its way to the broker: options, refusals, corks,
 * the window, and a loop of one's own. */
#include "base/clock.h"
#include "support/fixture.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATE_ERROR 2e-6 /* seconds: dates have microseconds on the wire */

/* The countdown is one that a worker waits for (ours does not), not the broker. */
START_TEST(options_become_headers)
{
    double before = clock_wall();
    AsyncResult *r =
        task_apply(TASK_OPTIONS(.id = "my-own-id", .countdown = 2.5, .expires = 90), "head");
    double passed = clock_wall() - before;
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    const json_t *h = result_json(r);
    double eta = json_number_value(json_object_get(h, "eta"));
    double expires = json_number_value(json_object_get(h, "expires"));
    ck_assert_double_ge(eta - before, 2.5 - DATE_ERROR);
    ck_assert_double_le(eta - before, 2.5 + passed + DATE_ERROR);
    ck_assert_double_eq_tol(expires - eta, 87.5, DATE_ERROR);
    ck_assert_str_eq(result_id(r), "my-own-id");
    char origin[32];
    snprintf(origin, sizeof origin, "gen%d@", (int)getpid());
    ck_assert_ptr_eq(strstr(json_string_value(json_object_get(h, "origin")), origin),
                     json_string_value(json_object_get(h, "origin")));
    ck_assert_int_eq(strncmp(json_string_value(json_object_get(h, "reply_to")), "ctask.reply.", 12),
                     0);
    ck_assert(json_is_false(json_object_get(h, "ignore_result")));
    ck_assert(json_is_null(json_object_get(h, "parent_id")));
    result_forget(r);
}
END_TEST

START_TEST(a_task_for_a_queue_that_nobody_made_waits_in_it)
{
    char name[80];
    snprintf(name, sizeof name, "%s.later", queue);
    AsyncResult *r = task_apply(TASK_OPTIONS(.queue = name), "echo", 3);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    struct fake_worker *late = fake_worker_start(broker_url, name);
    expect(r, "3");
    result_forget(r);
    fake_worker_stop(late);
}
END_TEST

START_TEST(what_cannot_be_sent_fails_at_once_with_a_reason)
{
    char longname[300];
    memset(longname, 'x', sizeof longname - 1);
    longname[sizeof longname - 1] = 0;
    json_t *taken = json_array(), *deep = json_array();
    json_incref(taken);
    for (int i = 0; i < 127; i++) deep = json_pack("[o]", deep);
    struct {
        AsyncResult *r;
        int code;
        const char *says;
    } bad[] = {
        {task_delay(longname), CTASK_EINVAL, "over 255 bytes"},
        {task_delay(""), CTASK_EINVAL, "empty"},
        {task_delay("a\nb"), CTASK_EINVAL, "plain"},
        {task_delay(NULL), CTASK_EINVAL, "first argument"},
        {task_delay(7), CTASK_EINVAL, "first argument"},
        {task_delay("f", 1, NAN), CTASK_EINVAL, "argument 2"},
        {task_delay("f", NAN, ctask_take(taken)), CTASK_EINVAL, "argument 1"},
        {task_delay("f", ctask_kw("a", 1), ctask_kw("a", 2)), CTASK_EINVAL, "before"},
        {task_delay("f", ctask_kw("a", "\xff")), CTASK_EINVAL, "'a'"},
        {task_apply(TASK_OPTIONS(.id = longname), "f"), CTASK_EINVAL, "id"},
        {task_apply(TASK_OPTIONS(.queue = ""), "f"), CTASK_EINVAL, "queue"},
        {task_apply(TASK_OPTIONS(.countdown = -1), "f"), CTASK_EINVAL, "countdown"},
        {task_apply(TASK_OPTIONS(.expires = NAN), "f"), CTASK_EINVAL, "expires"},
        {task_apply(TASK_OPTIONS(.time_limit = -1), "f"), CTASK_EINVAL, "time_limit"},
        {task_apply(TASK_OPTIONS(.soft_time_limit = NAN), "f"), CTASK_EINVAL, "soft_time_limit"},
        {task_apply(TASK_OPTIONS(.time_limit = 1, .soft_time_limit = 2), "f"), CTASK_EINVAL,
         "soft_time_limit"},
        {task_delay("f", deep), CTASK_EINVAL, "nested"},
        {ctask_send_json(NULL, NULL, "f", json_object(), NULL), CTASK_EINVAL, "array"},
        {ctask_send_json(NULL, NULL, "f", NULL, json_array()), CTASK_EINVAL, "object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_ptr_nonnull(bad[i].r);
        ck_assert_int_eq(result_state(bad[i].r), CTASK_FAILURE);
        ck_assert_int_eq(result_wait(bad[i].r, -1), bad[i].code);
        ck_assert_msg(strstr(result_error(bad[i].r)->text, bad[i].says) != NULL, "%zu: %s", i,
                      result_error(bad[i].r)->text);
        result_forget(bad[i].r);
    }
    ck_assert_uint_eq(taken->refcount, 1);
    json_decref(taken);
    json_decref(deep);
}
END_TEST

START_TEST(a_queue_that_the_broker_refuses_fails_its_own_handles_only)
{
    AsyncResult *good = task_delay("hold", 1);
    AsyncResult *bad = task_apply(TASK_OPTIONS(.queue = "amq.no-such-queue"), "echo", 2);
    ck_assert_int_eq(result_wait(bad, WAIT), CTASK_EREFUSED);
    ck_assert_ptr_nonnull(strstr(result_error(bad)->text, "amq.no-such-queue"));
    fake_worker_release(worker, 1);
    expect(good, "1");
    result_forget(good);
    result_forget(bad);
}
END_TEST

/* For a look at this name the broker closes the connection, with 541. */
START_TEST(a_queue_name_that_closes_the_connection_fails_its_own_handle_only)
{
    AsyncResult *bad = task_apply(TASK_OPTIONS(.queue = "amq.rabbitmq.reply-to.x.y"), "add", 1, 2);
    AsyncResult *good[20];
    for (int i = 0; i < 20; i++) good[i] = task_delay("hold", i);
    fake_worker_release(worker, 20);
    for (int i = 0; i < 20; i++) {
        int n = -1;
        ck_assert_int_eq(result_get(good[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(good[i]);
    }
    ck_assert_int_ne(result_wait(bad, WAIT), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_error(bad)->code, CTASK_EREFUSED);
    ck_assert_ptr_nonnull(strstr(result_error(bad)->text, "541"));
    result_forget(bad);
}
END_TEST

START_TEST(a_body_over_15_MiB_is_refused_before_the_wire)
{
    size_t n = (15u << 20) + 1;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    AsyncResult *r = task_delay("echo", text);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETOOBIG);
    result_forget(r);
    text[n - 1000] = 0;
    r = task_delay("echo", text);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    ck_assert_uint_eq(json_string_length(result_json(r)), n - 1000);
    result_forget(r);
    free(text);
}
END_TEST

START_TEST(the_same_id_cannot_be_awaited_twice)
{
    AsyncResult *a = task_apply(TASK_OPTIONS(.id = "one"), "hold", 1);
    AsyncResult *b = task_apply(TASK_OPTIONS(.id = "one"), "hold", 2);
    ck_assert_int_eq(result_wait(b, 0), CTASK_EINVAL);
    result_forget(b);
    fake_worker_release(worker, 1);
    expect(a, "1");
    result_forget(a);
}
END_TEST

START_TEST(a_task_without_result_is_ready_when_confirmed)
{
    AsyncResult *r = task_apply(TASK_OPTIONS(.no_result = true), "head");
    ck_assert_int_eq(result_get(r, WAIT, NULL), CTASK_OK);
    ck_assert_ptr_null(result_json(r));
    result_forget(r);
    ck_assert_int_eq(task_send("echo", 1), CTASK_OK);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    ck_assert_int_eq(task_send("f", NAN), CTASK_EINVAL);
}
END_TEST

START_TEST(what_is_corked_leaves_together_at_uncork)
{
    AsyncResult *r[3], *first = task_delay("echo", 0);
    expect(first, "0");
    result_forget(first);
    size_t seen = fake_worker_seen(worker);
    ctask_cork(NULL);
    ctask_cork(NULL);
    for (int i = 0; i < 3; i++) r[i] = task_delay("echo", i);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
    ck_assert_uint_eq(fake_worker_seen(worker), seen);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
    expect(r[2], "2");
    ck_assert_uint_eq(fake_worker_seen(worker), seen + 3);
    for (int i = 0; i < 3; i++) result_forget(r[i]);
}
END_TEST

START_TEST(ten_thousand_sends_pass_through_the_window)
{
    enum { N = 10000 };
    AsyncResult **r = calloc(N, sizeof *r);
    for (int i = 0; i < N; i++) r[i] = task_delay("echo", i);
    for (int i = N; i-- > 0;) {
        int n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
    free(r);
}
END_TEST

/* ---- A loop of one's own --------------------------------------------------------------------- */

START_TEST(the_descriptor_tells_an_outside_loop_when_to_poll)
{
    int fd = ctask_fd(NULL);
    ck_assert_int_ge(fd, 0);
    AsyncResult *r = task_delay("echo", 1);
    while (!result_ready(r)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ck_assert_int_eq(ctask_poll(NULL, 0), CTASK_OK);
    }
    expect(r, "1");
    result_forget(r);
    /* The acknowledgement leaves, and then it is silent. */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rounds = 0;
    while (poll(&p, 1, 200) == 1 && rounds++ < 100) ck_assert_int_eq(ctask_poll(NULL, 0), CTASK_OK);
    ck_assert_int_lt(rounds, 100);
    ck_assert_int_eq(ctask_fd(NULL), fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: send");
    TCase *tests = tcase_create("send");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, options_become_headers);
    tcase_add_test(tests, a_task_for_a_queue_that_nobody_made_waits_in_it);
    tcase_add_test(tests, what_cannot_be_sent_fails_at_once_with_a_reason);
    tcase_add_test(tests, a_queue_that_the_broker_refuses_fails_its_own_handles_only);
    tcase_add_test(tests, a_queue_name_that_closes_the_connection_fails_its_own_handle_only);
    tcase_add_test(tests, a_body_over_15_MiB_is_refused_before_the_wire);
    tcase_add_test(tests, the_same_id_cannot_be_awaited_twice);
    tcase_add_test(tests, a_task_without_result_is_ready_when_confirmed);
    tcase_add_test(tests, what_is_corked_leaves_together_at_uncork);
    tcase_add_test(tests, ten_thousand_sends_pass_through_the_window);
    tcase_add_test(tests, the_descriptor_tells_an_outside_loop_when_to_poll);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
