/* test_body.c - JSON within our limits or a sentence with a position, and bodies of three elements.
 */
#include "support/cases.h"
#include "wire/body.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *json_of(const char *text, size_t n, struct fault *f)
{
    *f = (struct fault){0};
    char *exact = malloc(n + !n);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, text, n);
    json_t *j = wire_json(bytes_of(exact, n), f);
    free(exact);
    return j;
}

START_TEST(numbers_are_read_exactly_or_not_at_all)
{
    struct fault f;
    json_t *j = json_of("[9223372036854775807,-9223372036854775808,1e308,-0,0.1]", 55, &f);
    ck_assert_msg(j != NULL, "%s", f.text);
    ck_assert_int_eq(json_integer_value(json_array_get(j, 0)), INT64_MAX);
    ck_assert_int_eq(json_integer_value(json_array_get(j, 1)), INT64_MIN);
    json_decref(j);
    static const char *const bad[] = {"9223372036854775808",
                                      "-9223372036854775809",
                                      "1180591620717411303424",
                                      "1e999",
                                      "NaN",
                                      "Infinity",
                                      "-Infinity",
                                      "01",
                                      "1.",
                                      "+1",
                                      "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        j = json_of(bad[i], strlen(bad[i]), &f);
        ck_assert_msg(j == NULL, "%s was read", bad[i]);
        ck_assert_str_eq(f.type, "DecodeError");
        ck_assert_msg(strstr(f.text, "line 1 column"), "no position in '%s'", f.text);
    }
}
END_TEST

START_TEST(text_is_utf8_or_refused)
{
    struct fault f;
    json_t *j = json_of("\"a\\u0000b \\ud83d\\udc19\"", 23, &f);
    ck_assert_msg(j != NULL, "%s", f.text);
    ck_assert_uint_eq(json_string_length(j), 8);
    ck_assert_mem_eq(json_string_value(j), "a\0b \xf0\x9f\x90\x99", 8);
    json_decref(j);
    static const char *const bad[] = {"\"\xff\"",       "\"\xc3\"",    "\"\xed\xa0\x80\"",
                                      "\"\\ud800\"",    "\"\\udc00\"", "\"\n\"",
                                      "\xef\xbb\xbf[]", "\"",          "\"\\"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_ptr_null(json_of(bad[i], strlen(bad[i]), &f));
        ck_assert_str_eq(f.type, "DecodeError");
    }
    ck_assert_ptr_null(json_of("", 0, &f));
    ck_assert_str_eq(f.type, "DecodeError");
    ck_assert_ptr_null(json_of("[]\0", 3, &f));
}
END_TEST

static char *nested(size_t depth)
{
    char *s = malloc(2 * depth + 1);
    ck_assert_ptr_nonnull(s);
    memset(s, '[', depth);
    memset(s + depth, ']', depth);
    s[2 * depth] = '\0';
    return s;
}

START_TEST(nesting_is_refused_before_anything_descends)
{
    const size_t depths[] = {1, 128, 129, 2048, 100000, 1000000};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        struct fault f;
        char *s = nested(depths[i]);
        json_t *j = json_of(s, 2 * depths[i], &f);
        ck_assert_int_eq(j != NULL, depths[i] <= JSON_DEPTH_MAX);
        if (!j) ck_assert_msg(strstr(f.text, "at byte 128"), "%s", f.text);
        json_decref(j);
        free(s);
    }
    struct fault f; /* brackets in text are no nesting, and a quoted quote does not end it */
    char text[600] = "[\"\\\"";
    memset(text + strlen(text), '[', 500);
    strcat(text, "\"]");
    json_t *j = json_of(text, strlen(text), &f);
    ck_assert_msg(j != NULL, "%s", f.text);
    json_decref(j);
}
END_TEST

/* ---- Task bodies ----------------------------------------------------------------------------- */

START_TEST(a_body_of_celery_is_read)
{
    struct wire_case *c = case_named("options");
    struct message_body b;
    struct fault f;
    ck_assert(message_body_read(buf_bytes(&c->body), &b, &f));
    ck_assert_uint_eq(json_array_size(b.args), 2);
    ck_assert_str_eq(json_string_value(json_object_get(b.kwargs, "z")), "Zo\xc3\xab");
    ck_assert_ptr_null(b.embed); /* nothing is to follow */
    message_body_done(&b);
    for (size_t i = 0; i < case_count; i++) {
        bool v1 = strcmp(cases[i].name, "protocol 1") == 0;
        ck_assert_int_eq(message_body_read(buf_bytes(&cases[i].body), &b, &f), !v1);
        message_body_done(&b);
    }
}
END_TEST

START_TEST(the_end_of_a_body_of_ours_is_not_read)
{
    static const char *const rows[] = {"[1,true,\"x\"]", "[1.5,[2]]"}; /* flat and not */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message_body b;
        struct buf written = {0}, put = {0};
        struct fault f;
        json_t *args = json_loads(rows[i], 0, NULL);
        ck_assert(message_body_write(args, NULL, &written));
        ck_assert(message_body_put(bytes_text(rows[i]), &put));
        ck_assert(bytes_equal(buf_bytes(&written), buf_bytes(&put)));
        ck_assert(message_body_read(buf_bytes(&written), &b, &f));
        ck_assert(json_equal(b.args, args) && json_object_size(b.kwargs) == 0);
        ck_assert_ptr_null(b.embed); /* an object of nulls, had it been read */
        message_body_done(&b);
        json_decref(args);
        buf_done(&written);
        buf_done(&put);
    }
}
END_TEST

