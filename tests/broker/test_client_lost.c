/* test_client_lost.c - a client whose connection breaks, stays away or goes silent: nothing that
 * was sent is lost, and no call waits longer than it may. */
#include "client/inside.h"
#include "support/fixture.h"
#include "support/peer.h"
#include "support/proxy.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

static struct proxy *proxy;
static struct ctask_client *through;

static void setup_proxy(void)
{
    struct ctask_error e;
    fixture_setup();
    proxy = proxy_start(broker_url);
    through = ctask_open(proxy_url(proxy), &e);
    ck_assert_msg(through != NULL, "%s", e.text);
}

static void teardown_proxy(void)
{
    ctask_close(through);
    proxy_stop(proxy);
    fixture_teardown();
}

START_TEST(results_that_came_while_the_connection_was_away_arrive)
{
    AsyncResult *r[20];
    for (int i = 0; i < 20; i++) r[i] = ctask_delay(through, "hold", i);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_close(proxy, true);
    proxy_cut(proxy);
    fake_worker_release(worker, 20);
    ck_assert_int_eq(result_wait(r[0], 0.05), CTASK_ETIMEDOUT);
    proxy_close(proxy, false);
    for (int i = 0; i < 20; i++) {
        int n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
}
END_TEST

/* Waits until the client has its nth connection, then cuts it: one that is cut in its handshake is
 * a failed attempt, of which sends are told. */
static void cut_connection(unsigned nth)
{
    while (proxy_connections(proxy) < nth || !through->up)
        ck_assert_int_eq(ctask_poll(through, 0.01), CTASK_OK);
    proxy_cut(proxy);
}

START_TEST(no_handle_is_lost_over_resets)
{
    enum { N = 2000 };
    unsigned cuts = 0;
    AsyncResult **r = calloc(N, sizeof *r);
    ctask_set_publish_timeout(through, WAIT); /* longer than any pause between two attempts */
    for (int i = 0; i < N; i++) {
        if (i % 400 == 200) cut_connection(++cuts);
        r[i] = ctask_delay(through, "echo", i);
    }
    for (int i = 0; i < N; i++) {
        int n = -1;
        ck_assert_msg(result_get(r[i], WAIT, &n) == CTASK_OK, "%d: %s", i, ctask_error()->text);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
    free(r);
    ck_assert_uint_gt(proxy_connections(proxy), cuts);
}
END_TEST

START_TEST(the_outside_descriptor_survives_a_reconnect)
{
    int fd = ctask_fd(through);
    AsyncResult *r = ctask_delay(through, "hold", 1);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_cut(proxy);
    fake_worker_release(worker, 1);
    while (!result_ready(r)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ck_assert_int_eq(ctask_poll(through, 0), CTASK_OK);
    }
    ck_assert_int_eq(ctask_fd(through), fd);
    result_forget(r);
}
END_TEST

START_TEST(sends_fail_at_once_while_the_broker_is_known_to_be_down_and_recover)
{
    proxy_close(proxy, true);
    proxy_cut(proxy);
    AsyncResult *r = ctask_delay(through, "echo", 1); /* learns of it */
    ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
    ck_assert_uint_gt(strlen(result_error(r)->text), 10);
    result_forget(r);
    for (int i = 0; i < 100; i++) {
        r = ctask_delay(through, "echo", 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
        result_forget(r);
    }
    proxy_close(proxy, false);
    for (;;) {
        ck_assert_int_eq(ctask_poll(through, 6), CTASK_OK);
        r = ctask_delay(through, "echo", 1);
        if (result_wait(r, WAIT) == CTASK_OK) break;
        ck_assert_int_eq(result_error(r)->code, CTASK_ECONN);
        result_forget(r);
    }
    result_forget(r);
}
END_TEST

/* Ages the first failure; the later ones are like it and are not told again. */
START_TEST(sends_fail_at_once_also_when_the_broker_has_been_down_for_long)
{
    proxy_close(proxy, true);
    proxy_cut(proxy);
    AsyncResult *r = ctask_delay(through, "echo", 1);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
    result_forget(r);
    through->failed_at -= 11 * CLOCK_SECOND;
    int64_t begun = clock_now();
    for (int i = 0; i < 10; i++) {
        r = ctask_delay(through, "echo", 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
        result_forget(r);
    }
    ck_assert(clock_now() - begun < 4 * CLOCK_SECOND);
    proxy_close(proxy, false);
}
END_TEST

START_TEST(a_broker_that_says_nothing_holds_a_send_for_publish_timeout_only)
{
    struct ctask_client *c = ctask_open(proxy_url(proxy), NULL);
    ctask_set_publish_timeout(c, 0.3);
    proxy_freeze(proxy, true);
    AsyncResult *r = ctask_delay(c, "echo", 1); /* its reply queue is not declared */
    ck_assert_int_eq(result_wait(r, 0), CTASK_EBLOCKED);
    result_forget(r);
    ctask_close(c);
    proxy_freeze(proxy, false);
}
END_TEST

START_TEST(unconfirmed_messages_are_counted_at_the_deadline)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    result_forget(r);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_freeze(proxy, true);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ctask_post(through, NULL, CTASK_LIST("echo", i)), CTASK_OK);
    ck_assert_int_eq(ctask_flush(through, 0.1), 3);
    proxy_freeze(proxy, false);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
}
END_TEST

/* Ages the oldest message instead of waiting half a minute for it. */
START_TEST(a_message_that_is_never_confirmed_fails_its_handle_after_30_s)
{
    AsyncResult *first = ctask_delay(through, "echo", 1);
    expect(first, "1");
    result_forget(first);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_freeze(proxy, true);
    AsyncResult *r = ctask_delay(through, "drop");
    ck_assert_int_eq(ctask_post(through, NULL, CTASK_LIST("drop")), CTASK_OK);
    ck_assert_int_eq(result_wait(r, 0.05), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    list_first(&through->unconfirmed, struct ticket, link)->sent_at -= 31 * CLOCK_SECOND;
    through->flowing_since -= 31 * CLOCK_SECOND;
    int rc;
    while ((rc = result_wait(r, 1)) == CTASK_ETIMEDOUT) {
    }
    ck_assert_int_eq(rc, CTASK_EUNCONFIRMED);
    ck_assert_int_eq(result_state(r), CTASK_FAILURE);
    ck_assert_int_eq(result_error(r)->code, CTASK_EUNCONFIRMED);
    ck_assert_ptr_nonnull(strstr(result_error(r)->text, "may or may not run"));
    ck_assert_int_eq(ctask_flush(through, 0), 1);
    result_forget(r);
    proxy_freeze(proxy, false);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
}
END_TEST

/* A loop outside has nothing but the descriptor to learn it from. */
START_TEST(the_descriptor_rings_when_a_confirm_is_overdue)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    expect(r, "1");
    result_forget(r);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    ck_assert_int_ge(ctask_fd(through), 0); /* from now on it has a timer after each call */
    proxy_freeze(proxy, true);
    ck_assert_int_eq(ctask_post(through, NULL, CTASK_LIST("drop")), CTASK_OK);
    do ck_assert_int_eq(ctask_poll(through, 0.1), CTASK_OK);
    while (through->alarm <
           clock_now() + 5 * CLOCK_SECOND); /* to see that the peer's kernel is there */
    ck_assert(through->alarm <= clock_now() + 30 * CLOCK_SECOND);
    proxy_freeze(proxy, false);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
}
END_TEST

/* A turn may come when the alarm is due and the timer, which has a clock of its own, a little later
 * than that. */
START_TEST(an_alarm_that_was_seen_to_does_not_ring_afterwards)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    expect(r, "1");
    result_forget(r);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    while (poll(&(struct pollfd){ctask_fd(through), POLLIN, 0}, 1, 50) > 0)
        ck_assert_int_eq(ctask_poll(through, 0), CTASK_OK);
    struct itimerspec soon = {.it_value.tv_nsec = 20 * CLOCK_MS};
    ck_assert_int_eq(timerfd_settime(through->timer_fd, 0, &soon, NULL), 0);
    through->alarm = clock_now();
    ck_assert_int_eq(ctask_poll(through, 0), CTASK_OK);
    ck_assert_int_eq(poll(&(struct pollfd){ctask_fd(through), POLLIN, 0}, 1, 100), 0);
}
END_TEST

START_TEST(a_close_ends_also_the_handles_that_expect_no_result)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    expect(r, "1");
    result_forget(r);
    proxy_freeze(proxy, true);
    r = ctask_apply(through, TASK_OPTIONS(.no_result = true), "drop");
    ctask_set_publish_timeout(through, 0.05);
    ctask_close(through);
    through = NULL;
    ck_assert(result_ready(r));
    ck_assert_int_eq(result_wait(r, -1), CTASK_ECLOSED);
    result_forget(r);
}
END_TEST

