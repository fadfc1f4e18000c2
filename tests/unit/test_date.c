/* test_date.c - ISO 8601 instants: the calendar, what Celery sends, and what is no date. */
#include "wire/date.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static double reads(const char *s)
{
    double t = -12345;
    ck_assert_msg(date_read(bytes_text(s), &t), "'%s' was refused", s);
    return t;
}

#define reads_as(s, expected) ck_assert_double_eq_tol(reads(s), expected, 1e-6)

START_TEST(what_python_writes_is_read)
{
    reads_as("1970-01-01T00:00:00+00:00", 0);
    reads_as("2026-11-22T15:45:58.883450+00:00", 1795362358.883450);
    reads_as("2026-11-22T15:45:58", 1795362358);
    reads_as("2026-11-22T15:45", 1795362300);
    reads_as("2026-11-22 15:45:58Z", 1795362358);
    reads_as("2026-11-22T15:45:58.5Z", 1795362358.5);
    reads_as("2026-11-22T15:45:58.123456789", 1795362358.123456789);
}
END_TEST

START_TEST(offsets_count_from_utc)
{
    reads_as("2026-11-22T16:45:58+01:00", 1795362358);
    reads_as("2026-11-22T16:45:58+0100", 1795362358);
    reads_as("2026-11-22T21:15:58+05:30", 1795362358);
    reads_as("2026-11-22T12:15:58-03:30", 1795362358);
    reads_as("2024-02-29T23:30:00-01:00", 1709253000);
}
END_TEST

START_TEST(what_is_no_date_is_refused)
{
    static const char *const no_dates[] = {"",
                                           "now",
                                           "2026",
                                           "2026-11-22",
                                           "2026-11-22T",
                                           "2026-11-22T15",
                                           "2026-11-22T15:",
                                           "2026-11-22T15:4",
                                           "2026-11-22T15:45:",
                                           "2026-11-22T15:45:58.",
                                           "2026-11-22T15:45:58,5",
                                           "2026-11-22T15:45:58.1234567890",
                                           "2026-11-22T15:45:58+",
                                           "2026-11-22T15:45:58+1",
                                           "2026-11-22T15:45:58+01",
                                           "2026-11-22T15:45:58+01:",
                                           "2026-11-22T15:45:58+24:00",
                                           "2026-11-22T15:45:58+01:60",
                                           "2026-11-22T15:45:58ZZ",
                                           "2026-11-22T15:45:58 ",
                                           " 2026-11-22T15:45:58",
                                           "2026-13-01T00:00",
                                           "2026-00-01T00:00",
                                           "2026-01-00T00:00",
                                           "2026-01-32T00:00",
                                           "2026-02-29T00:00",
                                           "1900-02-29T00:00",
                                           "2026-04-31T00:00",
                                           "0000-01-01T00:00",
                                           "10000-01-01T00:00",
                                           "-001-01-01T00:00",
                                           "2026-01-01T24:00",
                                           "2026-01-01T23:60",
                                           "2026-01-01T23:59:60",
                                           "2026-1-01T00:00",
                                           "+026-01-01T00:00",
                                           "2026-01-01t00:00",
                                           "1.5e9",
                                           "1795362358"};
    double t;
    for (size_t i = 0; i < sizeof no_dates / sizeof no_dates[0]; i++)
        ck_assert_msg(!date_read(bytes_text(no_dates[i]), &t), "'%s' was read", no_dates[i]);
    ck_assert(!date_read(bytes_of("2026-01-01T00:00\0", 17), &t));
}
END_TEST

START_TEST(a_date_cut_anywhere_is_read_or_refused_within_its_bytes)
{
    static const char whole[] = "2026-11-22T15:45:58.883450+05:30";
    for (size_t n = 0; n < sizeof whole; n++) {
        char *cut = malloc(n + !n); /* of exact size, for the sanitizer */
        ck_assert_ptr_nonnull(cut);
        memcpy(cut, whole, n);
        double t;
        date_read(bytes_of(cut, n), &t);
        free(cut);
    }
}
END_TEST

#define writes(t, expected) ck_assert_str_eq(date_write(t, (char[DATE_SIZE]){0}), expected)

START_TEST(dates_are_written_in_utc_with_microseconds)
{
    writes(0, "1970-01-01T00:00:00.000000+00:00");
    writes(1795362358.25, "2026-11-22T15:45:58.250000+00:00");
    writes(-1, "1969-12-31T23:59:59.000000+00:00");
    writes(-0.25, "1969-12-31T23:59:59.750000+00:00");
    writes(0.9999999, "1970-01-01T00:00:01.000000+00:00");
    writes(951868799, "2000-02-29T23:59:59.000000+00:00");
    writes(951868800, "2000-03-01T00:00:00.000000+00:00");
}
END_TEST

START_TEST(instants_beyond_the_calendar_are_written_as_its_ends)
{
    writes(-62135596800.0, "0001-01-01T00:00:00.000000+00:00");
    writes(-1e300, "0001-01-01T00:00:00.000000+00:00");
    writes(-INFINITY, "0001-01-01T00:00:00.000000+00:00");
    writes(NAN, "0001-01-01T00:00:00.000000+00:00");
    writes(253402300799.0, "9999-12-31T23:59:59.000000+00:00");
    writes(253402300799.9, "9999-12-31T23:59:59.000000+00:00");
    writes(INFINITY, "9999-12-31T23:59:59.000000+00:00");
}
END_TEST

START_TEST(every_day_of_400_years_agrees_with_the_c_library)
{
    for (int64_t day = -73000; day < 73097; day++) {
        time_t at = day * 86400 + 43201;
        struct tm tm;
        char theirs[DATE_SIZE], ours[DATE_SIZE];
        strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%S.000000+00:00", gmtime_r(&at, &tm));
        ck_assert_str_eq(date_write((double)at, ours), theirs);
        ck_assert_double_eq(reads(ours), (double)at);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("date");
    TCase *tc = tcase_create("date");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_python_writes_is_read);
    tcase_add_test(tc, offsets_count_from_utc);
    tcase_add_test(tc, what_is_no_date_is_refused);
    tcase_add_test(tc, a_date_cut_anywhere_is_read_or_refused_within_its_bytes);
    tcase_add_test(tc, dates_are_written_in_utc_with_microseconds);
    tcase_add_test(tc, instants_beyond_the_calendar_are_written_as_its_ends);
    tcase_add_test(tc, every_day_of_400_years_agrees_with_the_c_library);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
