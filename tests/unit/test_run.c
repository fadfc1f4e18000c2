/* test_run.c - what the asker hears and what happens to the message when a task runs to its end,
 * and when its message does not fit it. The tasks are the demo app's and some that no one should
 * write.
 */
#include "tasks/demo.c" /* before check.h, which has a macro called fail */

#include "support/jobs.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Tasks that no one should write ---------------------------------------------------------- */

static ctask_outcome no_outcome(struct ctask_call *t)
{
    (void)t;
    return (ctask_outcome){0};
}

static ctask_outcome returns_nan(struct ctask_call *t)
{
    return task_return(t, NAN);
}

static json_t *loop;

static ctask_outcome returns_a_loop(struct ctask_call *t)
{
    loop = json_array();
    json_t *inner = json_array();
    json_array_append_new(loop, inner);
    json_array_append(inner, loop);
    return task_return(t, ctask_take(loop));
}

static json_t *nested(int64_t levels)
{
    json_t *j = json_array();
    while (--levels > 0) j = json_pack("[o]", j);
    return j;
}

static ctask_outcome returns_nested(struct ctask_call *t)
{
    int64_t levels;
    if (!task_args(t, &levels)) return ctask_failed(t);
    return task_return(t, ctask_take(nested(levels)));
}

static ctask_outcome comes_back_twice(struct ctask_call *t)
{
    int status = -1;
    pid_t twin = fork();
    if (twin > 0) waitpid(twin, &status, 0);
    return task_return(t, status);
}

static ctask_outcome changes_the_default(struct ctask_call *t)
{
    ctask_set_default(NULL);
    return task_return_null(t);
}

static ctask_outcome closes_the_client(struct ctask_call *t)
{
    ctask_close(ctask_default());
    return task_return(t, task_send("other"));
}

static ctask_outcome fails_without_reason(struct ctask_call *t)
{
    return ctask_failed(t);
}

static ctask_outcome changes_its_mind(struct ctask_call *t)
{
    ctask_outcome first = task_return(t, "first");
    (void)first;
    return task_fail(t, NULL, "in the \xff end");
}

static ctask_outcome who(struct ctask_call *t)
{
    return task_return(
        t, ctask_take(json_pack("[s, s, I, b]", ctask_call_id(t), ctask_call_name(t),
                                (json_int_t)ctask_call_retries(t), ctask_call_redelivered(t))));
}

static int is_two(int64_t n)
{
    return n == 2;
}
CTASK_FN(bool, is_two, (int64_t, n));

static json_t *list_of(int64_t n)
{
    return json_pack("[I]", (json_int_t)n);
}
CTASK_FN(json_t *, list_of, (int64_t, n));

CTASK_APP(odd, {TASK(is_two)}, {TASK(list_of)}, {TASK_CALL(no_outcome)}, {TASK_CALL(returns_nan)},
          {TASK_CALL(returns_a_loop)}, {TASK_CALL(fails_without_reason)},
          {TASK_CALL(changes_its_mind)}, {TASK_CALL(who)}, {TASK_CALL(returns_nested)},
          {TASK_CALL(comes_back_twice)}, {TASK_CALL(changes_the_default)},
          {TASK_CALL(closes_the_client)});

/* ---- Calls that run -------------------------------------------------------------------------- */

START_TEST(a_value_comes_back_with_the_run_time)
{
    run("demo.add", "[2, 3]", "{}");
    succeeds("5");
    ck_assert(heard.done.runtime >= 0 && heard.done.runtime < 5);
    run("demo.sleep", "[0.0625]", "{}");
    succeeds("0.0625");
    ck_assert(heard.done.runtime >= 0.0625 && heard.reply.runtime >= 0.0625);
}
END_TEST

START_TEST(a_plain_function_returns_the_type_that_was_declared)
{
    run("is_two", "[2]", "{}");
    succeeds("true");
    run("list_of", "[7]", "{}"); /* its reference is given away: the leak checker watches */
    succeeds("[7]");
}
END_TEST

