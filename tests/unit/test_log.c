/* test_log.c - what a log line looks like, whatever is in it and whoever reads it. */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/utf8.h"

#include <check.h>
#include <limits.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fds[2];

/* All that was logged since. */
static const char *logged(void)
{
    static char text[2 * PIPE_BUF];
    fd_nonblock(fds[0], true);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void setup(void)
{
    ck_assert(!log_on(LOG_ERROR)); /* silent until opened */
    ck_assert_int_eq(pipe(fds), 0);
}

static void teardown(void)
{
    close(fds[0]);
    close(fds[1]);
}

START_TEST(a_line_has_time_level_name_and_text)
{
    regex_t shape;
    ck_assert_int_eq(regcomp(&shape,
                             "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                             "\\.[0-9]{3}Z INFO  w1 took 3 tasks\n$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    log_open(fds[1], LOG_INFO, "w1");
    log_info("took %d tasks", 3);
    const char *line = logged();
    ck_assert_msg(regexec(&shape, line, 0, NULL, 0) == 0, "%s", line);
    regfree(&shape);
}
END_TEST

START_TEST(lines_above_the_level_are_not_written)
{
    log_open(fds[1], LOG_WARN, "w1");
    log_info("not this");
    log_debug("nor this");
    log_at(LOG_SILENT, "nor that");
    ck_assert_str_eq(logged(), "");
    log_error("but this");
    ck_assert_ptr_nonnull(strstr(logged(), "Z ERROR w1 but this\n"));
}
END_TEST

START_TEST(control_characters_in_a_value_make_no_second_line)
{
    log_open(fds[1], LOG_INFO, "w\n1");
    log_warn("task %s", "a\nb\x1b[31m\x7f \xc3\xa9 \xff");
    const char *line = logged();
    ck_assert_ptr_nonnull(
        strstr(line, "WARN  w\\x0a1 task a\\x0ab\\x1b[31m\\x7f \xc3\xa9 \\xff\n"));
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
}
END_TEST

START_TEST(a_line_too_long_is_cut_and_says_so)
{
    log_open(fds[1], LOG_INFO, "w1");
    for (int width = PIPE_BUF - 60; width < PIPE_BUF + 60; width++) {
        log_info("%0*d", width, 7);
        const char *line = logged();
        size_t n = strlen(line);
        ck_assert_uint_le(n, PIPE_BUF);
        ck_assert_int_eq(line[n - 1], '\n');
        ck_assert(line[n - 2] == '7' || strcmp(line + n - 4, "...\n") == 0);
    }
}
END_TEST

START_TEST(a_reader_that_stopped_costs_lines_not_time)
{
    log_open(fds[1], LOG_INFO, "w1");
    int64_t start = clock_now();
    for (int i = 0; i < 20000; i++) log_info("line %d", i); /* far more than a pipe holds */
    ck_assert_int_lt(clock_now() - start, 10 * CLOCK_SECOND);
    while (*logged()) continue;
    log_info("it reads again");
    ck_assert_ptr_nonnull(strstr(logged(), "it reads again\n"));
}
END_TEST

START_TEST(levels_are_parsed_by_name)
{
    ck_assert_int_eq(log_level_parse("error"), LOG_ERROR);
    ck_assert_int_eq(log_level_parse("Warning"), LOG_WARN);
    ck_assert_int_eq(log_level_parse("INFO"), LOG_INFO);
    ck_assert_int_eq(log_level_parse("debug"), LOG_DEBUG);
    ck_assert_int_eq(log_level_parse("trace"), LOG_TRACE);
    ck_assert_int_eq(log_level_parse("loud"), -1);
    ck_assert_int_eq(log_level_parse(""), -1);
}
END_TEST

static void escapes_to(const char *in, const char *want)
{
    char out[256];
    ck_assert_str_eq(log_escape(out, sizeof out, in, strlen(in)), want);
}

START_TEST(escaping_keeps_utf8_and_nothing_else)
{
    escapes_to("", "");
    escapes_to("plain \\ text", "plain \\ text");
    escapes_to("\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80");
    escapes_to("\x01\x1f\x7f", "\\x01\\x1f\\x7f");
    escapes_to("\xc2\x9b\x31", "\\xc2\\x9b1");                         /* C1: CSI */
    escapes_to("\xc0\xaf \xe0\x9f\xbf", "\\xc0\\xaf \\xe0\\x9f\\xbf"); /* not the shortest */
    escapes_to("\xed\xa0\x80", "\\xed\\xa0\\x80");                     /* a surrogate */
    escapes_to("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");            /* beyond Unicode */
    escapes_to("\xe2\x82", "\\xe2\\x82");                              /* cut short */
    char out[16];
    ck_assert_str_eq(log_escape(out, sizeof out, "a\0b", 3), "a\\x00b");
}
END_TEST

START_TEST(escaping_cuts_at_a_character_and_says_so)
{
    char out[16];
    ck_assert_str_eq(log_escape(out, 9, "12345678", 8), "12345678");
    ck_assert_str_eq(log_escape(out, 9, "123456789", 9), "12345...");
    ck_assert_str_eq(log_escape(out, 9, "1234\xc3\xa9\xc3\xa9x", 9), "1234...");
    ck_assert_str_eq(log_escape(out, 9, "123\n\n", 5), "123...");
    ck_assert_str_eq(log_escape(out, 4, "1234", 4), "...");
    ck_assert_str_eq(log_escape(out, 3, "1234", 4), "..");
    ck_assert_str_eq(log_escape(out, 1, "1234", 4), "");
    strcpy(out, "kept");
    ck_assert_str_eq(log_escape(out, 0, "1234", 4), "kept");
}
END_TEST

START_TEST(escaping_any_bytes_into_any_size_gives_text)
{
    srand(1);
    for (int round = 0; round < 50000; round++) {
        uint8_t in[24];
        size_t n = (size_t)(rand() % 24), size = 1 + (size_t)(rand() % 40);
        for (size_t i = 0; i < n; i++) in[i] = (uint8_t)(rand() >> 7);
        char *out = malloc(size); /* exact, for the sanitizer */
        ck_assert_ptr_nonnull(out);
        log_escape(out, size, in, n);
        ck_assert_uint_lt(strlen(out), size);
        ck_assert(utf8_is_text(bytes_text(out)));
        free(out);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_line_has_time_level_name_and_text);
    tcase_add_test(t, lines_above_the_level_are_not_written);
    tcase_add_test(t, control_characters_in_a_value_make_no_second_line);
    tcase_add_test(t, a_line_too_long_is_cut_and_says_so);
    tcase_add_test(t, a_reader_that_stopped_costs_lines_not_time);
    tcase_add_test(t, levels_are_parsed_by_name);
    tcase_add_test(t, escaping_keeps_utf8_and_nothing_else);
    tcase_add_test(t, escaping_cuts_at_a_character_and_says_so);
    tcase_add_test(t, escaping_any_bytes_into_any_size_gives_text);
    Suite *s = suite_create("log");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
