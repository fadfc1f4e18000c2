/* test_after.c - what follows from a call besides its result: retries, what it sends on the way,
 * and burials. The tasks are the demo app's and two more. */
#include "tasks/demo.c" /* before check.h, which has a macro called fail */

#include "base/clock.h"
#include "support/jobs.h"
#include "wire/body.h"

#include <math.h>
#include <pthread.h>

static ctask_outcome retries_for_ever(struct ctask_call *t)
{
    return task_retry(t, INFINITY);
}

static ctask_outcome plain_retry(struct ctask_call *t)
{
    return task_retry(t, 60);
}

/* Two threads that have much to say at once. */
enum { SAID = 30, LONG = 300000 };
static char text[LONG + 1];

static void *sends(void *ctx)
{
    for (int i = 0; i < SAID; i++)
        if (task_send("other", text) != CTASK_OK) return ctx;
    return NULL;
}

static ctask_outcome talks_and_sends(struct ctask_call *t)
{
    pthread_t other;
    void *wrong;
    memset(text, 'x', LONG);
    if (pthread_create(&other, NULL, sends, t) != 0) return task_fail(t, NULL, "no thread");
    for (int i = 0; i < SAID; i++)
        if (task_progress(t, text) != CTASK_OK) return task_fail(t, NULL, "not said");
    pthread_join(other, &wrong);
    return task_return(t, wrong == NULL);
}

CTASK_APP(odd, {TASK_CALL(retries_for_ever)}, {TASK_CALL(plain_retry)},
          {TASK_CALL(talks_and_sends)});

/* ---- Calls that run again -------------------------------------------------------------------- */

START_TEST(a_retry_is_a_copy_and_a_RETRY_until_it_succeeds)
{
    run("demo.retry", "[2]", "{}");
    for (int i = 1; i <= 2; i++) {
        ck_assert_int_eq(heard.done.state, DONE_RETRY);
        ck_assert_uint_eq(heard.copies, 1);
        ck_assert_uint_eq(heard.results, 1);
        ck_assert_str_eq(heard.reply.state, STATE_RETRY);
        ck_assert_str_eq(heard.reply.fault.type, "ConnectionError");
        ck_assert_str_eq(heard.done.fault.text, heard.reply.fault.text);
        struct message m;
        struct fault f;
        ck_assert(message_read(heard.copy.props, &m, &f));
        ck_assert_int_eq(m.retries, i);
        ck_assert(m.eta == 0 && !m.again);
        ck_assert(bytes_is(m.id, "id-1"));
        ck_assert(bytes_is(heard.copy.ensure, "q") && bytes_is(heard.copy.routing_key, "q"));
        run_copy();
    }
    succeeds("2");
}
END_TEST

START_TEST(a_retry_carries_its_eta_and_the_doubt_of_a_second_start)
{
    double before = clock_wall();
    run("demo.retry", "[1, 60]", "{}");
    struct message m;
    struct fault f;
    ck_assert(message_read(heard.copy.props, &m, &f));
    ck_assert(m.eta > before + 59 && m.eta < clock_wall() + 61);
    job.redelivered = true;
    run_job();
    ck_assert(message_read(heard.copy.props, &m, &f));
    ck_assert(m.again);
}
END_TEST

START_TEST(one_retry_too_many_is_the_failure_that_caused_it)
{
    run("demo.retry", "[99]", "{}"); /* .max_retries = 10 */
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(heard.done.state, DONE_RETRY);
        run_copy();
    }
    fails(DONE_FAILURE, "ConnectionError", "attempt 11 of 99 fails");
}
END_TEST

START_TEST(retries_without_a_reason_end_after_three)
{
    run("plain_retry", "[]", "{}");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(heard.done.state, DONE_RETRY);
        ck_assert_str_eq(heard.done.fault.type, "");
        run_copy();
    }
    fails(DONE_FAILURE, "MaxRetriesExceededError", "Can't retry plain_retry[id-1]");
}
END_TEST

START_TEST(a_retry_beyond_any_delay_is_a_failure)
{
    run("retries_for_ever", "[]", "{}");
    fails(DONE_FAILURE, "ValueError", "asks for a retry in inf s");
}
END_TEST

START_TEST(a_cancelled_task_hands_itself_on)
{
    task_cancel();
    run("demo.spin", "[1000]", "{}");
    ck_assert_int_eq(heard.done.state, DONE_RETRY);
    ck_assert_str_eq(heard.done.fault.text, "the worker stops");
}
END_TEST

/* ---- On the way ------------------------------------------------------------------------------ */

START_TEST(progress_goes_up_at_once)
{
    run("demo.progress", "[2]", "{}");
    succeeds("2");
    for (int i = 1; i <= 2; i++) {
        struct buf in = {0};
        struct posted p = published(&in);
        ck_assert_int_eq(p.kind, POSTED_RESULT);
        hear(&p);
        ck_assert_str_eq(heard.reply.state, STATE_PROGRESS);
        ck_assert_int_eq(json_integer_value(json_object_get(heard.reply.result, "done")), i);
        buf_done(&in);
    }
}
END_TEST

