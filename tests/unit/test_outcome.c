/* test_outcome.c - results: those of Celery are read as they are meant, ours are written as Celery
 * reads them, and no bytes can make a reader say nothing. */
#include "support/cases.h"
#include "wire/json.h"
#include "wire/outcome.h"

#include <check.h>
#include <stdlib.h>

/* ---- Celery's results ------------------------------------------------------------------------ */

static struct reply read_case(const char *name)
{
    struct wire_case *c = case_named(name);
    struct reply r;
    struct fault f = {0};
    ck_assert_msg(reply_read(buf_bytes(&c->body), &r, &f), "%s: %s", name, f.text);
    return r;
}

START_TEST(a_success_of_celery_is_read_as_its_value)
{
    struct reply r = read_case("success");
    ck_assert_str_eq(r.state, "SUCCESS");
    ck_assert(r.ready && r.success);
    ck_assert_int_eq(json_integer_value(r.result), 3);
    ck_assert_str_eq(r.fault.type, "");
    ck_assert_double_eq(r.runtime, 0);
    reply_done(&r);
}
END_TEST

START_TEST(a_failure_of_celery_is_read_as_its_exception)
{
    static const struct {
        const char *name, *state, *type, *text;
        bool ready;
    } rows[] = {
        {"failure", "FAILURE", "ValueError", "boom, 42", true},
        {"failure of its own type", "FAILURE", "MyErr", "<object object at 0x7f1f4650d4e0>", true},
        {"rejected", "FAILURE", "Reject", "no, false", true},
        {"unknown task", "FAILURE", "NotRegistered", "tasks.nope", true},
        {"wrong arguments", "FAILURE", "TypeError",
         "add() missing 1 required positional argument: 'y'", true},
        {"revoked", "REVOKED", "TaskRevokedError", "expired", true},
        {"retry", "RETRY", "OSError", "net", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r = read_case(rows[i].name);
        ck_assert_str_eq(r.state, rows[i].state);
        ck_assert_str_eq(r.fault.type, rows[i].type);
        ck_assert_str_eq(r.fault.text, rows[i].text);
        ck_assert_int_eq(r.ready, rows[i].ready);
        ck_assert(!r.success);
        reply_done(&r);
    }
}
END_TEST

START_TEST(what_a_running_task_reports_is_not_its_end)
{
    struct reply r = read_case("progress");
    ck_assert_str_eq(r.state, "PROGRESS");
    ck_assert(!r.ready && !r.success);
    ck_assert_int_eq(json_integer_value(json_object_get(r.result, "done")), 1);
    reply_done(&r);
    r = read_case("started");
    ck_assert_str_eq(r.state, "STARTED");
    ck_assert(!r.ready);
    reply_done(&r);
}
END_TEST

START_TEST(replies_cut_anywhere_are_refused)
{
    for (size_t c = 0; c < case_count; c++) {
        struct bytes whole = buf_bytes(&cases[c].body);
        for (size_t n = 0; n < whole.n; n++) {
            uint8_t *cut = malloc(n + !n); /* of exact size, for the sanitizer */
            ck_assert_ptr_nonnull(cut);
            memcpy(cut, whole.p, n);
            struct reply r;
            struct fault f = {0};
            ck_assert(!reply_read(bytes_of(cut, n), &r, &f));
            ck_assert_str_eq(f.type, "DecodeError");
            free(cut);
        }
    }
}
END_TEST

START_TEST(whatever_is_no_result_is_refused)
{
    static const char *const bad[] = {"",
                                      "7",
                                      "[]",
                                      "{}",
                                      "{\"result\":1}",
                                      "{\"status\":null}",
                                      "{\"status\":1}",
                                      "{\"status\":\"\"}",
                                      "{\"status\":\"A\\nB\"}",
                                      "{\"status\":\"A\\u0000B\"}",
                                      "{\"status\":\"A_STATE_OF_MORE_THAN_THIRTY_ONE_BYTES\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r;
        struct fault f = {0};
        ck_assert_msg(!reply_read(bytes_text(bad[i]), &r, &f), "%s was read", bad[i]);
        ck_assert_str_eq(f.type, "DecodeError");
        ck_assert_ptr_null(r.result);
    }
}
END_TEST

/* The fault of a FAILURE whose result is that JSON. */
static struct fault fault_of(const char *result)
{
    char body[2048];
    snprintf(body, sizeof body, "{\"status\":\"FAILURE\",\"result\":%s}", result);
    struct reply r;
    struct fault f = {0};
    ck_assert_msg(reply_read(bytes_text(body), &r, &f), "%s", f.text);
    f = r.fault;
    reply_done(&r);
    return f;
}

START_TEST(any_failure_says_something)
{
    static const struct {
        const char *result, *type, *text;
    } rows[] = {
        {"{\"exc_type\":\"A.B\",\"exc_message\":\"plain\"}", "A.B", "plain"},
        {"{\"exc_type\":\"E\",\"exc_message\":[]}", "E", ""},
        {"{\"exc_type\":\"E\",\"exc_message\":{\"a\":1}}", "E", "{\"a\":1}"},
        {"{\"exc_type\":7,\"exc_message\":[null,true]}", "Exception", "null, true"},
        {"{\"exc_type\":\"\",\"exc_message\":[1.5]}", "Exception", "1.5"},
        {"{\"exc_type\":\"E\",\"exc_message\":[\"a\\u0000b\"]}", "E", "a?b"},
        {"\"just text\"", "Exception", "just text"},
        {"[1,2]", "Exception", "[1,2]"},
        {"null", "Exception", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fault f = fault_of(rows[i].result);
        ck_assert_str_eq(f.type, rows[i].type);
        ck_assert_str_eq(f.text, rows[i].text);
    }
}
END_TEST

START_TEST(long_failures_are_cut_between_characters)
{
    char result[1200] = "{\"exc_type\":\"E\",\"exc_message\":[\"x";
    for (int i = 0; i < 400; i++) strcat(result, "\xc3\xa9");
    strcat(result, "\"]}");
    struct fault f = fault_of(result);
    ck_assert_uint_eq(strlen(f.text), 511);
    ck_assert_str_eq(f.text + 509, "\xc3\xa9");
    strcpy(result, "{\"exc_type\":\"E\",\"exc_message\":[\"xx");
    for (int i = 0; i < 400; i++) strcat(result, "\xc3\xa9");
    strcat(result, "\"]}");
    f = fault_of(result);
    ck_assert_uint_eq(strlen(f.text), 510);
}
END_TEST

START_TEST(a_run_time_that_cannot_be_is_not_known)
{
    static const char *const bad[] = {"-1", "\"1\"", "null", "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"status\":\"SUCCESS\",\"runtime\":%s}", bad[i]);
        struct reply r;
        struct fault f;
        ck_assert(reply_read(bytes_text(body), &r, &f));
        ck_assert_double_eq(r.runtime, 0);
        ck_assert_ptr_null(r.result);
        reply_done(&r);
    }
}
END_TEST

/* ---- Faults ---------------------------------------------------------------------------------- */

START_TEST(a_fault_is_always_text)
{
    struct fault f;
    ck_assert(!fault_set(&f, "ValueError", "%s is %d", "a\xff\xc3", 7));
    ck_assert_str_eq(f.text, "a?? is 7");
    fault_set(&f, f.type, "again: %s", f.text); /* made of itself */
    ck_assert_str_eq(f.type, "ValueError");
    ck_assert_str_eq(f.text, "again: a?? is 7");
    char type[200];
    memset(type, 'T', sizeof type);
    type[199] = '\0';
    fault_set(&f, type, "%0600d", 1);
    ck_assert_uint_eq(strlen(f.type), sizeof f.type - 1);
    ck_assert_uint_eq(strlen(f.text), sizeof f.text - 1);
}
END_TEST

START_TEST(types_of_python_travel_with_their_module)
{
    static const struct {
        const char *type, *module;
    } rows[] = {{"ValueError", "builtins"},
                {"TaskRevokedError", "celery.exceptions"},
                {"DecodeError", "kombu.exceptions"},
                {"WorkerLostError", "billiard.exceptions"},
                {"SystemExit", NULL},
                {"UnicodeDecodeError", NULL},
                {"eval", NULL},
                {"OurOwn", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fault f, back;
        fault_set(&f, rows[i].type, "why");
        json_t *j = fault_to_json(&f), *module = json_object_get(j, "exc_module");
        if (rows[i].module)
            ck_assert_str_eq(json_string_value(module), rows[i].module);
        else
            ck_assert(json_is_null(module));
        fault_from_json(j, &back);
        ck_assert_str_eq(back.type, rows[i].type);
        ck_assert_str_eq(back.text, "why");
        json_decref(j);
    }
}
END_TEST

/* ---- Ours ------------------------------------------------------------------------------------ */

#define ID "11111111-2222-4333-8444-555555555555"

static struct message asker(void)
{
    return (struct message){.id = bytes_text(ID),
                            .correlation_id = bytes_text(ID),
                            .reply_to = bytes_text("ctask.reply.1")};
}

/* Writes o, compares it with its case of ctask.txt and reads it again. */
static struct reply written(const char *name, const struct outcome *o)
{
    struct message m = asker();
    struct buf props = {0}, body = {0};
    ck_assert(outcome_write(&m, o, &props, &body));
    cases_match(name, &props, &body);
    struct reply r;
    struct fault f = {0};
    ck_assert_msg(reply_read(buf_bytes(&body), &r, &f), "%s", f.text);
    ck_assert_str_eq(r.state, o->state);
    buf_done(&props);
    buf_done(&body);
    return r;
}

START_TEST(a_second_start_is_told)
{
    struct message m = {.correlation_id = bytes_text("an-id")};
    struct fault f;
    for (int again = 0; again < 2; again++) {
        struct buf props = {0}, body = {0};
        struct reply r;
        struct outcome o = {.state = STATE_SUCCESS, .redelivered = again};
        ck_assert(outcome_write(&m, &o, &props, &body));
        ck_assert(reply_read(buf_bytes(&body), &r, &f));
        ck_assert_int_eq(r.redelivered, again);
        reply_done(&r);
        buf_done(&props);
        buf_done(&body);
    }
    struct reply r;
    ck_assert(reply_read(bytes_text("{\"status\":\"SUCCESS\",\"redelivered\":1}"), &r, &f));
    ck_assert(!r.redelivered);
    reply_done(&r);
}
END_TEST

START_TEST(a_success_is_what_python_was_shown_to_read)
{
    json_t *value = json_pack("{s:[i,n,b], s:s}", "a", 3, 1, "z", "Zo\xc3\xab");
    struct outcome o = {.state = STATE_SUCCESS, .result = value, .runtime = 0.25};
    struct reply r = written("success", &o);
    ck_assert(r.ready && r.success);
    ck_assert(json_equal(r.result, value));
    ck_assert_double_eq(r.runtime, 0.25);
    reply_done(&r);
    o = (struct outcome){.state = STATE_SUCCESS};
    r = written("success with nothing", &o);
    ck_assert(json_is_null(r.result));
    reply_done(&r);
    json_decref(value);
}
END_TEST

START_TEST(a_failure_is_what_python_was_shown_to_read)
{
    static const struct {
        const char *name, *state, *type, *text;
    } rows[] = {
        {"failure", STATE_FAILURE, "ValueError", "7 is no \"prime\""},
        {"failure of no python type", STATE_FAILURE, "NoSuchThing", "gone"},
        {"worker lost", STATE_FAILURE, "WorkerLostError", "signal 9"},
        {"revoked", STATE_REVOKED, "TaskRevokedError", "expired"},
        {"retry", STATE_RETRY, "OSError", "net"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome o = {.state = rows[i].state};
        fault_set(&o.fault, rows[i].type, "%s", rows[i].text);
        struct reply r = written(rows[i].name, &o);
        ck_assert_str_eq(r.fault.type, rows[i].type);
        ck_assert_str_eq(r.fault.text, rows[i].text);
        reply_done(&r);
    }
    struct outcome o = {.state = STATE_RETRY};
    struct reply r = written("retry without a reason", &o);
    ck_assert(json_is_null(r.result));
    reply_done(&r);
}
END_TEST

START_TEST(progress_is_what_python_was_shown_to_read)
{
    json_t *report = json_pack("{s:i}", "done", 1);
    struct outcome o = {.state = STATE_PROGRESS, .result = report};
    struct reply r = written("progress", &o);
    ck_assert(!r.ready);
    ck_assert(json_equal(r.result, report));
    reply_done(&r);
    json_decref(report);
}
END_TEST

START_TEST(the_body_names_the_same_id_as_the_properties)
{
    struct message m = asker();
    m.correlation_id = bytes_text("other");
    struct buf props = {0}, body = {0};
    ck_assert(outcome_write(&m, &(struct outcome){.state = STATE_SUCCESS}, &props, &body));
    struct props p;
    ck_assert_ptr_null(props_read(buf_bytes(&props), &p));
    ck_assert(bytes_is(p.correlation_id, "other"));
    struct fault f;
    json_t *j = wire_json(buf_bytes(&body), &f);
    ck_assert_str_eq(json_string_value(json_object_get(j, "task_id")), "other");
    json_decref(j);
    buf_done(&props);
    buf_done(&body);
}
END_TEST

START_TEST(a_result_too_big_for_a_broker_is_not_written)
{
    size_t n = (size_t)15 << 20;
    char *text = malloc(n + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', n);
    text[n] = '\0';
    json_t *value = json_string(text);
    struct message m = asker();
    struct buf props = {0}, body = {0};
    struct outcome o = {.state = STATE_SUCCESS, .result = value};
    ck_assert(!outcome_write(&m, &o, &props, &body));
    ck_assert_uint_eq(body.len, 0);
    json_decref(value);
    free(text);
    buf_done(&props);
    buf_done(&body);
}
END_TEST

START_TEST(nobody_is_answered_who_did_not_ask_or_at_a_task_queue)
{
    struct message m = asker();
    ck_assert(outcome_wanted(&m));
    m.ignore_result = true;
    ck_assert(!outcome_wanted(&m));
    m = asker();
    m.reply_to = bytes_text("celery");
    ck_assert(!outcome_wanted(&m));
    m.reply_to = bytes_of(NULL, 0);
    ck_assert(!outcome_wanted(&m));
    m = asker();
    m.id = m.correlation_id = bytes_of(NULL, 0);
    ck_assert(!outcome_wanted(&m));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outcome");
    TCase *read = tcase_create("read"), *write = tcase_create("write");
    tcase_add_checked_fixture(read, cases_load_results, cases_unload);
    tcase_set_timeout(read, 60);
    tcase_set_timeout(write, 60);
    tcase_add_test(read, a_success_of_celery_is_read_as_its_value);
    tcase_add_test(read, a_failure_of_celery_is_read_as_its_exception);
    tcase_add_test(read, what_a_running_task_reports_is_not_its_end);
    tcase_add_test(read, replies_cut_anywhere_are_refused);
    tcase_add_test(read, whatever_is_no_result_is_refused);
    tcase_add_test(read, any_failure_says_something);
    tcase_add_test(read, long_failures_are_cut_between_characters);
    tcase_add_test(read, a_run_time_that_cannot_be_is_not_known);
    tcase_add_test(write, a_fault_is_always_text);
    tcase_add_test(write, types_of_python_travel_with_their_module);
    tcase_add_test(write, a_success_is_what_python_was_shown_to_read);
    tcase_add_test(write, a_second_start_is_told);
    tcase_add_test(write, a_failure_is_what_python_was_shown_to_read);
    tcase_add_test(write, progress_is_what_python_was_shown_to_read);
    tcase_add_test(write, the_body_names_the_same_id_as_the_properties);
    tcase_add_test(write, a_result_too_big_for_a_broker_is_not_written);
    tcase_add_test(write, nobody_is_answered_who_did_not_ask_or_at_a_task_queue);
    suite_add_tcase(suite, read);
    suite_add_tcase(suite, write);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