START_TEST(a_reply_queue_that_is_deleted_ends_the_handles_whose_results_it_took_along)
{
    AsyncResult *r = ctask_delay(through, "drop");
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    queue_delete(through->reply_queue);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_ELOST);
    ck_assert_ptr_nonnull(strstr(result_error(r)->text, "reply queue"));
    result_forget(r);
    r = ctask_delay(through, "echo", 2);
    expect(r, "2");
    result_forget(r);
}
END_TEST

/* It is sent again before the new queue is there, so a quick worker's answer can be lost. */
START_TEST(a_reply_queue_that_went_may_take_unconfirmed_tasks_along)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    expect(r, "1");
    result_forget(r);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_freeze(proxy, true);
    r = ctask_delay(through, "drop");
    proxy_close(proxy, true);
    proxy_cut(proxy);
    queue_delete(through->reply_queue);
    proxy_freeze(proxy, false);
    proxy_close(proxy, false);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_ELOST);
    ck_assert_ptr_nonnull(strstr(result_error(r)->text, "reply queue"));
    result_forget(r);
}
END_TEST

START_TEST(a_reply_queue_that_went_while_we_were_away_is_noticed)
{
    AsyncResult *r = ctask_delay(through, "drop");
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_close(proxy, true);
    proxy_cut(proxy);
    queue_delete(through->reply_queue);
    proxy_close(proxy, false);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_ELOST);
    ck_assert_ptr_nonnull(strstr(result_error(r)->text, "reply queue"));
    result_forget(r);
}
END_TEST