START_TEST(arguments_come_by_place_and_by_name_and_may_be_left_out)
{
    run("demo.thumbnail", "[\"a.png\"]", "{}");
    succeeds("\"a.png.640\"");
    run("demo.thumbnail", "[]", "{\"crop\": true, \"path\": \"a.png\"}");
    succeeds("\"a.png.640.cropped\"");
    run("demo.echo", "[{\"\": [1, null, 2.5]}]", "{}");
    succeeds("{\"\":[1,null,2.5]}");
}
END_TEST

START_TEST(a_task_knows_who_it_is)
{
    run("who", "[]", "{}");
    succeeds("[\"id-1\",\"who\",0,false]");
    job.redelivered = true;
    run_job();
    succeeds("[\"id-1\",\"who\",0,true]");
}
END_TEST

START_TEST(no_result_is_made_when_none_is_wanted)
{
    job_set(&(struct send){.task = "demo.add", .id = "i"}, "[[1, 2], {}, null]");
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(heard.results, 0);
    job_set(
        &(struct send){.task = "demo.fail", .id = "i", .reply_to = REPLY_TO, .ignore_result = true},
        "[[], {}, null]");
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_FAILURE);
    ck_assert_uint_eq(heard.results, 0);
}
END_TEST

START_TEST(a_failure_of_the_tasks_own_is_told_and_not_kept)
{
    run("demo.fail", "[\"ValueError\", \"width -1\"]", "{}");
    fails(DONE_FAILURE, "ValueError", "width -1");
    run("demo.fail", "[null, null]", "{}");
    fails(DONE_FAILURE, "RuntimeError", "");
    run("changes_its_mind", "[]", "{}");
    fails(DONE_FAILURE, "RuntimeError", "in the ? end");
}
END_TEST

START_TEST(a_task_without_an_outcome_fails)
{
    run("no_outcome", "[]", "{}");
    fails(DONE_FAILURE, "SystemError",
          "no_outcome() did not end with task_return, task_fail or task_retry");
    run("fails_without_reason", "[]", "{}");
    fails(DONE_FAILURE, "SystemError", "calls ctask_failed after arguments that fitted");
}
END_TEST

START_TEST(a_value_that_cannot_travel_is_a_failure_not_silence)
{
    run("returns_nan", "[]", "{}");
    fails(DONE_FAILURE, "EncodeError", "returns_nan() returned NaN and infinity have no JSON form");
    run("demo.big", "[16000000]", "{}");
    fails(DONE_FAILURE, "EncodeError", "demo.big() returned a value that is over 15 MiB");
    run("demo.big", "[15000000]", "{}");
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(json_string_length(heard.reply.result), 15000000);
}
END_TEST

START_TEST(a_value_without_a_json_form_is_a_failure)
{
    run("returns_a_loop", "[]", "{}");
    fails(DONE_FAILURE, "EncodeError", "returned a value that has no JSON form");
    json_array_clear(json_array_get(loop, 0)); /* the one who made the loop opens it */
}
END_TEST

START_TEST(a_value_that_nobody_would_read_is_a_failure)
{
    run("returns_nested", "[126]", "{}");
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(json_array_size(heard.reply.result), 1);
    run("returns_nested", "[127]", "{}");
    fails(DONE_FAILURE, "EncodeError", "returned a value that is nested too deeply");
    run("returns_nested", "[1000]", "{}");
    fails(DONE_FAILURE, "EncodeError", "returned a value that is nested too deeply");
}
END_TEST

START_TEST(a_process_that_a_task_forked_does_not_answer_for_it)
{
    pid_t self = getpid();
    run("comes_back_twice", "[]", "{}");
    if (getpid() != self) _exit(7);
    succeeds("0");
}
END_TEST

START_TEST(a_task_may_close_or_change_the_default_client_without_harm)
{
    run("closes_the_client", "[]", "{}");
    succeeds("0");
    run("changes_the_default", "[]", "{}");
    succeeds("null");
    run("closes_the_client", "[]", "{}");
    succeeds("0");
    for (int i = 0; i < 2; i++) {
        struct buf in = {0};
        ck_assert(bytes_is(published(&in).routing_key, "ctask"));
        buf_done(&in);
    }
}
END_TEST

