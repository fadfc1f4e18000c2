/* test_element.c - lists as text: what their elements are, and that what is no list is found out.
 */
#include "wire/element.h"
#include "wire/json.h"

#include <check.h>
#include <stdlib.h>

START_TEST(elements_come_one_by_one)
{
    static const char *const rows[][5] = {
        {""},
        {"1", "1"},
        {"1,2", "1", "2"},
        {" 1 , [2, 3] ,{\"a\": [4, \"]\"]}\n", "1", "[2, 3]", "{\"a\": [4, \"]\"]}"},
        {"\"a,b\",\"\\\"]\",\"\\\\\"", "\"a,b\"", "\"\\\"]\"", "\"\\\\\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes rest = bytes_text(rows[i][0]), one;
        size_t n = 0, count;
        while (element_next(&rest, &one) == 1) {
            n++;
            ck_assert(n < 5 && rows[i][n] && bytes_is(one, rows[i][n]));
        }
        ck_assert_uint_eq(rest.n, 0);
        ck_assert(element_count(bytes_text(rows[i][0]), &count));
        ck_assert_uint_eq(count, n);
    }
}
END_TEST

START_TEST(what_is_no_list_is_found_out)
{
    static const char *const rows[] = {",",    "1,",     "1,,2",  ",1",     "[",
                                       "]",    "[1",     "1]",    "{\"a\"", "\"a",
                                       "\"\\", "\"\\\"", "1,2, ", "[}]]",   "1]["};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n;
        ck_assert_msg(!element_count(bytes_text(rows[i]), &n), "%s", rows[i]);
    }
}
END_TEST

START_TEST(a_value_is_what_jansson_reads)
{
    static const char *const rows[] = {"0",
                                       "-0",
                                       "7",
                                       "-7",
                                       "00",
                                       "01",
                                       "-",
                                       "+1",
                                       "1.0",
                                       "1e3",
                                       "12345678901234567",
                                       "999999999999999999",
                                       "-999999999999999999",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "9223372036854775808",
                                       "1x",
                                       "true",
                                       "false",
                                       "null",
                                       "True",
                                       "\"\"",
                                       "\"a\"",
                                       "\"\\u00e4\"",
                                       "\"\xc3\xa4\"",
                                       "\"\xff\"",
                                       "\"a",
                                       "\"",
                                       "\"a\"b\"",
                                       "\"\t\"",
                                       "[]",
                                       "[1,[2]]",
                                       "{\"a\":1}",
                                       "[1,]",
                                       "",
                                       " 1",
                                       "nul"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fault f = {0}, g = {0};
        json_t *is = element_value(bytes_text(rows[i]), &f);
        json_t *should = wire_json(bytes_text(rows[i]), &g);
        ck_assert_msg((is == NULL) == (should == NULL), "%s", rows[i]);
        ck_assert_msg(!is || (json_equal(is, should) && json_typeof(is) == json_typeof(should)),
                      "%s", rows[i]);
        ck_assert_str_eq(f.text, g.text);
        json_decref(is);
        json_decref(should);
    }
}
END_TEST

START_TEST(an_array_is_used_again_unless_somebody_keeps_it)
{
    struct fault f;
    json_t *a = NULL;
    ck_assert(element_array(bytes_text("[1,\"x\",[2]]"), &a, &f));
    ck_assert_uint_eq(json_array_size(a), 3);
    json_t *first = a;
    ck_assert(element_array(bytes_text("[ ]"), &a, &f));
    ck_assert_ptr_eq(a, first);
    ck_assert_uint_eq(json_array_size(a), 0);
    json_incref(first);
    ck_assert(element_array(bytes_text("[3]"), &a, &f));
    ck_assert_ptr_ne(a, first);
    ck_assert_uint_eq(json_array_size(first), 0);
    json_decref(first);
    static const char *const bad[] = {"", "1", "[", "]", "[1", "{}", "[1,]", "[x]", "[1][2]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!element_array(bytes_text(bad[i]), &a, &f), "%s", bad[i]);
    json_decref(a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("element");
    TCase *t = tcase_create("element");
    tcase_add_test(t, elements_come_one_by_one);
    tcase_add_test(t, what_is_no_list_is_found_out);
    tcase_add_test(t, a_value_is_what_jansson_reads);
    tcase_add_test(t, an_array_is_used_again_unless_somebody_keeps_it);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
