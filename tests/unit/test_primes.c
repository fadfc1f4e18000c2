/* test_primes.c - is_prime is plain C and is tested as that: no call, no worker, no broker. */
#include "tasks/primes.c"

#include <check.h>
#include <stdlib.h>

START_TEST(small_numbers_agree_with_a_sieve)
{
    enum { N = 100000 };
    static bool composite[N];
    for (int64_t n = 2; n < N; n++)
        for (int64_t k = n * n; k < N; k += n) composite[k] = true;
    for (int64_t n = 2; n < N; n++) ck_assert_msg(is_prime(n) == !composite[n], "%" PRId64, n);
}
END_TEST

START_TEST(nothing_below_two_is_prime)
{
    ck_assert(!is_prime(1));
    ck_assert(!is_prime(0));
    ck_assert(!is_prime(-7));
    ck_assert(!is_prime(INT64_MIN));
}
END_TEST

START_TEST(the_ends_of_the_range_are_right)
{
    ck_assert(!is_prime(INT64_MAX)); /* 7 * 7 * 73 * ... */
    ck_assert(!is_prime(INT64_MAX - 1));
    ck_assert(is_prime(2147483647));
    ck_assert(!is_prime(INT64_C(2147483647) * 3));
    ck_assert(!is_prime(INT64_C(1000003) * 1000003)); /* a square: the root itself is tried */
}
END_TEST

START_TEST(two_numbers_of_the_talk)
{
    ck_assert(is_prime(INT64_C(112272535095293)));
    ck_assert(!is_prime(INT64_C(1099726899285419)));
}
END_TEST

START_TEST(the_table_names_the_task_as_producers_call_it)
{
    const struct ctask_app *app = ctask_app_primes();
    ck_assert_str_eq(app->name, "primes");
    ck_assert_uint_eq(app->count, 1);
    ck_assert_str_eq(app->tasks[0].name, "is_prime");
    ck_assert_str_eq(app->tasks[0].params, "n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("primes");
    TCase *t = tcase_create("primes");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, small_numbers_agree_with_a_sieve);
    tcase_add_test(t, nothing_below_two_is_prime);
    tcase_add_test(t, the_ends_of_the_range_are_right);
    tcase_add_test(t, two_numbers_of_the_talk);
    tcase_add_test(t, the_table_names_the_task_as_producers_call_it);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