/* ---- Calls that do not fit ------------------------------------------------------------------- */

START_TEST(wrong_arguments_are_told_and_kept)
{
    static const struct {
        const char *args, *kwargs, *text;
    } wrong[] = {
        {"[]", "{}", "demo.add() missing required argument 'a'"},
        {"[1, 2, 3]", "{}", "demo.add() takes 2 positional arguments but 3 were given"},
        {"[1]", "{\"c\": 2}", "demo.add() got an unexpected keyword argument 'c'"},
        {"[1, 2]", "{\"a\": 2}", "demo.add() got multiple values for argument 'a'"},
        {"[1, \"2\"]", "{}", "demo.add() argument b: a string does not fit int64"},
        {"[1, 1e300]", "{}", "demo.add() argument b: 1e+300 does not fit int64"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        run("demo.add", wrong[i].args, wrong[i].kwargs);
        fails(DONE_DEAD, "TypeError", wrong[i].text);
    }
}
END_TEST

START_TEST(bodies_that_are_none_are_told_and_kept)
{
    static const char *const bodies[] = {"",
                                         "{not json",
                                         "3",
                                         "{}",
                                         "[]",
                                         "[[1, 2], {}]",
                                         "[1,{},{}]",
                                         "[{},{},{}]",
                                         "[[],[],{}]",
                                         "[[],{},[1]]",
                                         "[[99999999999999999999],{},{}]",
                                         "[[\"\xff\"],{},{}]"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        job_for("demo.add", bodies[i]);
        run_job();
        ck_assert_int_eq(heard.done.state, DONE_DEAD);
        ck_assert_uint_eq(heard.results, 1);
        ck_assert_str_eq(heard.reply.state, STATE_FAILURE);
        ck_assert_str_ne(heard.reply.fault.text, "");
    }
}
END_TEST

START_TEST(a_body_nested_too_deeply_is_told_and_kept)
{
    enum { DEPTH = 100000 };
    char *body = malloc(2 * DEPTH + 16);
    memset(body, '[', DEPTH);
    memset(body + DEPTH, ']', DEPTH);
    body[2 * DEPTH] = '\0';
    job_for("demo.add", body);
    run_job();
    fails(DONE_DEAD, "DecodeError", "nested deeper than 128");
    free(body);
}
END_TEST

START_TEST(heads_that_are_none_are_kept_and_told_if_they_name_an_asker)
{
    job_for("demo.add", "[[1, 2], {}, null]");
    job.props = bytes_text("no properties");
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_DEAD);
    ck_assert_uint_eq(heard.results, 0);
    job.props = bytes_of(NULL, 0);
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_DEAD);
    ck_assert_uint_eq(heard.results, 0);
    job_for("", "[[], {}, null]");
    run_job();
    fails(DONE_DEAD, "InvalidTaskError", "");
}
END_TEST

START_TEST(an_unknown_task_is_told_and_kept)
{
    run("demo.nothing", "[]", "{}");
    fails(DONE_DEAD, "NotRegistered", "demo.nothing");
}
END_TEST

START_TEST(what_would_have_to_follow_keeps_a_task_from_running)
{
    static const char *const embeds[] = {"{\"chain\": [{\"task\": \"x\"}]}",
                                         "{\"callbacks\": [{\"task\": \"x\"}]}",
                                         "{\"chord\": {\"task\": \"x\"}}", "{\"chain\": 1}"};
    for (size_t i = 0; i < sizeof embeds / sizeof embeds[0]; i++) {
        char body[128];
        snprintf(body, sizeof body, "[[\"out\", \"x\", []], {}, %s]", embeds[i]);
        job_for("demo.fan", body);
        run_job();
        fails(DONE_DEAD, "NotImplementedError", "it was not run");
    }
}
END_TEST

