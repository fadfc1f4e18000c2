/* test_dial.c - which of several URLs is next: the last good one after a loss, unless it fell
 * silent, and each of the others as likely as the rest. */
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

int main(void)
{
    TCase *t = tcase_create("dial");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_last_good_one_is_first_after_a_loss);
    tcase_add_test(t, then_each_of_the_others_once_and_all_are_as_likely);
    tcase_add_test(t, one_that_fell_silent_has_failed_in_this_round);
    Suite *s = suite_create("dial");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