/* ---- A reply queue that does not answer, as one whose node is gone --------------------------- */

static bool suspend(const char *name, bool on)
{
    char command[512];
    snprintf(command, sizeof command,
             "eval '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"%s\">>)), "
             "sys:%s(amqqueue:get_pid(Q)).'",
             name, on ? "suspend" : "resume");
    return peer_ctl(command);
}

/* A task that runs, whose reply queue stops answering; the connection is lost. A later task. */
static void move_on(AsyncResult **first, AsyncResult **second)
{
    *first = ctask_delay(through, "hold", 1);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    ck_assert(suspend(through->reply_queue, true));
    proxy_cut(proxy);
    *second = ctask_delay(through, "echo", 2);
    expect(*second, "2");
    ck_assert_int_eq(result_state(*first), CTASK_PENDING);
    ck_assert_uint_eq(through->reply_at, 1);
}

START_TEST(what_is_sent_after_it_gets_another_queue_and_the_old_one_is_not_given_up)
{
    AsyncResult *first, *second;
    if (!getenv("CTASK_TEST_CTL")) return;
    move_on(&first, &second);
    ck_assert(suspend(through->reply_queue, false));
    fake_worker_release(worker, 1);
    expect(first, "1");
    through->replies[0].until = clock_now(); /* nobody needs it any more */
    while (through->replies[0].asked) ck_assert_int_eq(ctask_poll(through, 0.01), CTASK_OK);
    result_forget(first);
    result_forget(second);
}
END_TEST

