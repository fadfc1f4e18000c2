/* test_dial.c - which of several URLs is next: the last good one after a loss, unless it fell
 * silent, and each of the others as likely as the rest; and when the way back to the first is
 * tried. */
#include "transport/session.h"

#include "base/clock.h"
#include "base/err.h"

#include <check.h>

enum { URLS = 4, TIMES = 400 };

static struct broker *b;
static int64_t now;

static void setup(void)
{
    static struct url urls[URLS];
    struct ctask_error e;
    for (int i = 0; i < URLS; i++)
        ck_assert_int_eq(url_parse("amqp://127.0.0.1:1", &urls[i], &e), CTASK_OK);
    b = broker_new(&(struct broker_config){.url = urls, .url_count = URLS});
    ck_assert_ptr_nonnull(b);
    now = clock_now();
}

static void teardown(void)
{
    broker_free(b);
}

/* True if that is to be told. */
static bool ends(bool was_up)
{
    struct ctask_error why;
    error_set(&why, CTASK_ECONN, "lost");
    b->up_at = now - 2 * CLOCK_SECOND;
    return dial_again(b, &why, was_up, now);
}

START_TEST(the_last_good_one_is_first_after_a_loss)
{
    b->at = 2;
    ck_assert(ends(true));
    ck_assert_uint_eq(b->at, 2);
}
END_TEST

START_TEST(then_each_of_the_others_once_and_all_are_as_likely)
{
    unsigned second[URLS] = {0};
    for (int i = 0; i < TIMES; i++) {
        unsigned seen = 1;
        b->at = 0;
        ck_assert(ends(true));
        for (int k = 1; k < URLS; k++) {
            ck_assert(!ends(false));
            if (k == 1) second[b->at]++;
            ck_assert_uint_eq(seen >> b->at & 1, 0);
            seen |= 1U << b->at;
        }
        ck_assert(ends(false)); /* all have failed: there is a pause */
    }
    for (int i = 1; i < URLS; i++) ck_assert_uint_gt(second[i], TIMES / URLS / 2);
}
END_TEST

START_TEST(one_that_fell_silent_has_failed_in_this_round)
{
    for (int i = 0; i < TIMES; i++) {
        b->at = 1;
        b->silent = true;
        ends(true);
        for (int k = 1; k < URLS; k++) {
            ck_assert_uint_ne(b->at, 1);
            ck_assert_int_eq(ends(false), k == URLS - 1);
        }
    }
}
END_TEST

/* ---- Back to the first ----------------------------------------------------------------------- */

/* As if it were up there. */
static void up_at(unsigned at)
{
    b->at = at;
    b->phase = PHASE_CONNECTED;
    b->link.state = LINK_UP;
    home_wait(b, now);
}

static void no_session(void)
{
    b->phase = PHASE_WAITING;
}

START_TEST(away_from_the_first_it_is_tried_after_ten_to_fifteen_minutes)
{
    int64_t least = CLOCK_NEVER, most = 0;
    for (int i = 0; i < TIMES; i++) {
        up_at(1 + (unsigned)i % (URLS - 1));
        if (b->home.at - now < least) least = b->home.at - now;
        if (b->home.at - now > most) most = b->home.at - now;
    }
    ck_assert_int_ge(least, 600 * CLOCK_SECOND);
    ck_assert_int_lt(least, 640 * CLOCK_SECOND);
    ck_assert_int_gt(most, 860 * CLOCK_SECOND);
    ck_assert_int_le(most, 900 * CLOCK_SECOND);
    ck_assert_int_eq(home_wake(b, now), b->home.at);
    home_turn(b, b->home.at - 1);
    ck_assert_int_eq(b->home.step, HOME_AWAY);
    no_session();
}
END_TEST

START_TEST(at_the_first_and_behind_a_leader_there_is_no_way_back)
{
    up_at(0);
    ck_assert_int_eq(home_wake(b, now), CLOCK_NEVER);
    b->cfg.follow = b;
    up_at(1);
    ck_assert_int_eq(home_wake(b, now), CLOCK_NEVER);
    home_turn(b, now + 86400 * CLOCK_SECOND);
    ck_assert_int_eq(b->home.step, HOME_AWAY);
    b->cfg.follow = NULL;
    no_session();
}
END_TEST

START_TEST(an_alarm_is_not_calm)
{
    up_at(1);
    b->link.blocked = true;
    home_turn(b, b->home.at);
    ck_assert_int_eq(b->home.step, HOME_AWAY);
    no_session();
}
END_TEST

/* Nobody listens there. */
static void attempt(void)
{
    now = b->home.at;
    home_turn(b, now);
    ck_assert_int_eq(b->home.step, HOME_DIAL);
    while (b->home.step != HOME_AWAY) home_turn(b, now);
    ck_assert_int_eq(b->link.state, LINK_UP); /* the one in use does not notice */
}

START_TEST(each_failed_attempt_doubles_the_wait_to_at_most_eight_times)
{
    static const int times[] = {2, 4, 8, 8, 8};
    dial_turn(b, now);
    up_at(1);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        attempt();
        ck_assert_int_ge(b->home.at - now, times[i] * 600 * CLOCK_SECOND);
        ck_assert_int_le(b->home.at - now, times[i] * 900 * CLOCK_SECOND);
    }
    home_end(b); /* a loss: the calm begins anew */
    ck_assert_int_eq(b->home.at, CLOCK_NEVER);
    up_at(1);
    ck_assert_int_le(b->home.at - now, 900 * CLOCK_SECOND);
    no_session();
}
END_TEST

/* The client's lock is held meanwhile, and a name server that is down takes its time. */
START_TEST(no_name_is_looked_up_for_it_while_a_connection_is_in_use)
{
    snprintf(b->urls[0].host, sizeof b->urls[0].host, "localhost");
    dial_turn(b, now);
    ck_assert_int_eq(b->phase, PHASE_DIALING);
    snprintf(b->urls[0].host, sizeof b->urls[0].host, "unknown.invalid");
    up_at(1);
    attempt();
    no_session();
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("dial");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_last_good_one_is_first_after_a_loss);
    tcase_add_test(t, then_each_of_the_others_once_and_all_are_as_likely);
    tcase_add_test(t, one_that_fell_silent_has_failed_in_this_round);
    tcase_add_test(t, away_from_the_first_it_is_tried_after_ten_to_fifteen_minutes);
    tcase_add_test(t, at_the_first_and_behind_a_leader_there_is_no_way_back);
    tcase_add_test(t, an_alarm_is_not_calm);
    tcase_add_test(t, each_failed_attempt_doubles_the_wait_to_at_most_eight_times);
    tcase_add_test(t, no_name_is_looked_up_for_it_while_a_connection_is_in_use);
    Suite *s = suite_create("dial");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
