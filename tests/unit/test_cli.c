/* The command line's way from text to JSON, and from bytes to lines. */
#include "producer/cli/lines.c"
#include "producer/cli/values.c"

#include <check.h>

static char why[256];

/* The JSON that text becomes, or "refused". */
static const char *shown(json_t *j)
{
    static char buffer[256];
    if (!j) return "refused";
    char *text = value_text(j);
    snprintf(buffer, sizeof buffer, "%s", text);
    free(text);
    json_decref(j);
    return buffer;
}

static const char *value(const char *text)
{
    return shown(value_parse(text, why, sizeof why));
}

static const char *line(const char *text)
{
    return shown(value_parse_line(text, strlen(text), why, sizeof why));
}

START_TEST(json_stays_json)
{
    ck_assert_str_eq(value("97"), "97");
    ck_assert_str_eq(value("-5"), "-5");
    ck_assert_str_eq(value("true"), "true");
    ck_assert_str_eq(value("null"), "null");
    ck_assert_str_eq(value("[1,2]"), "[1,2]");
    ck_assert_str_eq(value("{\"a\": [1]}"), "{\"a\":[1]}");
    ck_assert_str_eq(value("\"97\""), "\"97\"");
    ck_assert_str_eq(value("9223372036854775807"), "9223372036854775807");
}
END_TEST

START_TEST(a_bare_word_is_a_string)
{
    ck_assert_str_eq(value("hello"), "\"hello\"");
    ck_assert_str_eq(value("hello world"), "\"hello world\"");
    ck_assert_str_eq(value(""), "\"\"");
    ck_assert_str_eq(value("True"), "\"True\"");
    ck_assert_str_eq(value("007"), "\"007\"");
    ck_assert_str_eq(value("97 98"), "\"97 98\"");
    ck_assert_str_eq(value("a\"b"), "\"a\\\"b\"");
    ck_assert_str_eq(value("\xc3\xa9"), "\"\xc3\xa9\"");
}
END_TEST

START_TEST(a_real_is_shown_with_the_digits_it_needs)
{
    ck_assert_str_eq(value("0.1"), "0.1");
    ck_assert_str_eq(value("[0.4, 1.0, 1]"), "[0.4,1.0,1]");
    ck_assert_str_eq(value("0.30000000000000004"), "0.30000000000000004");
}
END_TEST

START_TEST(broken_json_is_refused_with_a_reason)
{
    static const char *const broken[] = {"[1,2", "{\"a\":}", "\"open", " [", "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        ck_assert_str_eq(value(broken[i]), "refused");
        ck_assert_ptr_nonnull(strstr(why, "begins like JSON"));
    }
}
END_TEST

START_TEST(a_number_that_does_not_fit_is_refused)
{
    ck_assert_str_eq(value("9223372036854775808"), "refused");
    ck_assert_ptr_nonnull(strstr(why, "64 bits"));
    ck_assert_str_eq(value("1e999"), "refused");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused)
{
    ck_assert_str_eq(value("\xff\xfe"), "refused");
    ck_assert_str_eq(value("\"\xff\""), "refused");
}
END_TEST

START_TEST(a_line_is_one_argument_and_a_list_is_all_of_them)
{
    ck_assert_str_eq(line("97"), "[97]");
    ck_assert_str_eq(line("97\r"), "[97]");
    ck_assert_str_eq(line("hello\r"), "[\"hello\"]");
    ck_assert_str_eq(line("[1, \"two\"]"), "[1,\"two\"]");
    ck_assert_str_eq(line("[[1, 2]]"), "[[1,2]]");
    ck_assert_str_eq(line("{\"a\":1}"), "[{\"a\":1}]");
    ck_assert_str_eq(line(""), "[]");
    ck_assert_str_eq(line("  "), "[]");
    ck_assert_str_eq(line("[1"), "refused");
    ck_assert_str_eq(shown(value_parse_line("9\0007", 3, why, sizeof why)), "refused");
}
END_TEST

/* Feeds a pipe piece by piece; '|' in the result stands between lines. */
static const char *lines_of(const char *const *pieces)
{
    static char got[256];
    int ends[2];
    const char *text;
    size_t length;
    ck_assert_int_eq(pipe(ends), 0);
    struct lines in = {.fd = ends[0]};
    got[0] = '\0';
    for (;; pieces++) {
        if (*pieces)
            ck_assert_int_eq(write(ends[1], *pieces, strlen(*pieces)), strlen(*pieces));
        else
            close(ends[1]);
        ck_assert(lines_fill(&in));
        while (lines_next(&in, &text, &length) == LINES_ONE) {
            ck_assert_uint_eq(strlen(text), length);
            strcat(strcat(got, text), "|");
        }
        ck_assert_int_eq(lines_over(&in), *pieces == NULL);
        if (!*pieces) break;
    }
    close(ends[0]);
    free(in.data);
    return got;
}

START_TEST(lines_come_whole_however_their_bytes_arrive)
{
    ck_assert_str_eq(lines_of((const char *[]){"1\n2\n3\n", NULL}), "1|2|3|");
    ck_assert_str_eq(lines_of((const char *[]){"1", "2\n", "\n3", NULL}), "12||3|");
    ck_assert_str_eq(lines_of((const char *[]){NULL}), "");
}
END_TEST

START_TEST(a_line_over_the_limit_is_told_apart_and_not_kept_in_full)
{
    FILE *f = tmpfile();
    char *much = malloc(LINE_MAX_BYTES * 2);
    const char *text;
    size_t length;
    memset(much, 'x', LINE_MAX_BYTES * 2);
    ck_assert_uint_eq(fwrite(much, 1, LINE_MAX_BYTES * 2, f), LINE_MAX_BYTES * 2);
    rewind(f);
    struct lines in = {.fd = fileno(f)};
    enum lines_got got;
    while ((got = lines_next(&in, &text, &length)) == LINES_NONE) ck_assert(lines_fill(&in));
    ck_assert_int_eq(got, LINES_TOO_LONG);
    ck_assert_uint_lt(in.length, LINE_MAX_BYTES + LINE_MAX_BYTES / 2);
    fclose(f);
    free(much);
    free(in.data);
}
END_TEST

START_TEST(lines_of_a_file_are_counted_without_reading_them_away)
{
    FILE *f = tmpfile();
    fputs("1\n2\n3", f);
    rewind(f);
    ck_assert_uint_eq(lines_count(fileno(f)), 3);
    ck_assert_int_eq(fgetc(f), '1');
    fclose(f);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_uint_eq(lines_count(ends[0]), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("text");
    tcase_add_test(t, json_stays_json);
    tcase_add_test(t, a_bare_word_is_a_string);
    tcase_add_test(t, a_real_is_shown_with_the_digits_it_needs);
    tcase_add_test(t, broken_json_is_refused_with_a_reason);
    tcase_add_test(t, a_number_that_does_not_fit_is_refused);
    tcase_add_test(t, text_that_is_not_utf8_is_refused);
    tcase_add_test(t, a_line_is_one_argument_and_a_list_is_all_of_them);
    tcase_add_test(t, lines_come_whole_however_their_bytes_arrive);
    tcase_add_test(t, a_line_over_the_limit_is_told_apart_and_not_kept_in_full);
    tcase_add_test(t, lines_of_a_file_are_counted_without_reading_them_away);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
