/* test_backoff.c - how long a retry waits, and which failures are retries by themselves. */
#include "support/jobs.h"

#include "base/clock.h"
#include "task/backoff.h"

#include <math.h>
#include <stdlib.h>

static ctask_outcome backs_off(struct ctask_call *t)
{
    return task_retry(t, -1);
}

static ctask_outcome fails_as(struct ctask_call *t)
{
    const char *type;
    if (!task_args(t, &type)) return ctask_failed(t);
    return task_fail(t, type, "run %" PRId64, ctask_call_retries(t));
}

CTASK_APP(trying, {TASK_CALL(backs_off), .retry_backoff = 100},
          {TASK_CALL_AS("some", fails_as), .params = "type", .autoretry = "OSError , TimeoutError",
           .max_retries = 2, .retry_backoff = 50},
          {TASK_CALL_AS("all", fails_as), .params = "type", .autoretry = "Exception"},
          {TASK_CALL_AS("none", fails_as), .params = "type"});

/* The most and least of many. */
static void waits_between(const struct ctask_task *t, int64_t retries, double most)
{
    double least = INFINITY, longest = 0;
    for (int i = 0; i < 2000; i++) {
        double wait = backoff_wait(t, retries);
        if (wait < least) least = wait;
        if (wait > longest) longest = wait;
    }
    ck_assert(least >= 0 && least < most * 0.05);
    ck_assert(longest <= most && longest > most * 0.95);
}

START_TEST(waits_double_up_to_a_maximum_and_are_random_from_zero_on)
{
    struct ctask_task standard = {0}, own = {.retry_backoff = 0.5, .retry_backoff_max = 3};
    waits_between(&standard, 0, 1);
    waits_between(&standard, 1, 2);
    waits_between(&standard, 9, 512);
    waits_between(&standard, 10, 600);
    waits_between(&standard, INT64_MAX, 600);
    waits_between(&own, 0, 0.5);
    waits_between(&own, 2, 2);
    waits_between(&own, 3, 3);
}
END_TEST

START_TEST(a_type_is_one_of_the_list_or_any)
{
    struct ctask_task t = {.autoretry = "OSError,TimeoutError , X"};
    ck_assert(backoff_wanted(&t, "OSError"));
    ck_assert(backoff_wanted(&t, "TimeoutError"));
    ck_assert(backoff_wanted(&t, "X"));
    ck_assert(!backoff_wanted(&t, "OSErro") && !backoff_wanted(&t, "OSErrors"));
    ck_assert(!backoff_wanted(&t, "") && !backoff_wanted(&t, "ValueError"));
    t.autoretry = "Exception";
    ck_assert(backoff_wanted(&t, "ValueError"));
    t.autoretry = NULL;
    ck_assert(!backoff_wanted(&t, "ValueError"));
}
END_TEST

START_TEST(an_entry_that_could_not_be_meant_is_refused)
{
    const struct ctask_task wrong[] = {
        {.retry_backoff = -1},  {.retry_backoff = NAN},     {.retry_backoff_max = INFINITY},
        {.autoretry = ""},      {.autoretry = "OSError,"},  {.autoretry = ",OSError"},
        {.autoretry = "a,, b"}, {.autoretry = "OSError X"}, {.retry_backoff = 1e9},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_ptr_nonnull(backoff_check(&wrong[i]));
    ck_assert_ptr_null(backoff_check(&(struct ctask_task){0}));
    ck_assert_ptr_null(backoff_check(&(struct ctask_task){.autoretry = "A , B"}));
}
END_TEST

/* Seconds until the copy is due. */
static double copy_wait(void)
{
    struct message m;
    struct fault f;
    ck_assert_int_eq(heard.done.state, DONE_RETRY);
    ck_assert_uint_eq(heard.copies, 1);
    ck_assert_str_eq(heard.reply.state, STATE_RETRY);
    ck_assert(message_read(heard.copy.props, &m, &f));
    return m.eta > 0 ? m.eta - clock_wall() : 0;
}

START_TEST(a_negative_time_is_the_back_off)
{
    double longest = 0;
    for (int i = 0; i < 50; i++) {
        run("backs_off", "[]", "{}");
        double wait = copy_wait();
        ck_assert(wait <= 100);
        if (wait > longest) longest = wait;
    }
    ck_assert(longest > 50);
}
END_TEST

START_TEST(a_failure_of_the_list_is_tried_again_and_the_last_one_is_the_tasks)
{
    run("some", "[\"TimeoutError\"]", "{}");
    for (int i = 0; i < 2; i++) {
        char said[16];
        snprintf(said, sizeof said, "run %d", i);
        ck_assert(copy_wait() <= 50 * (i + 1));
        ck_assert_str_eq(heard.reply.fault.type, "TimeoutError");
        ck_assert_str_eq(heard.reply.fault.text, said);
        run_copy();
    }
    fails(DONE_FAILURE, "TimeoutError", "run 2");
}
END_TEST

START_TEST(other_failures_and_wrong_arguments_are_not_tried_again)
{
    run("some", "[\"ValueError\"]", "{}");
    fails(DONE_FAILURE, "ValueError", "run 0");
    run("none", "[\"TimeoutError\"]", "{}");
    fails(DONE_FAILURE, "TimeoutError", "run 0");
    run("all", "[]", "{}");
    fails(DONE_DEAD, "TypeError", "type");
    run("all", "[\"ValueError\"]", "{}");
    ck_assert(copy_wait() <= 1);
}
END_TEST

int main(void)
{
    const struct ctask_app *const apps[] = {ctask_app_trying(), NULL};
    Suite *s = suite_create("back-off");
    TCase *t = job_case(s, "back-off", apps);
    tcase_add_test(t, waits_double_up_to_a_maximum_and_are_random_from_zero_on);
    tcase_add_test(t, a_type_is_one_of_the_list_or_any);
    tcase_add_test(t, an_entry_that_could_not_be_meant_is_refused);
    tcase_add_test(t, a_negative_time_is_the_back_off);
    tcase_add_test(t, a_failure_of_the_list_is_tried_again_and_the_last_one_is_the_tasks);
    tcase_add_test(t, other_failures_and_wrong_arguments_are_not_tried_again);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