/* Those that can be told: with an id and a reply address that are some. */
START_TEST(the_later_steps_of_a_chain_fail_too)
{
    char body[1024], longer[301];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    const char *to = "\"reply_to\": \"" REPLY_TO "\"";
    snprintf(body, sizeof body,
             "[[1, 2], {}, {\"chain\": [{\"options\": {\"task_id\": \"" STEP_ID "\", %s}}, "
             "{\"task\": \"x\"}, 1, {\"options\": {\"task_id\": \"" STEP_ID
             "\", \"reply_to\": \"q\"}}, {\"options\": {\"task_id\": 7, %s}}, "
             "{\"options\": {\"task_id\": \"%s\", %s}}, "
             "{\"options\": {\"task_id\": \"" STEP_ID "\", %s}}]}]",
             to, to, longer, to, to);
    job_for("demo.add", body);
    run_job();
    fails(DONE_DEAD, "NotImplementedError", "it was not run");
    ck_assert_uint_eq(heard.steps, 2);
}
END_TEST

START_TEST(of_a_chain_without_end_some_steps_are_told)
{
    struct buf body = {0};
    buf_text(&body, "[[1, 2], {}, {\"chain\": [0");
    for (int i = 0; i < 2000; i++)
        buf_text(&body,
                 ", {\"options\": {\"task_id\": \"" STEP_ID "\", \"reply_to\": \"" REPLY_TO "\"}}");
    buf_text(&body, "]}]");
    buf_append(&body, "", 1);
    job_for("demo.add", (const char *)buf_bytes(&body).p);
    run_job();
    fails(DONE_DEAD, "NotImplementedError", "it was not run");
    ck_assert_uint_gt(heard.steps, 100);
    buf_done(&body);
}
END_TEST

START_TEST(error_callbacks_matter_only_after_a_failure)
{
    const char *embed = "{\"errbacks\": [{\"task\": \"x\"}], \"chain\": null}";
    char body[128];
    snprintf(body, sizeof body, "[[1, 2], {}, %s]", embed);
    job_for("demo.add", body);
    run_job();
    succeeds("3");
    snprintf(body, sizeof body, "[[\"OSError\"], {}, %s]", embed);
    job_for("demo.fail", body);
    run_job();
    fails(DONE_DEAD, "OSError", "as asked");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run");
    const struct ctask_app *const apps[] = {ctask_app_demo(), ctask_app_odd(), NULL};
    TCase *t = job_case(suite, "calls that run", apps);
    tcase_add_test(t, a_value_comes_back_with_the_run_time);
    tcase_add_test(t, a_plain_function_returns_the_type_that_was_declared);
    tcase_add_test(t, arguments_come_by_place_and_by_name_and_may_be_left_out);
    tcase_add_test(t, a_task_knows_who_it_is);
    tcase_add_test(t, no_result_is_made_when_none_is_wanted);
    tcase_add_test(t, a_failure_of_the_tasks_own_is_told_and_not_kept);
    tcase_add_test(t, a_task_without_an_outcome_fails);
    tcase_add_test(t, a_value_that_cannot_travel_is_a_failure_not_silence);
    tcase_add_test(t, a_value_without_a_json_form_is_a_failure);
    tcase_add_test(t, a_value_that_nobody_would_read_is_a_failure);
    tcase_add_test(t, a_process_that_a_task_forked_does_not_answer_for_it);
    tcase_add_test(t, a_task_may_close_or_change_the_default_client_without_harm);
    t = job_case(suite, "calls that do not fit", apps);
    tcase_add_test(t, wrong_arguments_are_told_and_kept);
    tcase_add_test(t, bodies_that_are_none_are_told_and_kept);
    tcase_add_test(t, a_body_nested_too_deeply_is_told_and_kept);
    tcase_add_test(t, heads_that_are_none_are_kept_and_told_if_they_name_an_asker);
    tcase_add_test(t, an_unknown_task_is_told_and_kept);
    tcase_add_test(t, what_would_have_to_follow_keeps_a_task_from_running);
    tcase_add_test(t, the_later_steps_of_a_chain_fail_too);
    tcase_add_test(t, of_a_chain_without_end_some_steps_are_told);
    tcase_add_test(t, error_callbacks_matter_only_after_a_failure);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