START_TEST(a_body_is_three_elements)
{
    static const struct {
        const char *body, *type;
    } rows[] = {
        {"[[],{},null]", NULL},
        {"[[1,2],{\"a\":1},{}]", NULL},
        {"[[1,2],{}]", "InvalidTaskError"},
        {"[[1,2],{},{},{}]", "InvalidTaskError"},
        {"[]", "InvalidTaskError"},
        {"{\"a\":1}", "InvalidTaskError"},
        {"7", "InvalidTaskError"},
        {"null", "InvalidTaskError"},
        {"[{},{},{}]", "InvalidTaskError"},
        {"[[],[],{}]", "InvalidTaskError"},
        {"[[],{},7]", "InvalidTaskError"},
        {"[[1, ", "DecodeError"},
        {"[[],{},{}] x", "DecodeError"},
        {"", "DecodeError"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message_body b;
        struct fault f = {0};
        bool ok = message_body_read(bytes_text(rows[i].body), &b, &f);
        ck_assert_int_eq(ok, rows[i].type == NULL);
        if (!ok) ck_assert_str_eq(f.type, rows[i].type);
        if (!ok) ck_assert_ptr_null(b.whole);
        message_body_done(&b);
    }
}
END_TEST

/* Whole arguments, and all that a fault at any place makes of them. */
static void reads_as_jansson(const char *text, size_t n)
{
    struct message_body b;
    struct fault f;
    char *exact = malloc(n + !n);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, text, n);
    json_t *whole = json_loadb(exact, n, JSON_ALLOW_NUL, NULL);
    bool sound =
        json_array_size(whole) == 3 && json_is_array(json_array_get(whole, 0)) &&
        json_is_object(json_array_get(whole, 1)) &&
        (json_is_object(json_array_get(whole, 2)) || json_is_null(json_array_get(whole, 2)));
    ck_assert_msg(message_body_read(bytes_of(exact, n), &b, &f) == sound, "'%.*s'", (int)n, text);
    if (sound) {
        ck_assert_msg(json_equal(b.args, json_array_get(whole, 0)), "'%.*s'", (int)n, text);
        ck_assert(json_equal(b.kwargs, json_array_get(whole, 1)));
        message_body_done(&b);
    }
    json_decref(whole);
    free(exact);
}

START_TEST(arguments_are_read_as_by_jansson)
{
    static const char *const args[] = {"[]",
                                       "[1]",
                                       "[-0,12,-123456789012345678]",
                                       "[1234567890123456789]",
                                       "[1.5,1e3]",
                                       "[\"plain\"]",
                                       "[\"\",\"a\\n\",\"Zo\xc3\xab\"]",
                                       "[true,false,null]",
                                       "[[1],{}]",
                                       "[1 , \"x\" ]",
                                       "[\"]\",\",\",\"[\"]"};
    static const char letters[] = "[]{},:\" \\0-.e\x7f\xc3n";
    static const char end[] =
        ",{\"callbacks\":null,\"errbacks\":null,\"chain\":null,\"chord\":null}]";
    for (size_t i = 0; i < sizeof args / sizeof args[0]; i++) {
        char text[256];
        size_t n = (size_t)snprintf(text, sizeof text, "[%s,{}%s", args[i], end);
        reads_as_jansson(text, n);
        for (size_t at = 0; at < n; at++) {
            char was = text[at];
            for (size_t c = 0; c < sizeof letters; c++) { /* the NUL too */
                text[at] = letters[c];
                reads_as_jansson(text, n);
            }
            text[at] = was;
        }
    }
}
END_TEST

START_TEST(bodies_cut_anywhere_are_refused)
{
    struct bytes whole = buf_bytes(&case_named("chain")->body);
    for (size_t n = 0; n < whole.n; n++) {
        struct fault f;
        ck_assert_ptr_null(json_of((const char *)whole.p, n, &f));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("body");
    TCase *json = tcase_create("json"), *body = tcase_create("body");
    tcase_add_checked_fixture(body, cases_load_tasks, cases_unload);
    tcase_set_timeout(json, 60);
    tcase_set_timeout(body, 60);
    tcase_add_test(json, numbers_are_read_exactly_or_not_at_all);
    tcase_add_test(json, text_is_utf8_or_refused);
    tcase_add_test(json, nesting_is_refused_before_anything_descends);
    tcase_add_test(body, the_end_of_a_body_of_ours_is_not_read);
    tcase_add_test(body, a_body_is_three_elements);
    tcase_add_test(body, arguments_are_read_as_by_jansson);
    tcase_add_test(body, bodies_cut_anywhere_are_refused);
    tcase_add_test(body, a_body_of_celery_is_read);
    suite_add_tcase(suite, json);
    suite_add_tcase(suite, body);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