START_TEST(what_a_task_sends_goes_up_with_its_ids_and_no_reply_address)
{
    job_set(
        &(struct send){
            .task = "demo.send", .id = "id-1", .root_id = "root-1", .reply_to = REPLY_TO},
        "[[\"other\", \"demo.add\", 2, 3], {}, null]");
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    struct buf in = {0};
    struct posted p = published(&in);
    struct message m;
    struct message_body b;
    struct fault f;
    ck_assert_int_eq(p.kind, POSTED_TASK);
    ck_assert(bytes_is(p.routing_key, "other"));
    ck_assert(message_read(p.props, &m, &f));
    ck_assert(bytes_is(m.task, "demo.add"));
    ck_assert(bytes_is(m.id, json_string_value(heard.reply.result)));
    ck_assert(bytes_is(m.root_id, "root-1"));
    ck_assert(bytes_is(m.parent_id, "id-1"));
    ck_assert_uint_eq(m.reply_to.n, 0);
    ck_assert(message_body_read(p.body, &b, &f));
    ck_assert_uint_eq(json_array_size(b.args), 2);
    message_body_done(&b);
    buf_done(&in);
}
END_TEST

START_TEST(task_delay_and_task_send_work_in_a_task)
{
    run("demo.fan", "[\"demo.echo\", [1, 2]]", "{}");
    succeeds("2");
    run("demo.delay", "[\"demo.echo\", 3]", "{}");
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    for (int i = 1; i <= 3; i++) {
        struct buf in = {0};
        struct posted p = published(&in);
        struct message m;
        struct message_body b;
        struct fault f;
        ck_assert(message_read(p.props, &m, &f));
        ck_assert(bytes_is(m.root_id, "id-1"));
        ck_assert(bytes_is(m.parent_id, "id-1"));
        ck_assert(message_body_read(p.body, &b, &f));
        ck_assert_int_eq(json_integer_value(json_array_get(b.args, 0)), i);
        message_body_done(&b);
        buf_done(&in);
    }
}
END_TEST

static void *run_it(void *name)
{
    run(name, "[]", "{}");
    return NULL;
}

START_TEST(what_threads_of_a_task_say_at_once_goes_up_whole)
{
    pthread_t child;
    ck_assert_int_eq(pthread_create(&child, NULL, run_it, (void *)"talks_and_sends"), 0);
    for (int i = 0; i < 2 * SAID; i++) {
        struct buf in = {0};
        ck_assert_uint_gt(published(&in).body.n, LONG);
        buf_done(&in);
    }
    pthread_join(child, NULL);
    succeeds("1");
}
END_TEST

/* ---- Burials --------------------------------------------------------------------------------- */

START_TEST(a_burial_tells_the_asker_and_decides_what_is_kept)
{
    job_for("demo.add", "any body");
    bury(STATE_FAILURE);
    fails(DONE_DEAD, "WorkerLostError", "signal 9");
    bury(STATE_REVOKED);
    ck_assert_int_eq(heard.done.state, DONE_FAILURE);
    ck_assert_str_eq(heard.reply.state, STATE_REVOKED);
    bury(STATE_RETRY);
    ck_assert_int_eq(heard.done.state, DONE_RETRY);
    ck_assert_str_eq(heard.reply.state, STATE_RETRY);
    bury(NULL);
    ck_assert_int_eq(heard.done.state, DONE_DEAD);
    ck_assert_uint_eq(heard.results, 0);
}
END_TEST

START_TEST(a_burial_needs_no_sound_head)
{
    job_for("", "");
    bury(STATE_FAILURE);
    fails(DONE_DEAD, "WorkerLostError", "signal 9");
    job.props = bytes_text("\xff\xff\xff\xff");
    bury(STATE_FAILURE);
    ck_assert_int_eq(heard.done.state, DONE_DEAD);
    ck_assert_uint_eq(heard.results, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("after");
    const struct ctask_app *const apps[] = {ctask_app_demo(), ctask_app_odd(), NULL};
    TCase *t = job_case(suite, "calls that run again", apps);
    tcase_add_test(t, a_retry_is_a_copy_and_a_RETRY_until_it_succeeds);
    tcase_add_test(t, a_retry_carries_its_eta_and_the_doubt_of_a_second_start);
    tcase_add_test(t, one_retry_too_many_is_the_failure_that_caused_it);
    tcase_add_test(t, retries_without_a_reason_end_after_three);
    tcase_add_test(t, a_retry_beyond_any_delay_is_a_failure);
    tcase_add_test(t, a_cancelled_task_hands_itself_on);
    t = job_case(suite, "on the way", apps);
    tcase_add_test(t, progress_goes_up_at_once);
    tcase_add_test(t, what_a_task_sends_goes_up_with_its_ids_and_no_reply_address);
    tcase_add_test(t, task_delay_and_task_send_work_in_a_task);
    tcase_add_test(t, what_threads_of_a_task_say_at_once_goes_up_whole);
    t = job_case(suite, "burials", apps);
    tcase_add_test(t, a_burial_tells_the_asker_and_decides_what_is_kept);
    tcase_add_test(t, a_burial_needs_no_sound_head);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