/* Ages it instead of waiting for a minute. */
START_TEST(one_that_does_not_come_back_ends_its_handles_and_no_other)
{
    AsyncResult *first, *second;
    char name[64];
    if (!getenv("CTASK_TEST_CTL")) return;
    snprintf(name, sizeof name, "%s", through->reply_queue);
    move_on(&first, &second);
    AsyncResult *third = ctask_delay(through, "hold", 3);
    through->replies[0].until = clock_now();
    ck_assert_int_eq(result_wait(first, WAIT), CTASK_ELOST);
    ck_assert_ptr_nonnull(strstr(result_error(first)->text, "may have run"));
    ck_assert_uint_eq(result_error(first)->flags, CTASK_RETRIABLE);
    ck_assert_int_eq(result_state(third), CTASK_PENDING);
    ck_assert(suspend(name, false));
    fake_worker_release(worker, 2);
    expect(third, "3");
    result_forget(first);
    result_forget(second);
    result_forget(third);
}
END_TEST

/* Its channel was closed, and the broker does not answer who asks to consume it again. */
START_TEST(nor_does_one_that_is_there_and_cannot_be_consumed_keep_them_waiting)
{
    AsyncResult *first = ctask_delay(through, "drop");
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    client_event(through,
                 &(struct broker_event){.kind = BROKER_STALE, .queue = through->reply_queue});
    through->reply_since -= 4 * CLOCK_SECOND;
    through->flowing_since -= 4 * CLOCK_SECOND;
    AsyncResult *second = ctask_delay(through, "echo", 2);
    expect(second, "2");
    ck_assert_uint_eq(through->reply_at, 1);
    through->replies[0].until = clock_now();
    ck_assert_int_eq(result_wait(first, WAIT), CTASK_ELOST);
    result_forget(first);
    result_forget(second);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: lost connections");
    TCase *tests = tcase_create("lost connections");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup_proxy, teardown_proxy);
    tcase_add_test(tests, results_that_came_while_the_connection_was_away_arrive);
    tcase_add_test(tests, no_handle_is_lost_over_resets);
    tcase_add_test(tests, the_outside_descriptor_survives_a_reconnect);
    tcase_add_test(tests, sends_fail_at_once_while_the_broker_is_known_to_be_down_and_recover);
    tcase_add_test(tests, sends_fail_at_once_also_when_the_broker_has_been_down_for_long);
    tcase_add_test(tests, a_broker_that_says_nothing_holds_a_send_for_publish_timeout_only);
    tcase_add_test(tests, unconfirmed_messages_are_counted_at_the_deadline);
    tcase_add_test(tests, a_message_that_is_never_confirmed_fails_its_handle_after_30_s);
    tcase_add_test(tests,
                   a_reply_queue_that_is_deleted_ends_the_handles_whose_results_it_took_along);
    tcase_add_test(tests, the_descriptor_rings_when_a_confirm_is_overdue);
    tcase_add_test(tests, an_alarm_that_was_seen_to_does_not_ring_afterwards);
    tcase_add_test(tests, a_close_ends_also_the_handles_that_expect_no_result);
    tcase_add_test(tests, a_reply_queue_that_went_may_take_unconfirmed_tasks_along);
    tcase_add_test(tests, a_reply_queue_that_went_while_we_were_away_is_noticed);
    tcase_add_test(tests, what_is_sent_after_it_gets_another_queue_and_the_old_one_is_not_given_up);
    tcase_add_test(tests, one_that_does_not_come_back_ends_its_handles_and_no_other);
    tcase_add_test(tests, nor_does_one_that_is_there_and_cannot_be_consumed_keep_them_waiting);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
