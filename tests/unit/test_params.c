/* test_params.c - parameter lists, and arguments matched to them: what fits, and the sentence for
 * what does not. */
#include "task/params.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct fault fault;

/* Matches JSON text to the list of task f. */
static bool match(const char *params, const char *args, const char *kwargs, size_t n,
                  const struct ctask_out *out)
{
    json_t *a = json_loads(args, 0, NULL), *k = json_loads(kwargs, 0, NULL);
    ck_assert(a && k);
    fault = (struct fault){0};
    bool ok = params_store("f", params, a, k, n, out, &fault);
    json_decref(a);
    json_decref(k);
    return ok;
}

#define fits(params, args, kwargs, ...) \
    ck_assert_msg(match(params, args, kwargs, CTASK_OUT_LIST(__VA_ARGS__)), "%s", fault.text)
#define refuses(sentence, params, args, kwargs, ...)                          \
    do {                                                                      \
        ck_assert(!match(params, args, kwargs, CTASK_OUT_LIST(__VA_ARGS__))); \
        ck_assert_str_eq(fault.text, sentence);                               \
        ck_assert_str_eq(fault.type, "TypeError");                            \
    } while (0)

START_TEST(sound_lists_are_accepted_with_any_spacing)
{
    ck_assert_ptr_null(params_check(NULL));
    ck_assert_ptr_null(params_check(""));
    ck_assert_ptr_null(params_check(" "));
    ck_assert_ptr_null(params_check("n"));
    ck_assert_ptr_null(params_check("path,width=640,crop = no crop at all"));
    ck_assert_ptr_null(params_check("  _a1 ,\n b"));
}
END_TEST

START_TEST(unsound_lists_are_refused)
{
    static const char *const unsound[] = {"a b", "a,,b", ",",      "1a",      "a-b",
                                          "=5",  "a, a", "a=1, b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof unsound / sizeof unsound[0]; i++)
        ck_assert_msg(params_check(unsound[i]), "%s", unsound[i]);
}
END_TEST

START_TEST(a_list_holds_64_names)
{
    char list[65 * 3 + 1] = "";
    for (int i = 0; i < 65; i++)
        memcpy(list + 3 * i, (char[]){(char)('a' + i / 10), (char)('0' + i % 10), ','}, 3);
    ck_assert_ptr_nonnull(params_check(list));
    list[64 * 3] = '\0';
    ck_assert_ptr_null(params_check(list));
}
END_TEST

START_TEST(arguments_fill_parameters_in_order_and_then_by_name)
{
    int64_t a = 0, b = 0, c = 0;
    fits("a, b, c", "[1, 2]", "{\"c\": 3}", &a, &b, &c);
    ck_assert(a == 1 && b == 2 && c == 3);
    fits("a, b, c", "[]", "{\"c\": 6, \"a\": 4, \"b\": 5}", &a, &b, &c);
    ck_assert(a == 4 && b == 5 && c == 6);
}
END_TEST

START_TEST(an_absent_optional_parameter_keeps_its_value)
{
    const char *path = NULL;
    int64_t width = 640;
    bool crop = true;
    fits("path, width=1, crop=2", "[\"p\"]", "{\"crop\": false}", &path, &width, &crop);
    ck_assert_int_eq(width, 640);
    ck_assert(!crop);
}
END_TEST

START_TEST(without_a_list_arguments_are_positional_and_required)
{
    int64_t a = 0, b = 0;
    fits(NULL, "[1, 2]", "{}", &a, &b);
    ck_assert(a == 1 && b == 2);
    refuses("f() missing required argument '2'", NULL, "[1]", "{}", &a, &b);
    refuses("f() got an unexpected keyword argument 'b'", NULL, "[1]", "{\"b\": 2}", &a, &b);
    refuses("f() takes 2 positional arguments but 3 were given", NULL, "[1, 2, 3]", "{}", &a, &b);
    refuses("f() argument 2: null does not fit int64: the value is not a number", NULL, "[1, null]",
            "{}", &a, &b);
}
END_TEST

START_TEST(a_task_without_parameters_takes_none)
{
    ck_assert(match("", "[]", "{}", 0, NULL));
    ck_assert(!match("", "[1]", "{}", 0, NULL));
    ck_assert_str_eq(fault.text, "f() takes 0 positional arguments but 1 was given");
    ck_assert(!match("", "[]", "{\"x\": 1}", 0, NULL));
    ck_assert_str_eq(fault.text, "f() got an unexpected keyword argument 'x'");
}
END_TEST

START_TEST(too_many_too_few_unknown_and_double_arguments_are_named)
{
    int64_t a, b;
    refuses("f() takes 2 positional arguments but 3 were given", "a, b", "[1, 2, 3]", "{}", &a, &b);
    refuses("f() takes at most 2 positional arguments but 3 were given", "a, b=1", "[1, 2, 3]",
            "{}", &a, &b);
    refuses("f() takes 1 positional argument but 2 were given", "a", "[1, 2]", "{}", &a);
    refuses("f() missing required argument 'b'", "a, b", "[1]", "{}", &a, &b);
    refuses("f() missing required argument 'a'", "a, b", "[]", "{\"b\": 1}", &a, &b);
    refuses("f() got an unexpected keyword argument 'c'", "a, b", "[1, 2]", "{\"c\": 3}", &a, &b);
    refuses("f() got multiple values for argument 'a'", "a, b", "[1, 2]", "{\"a\": 3}", &a, &b);
}
END_TEST

START_TEST(a_wrong_type_names_the_parameter_the_value_and_the_type)
{
    int64_t n;
    int8_t small;
    uint32_t u;
    bool flag;
    double d;
    const char *text;
    refuses("f() argument n: a string does not fit int64: the value is not a number", "n",
            "[\"7\"]", "{}", &n);
    refuses("f() argument n: 1.5 does not fit int64: the number is not whole", "n", "[]",
            "{\"n\": 1.5}", &n);
    refuses("f() argument n: 300 does not fit int8: the number is too wide for its variable", "n",
            "[300]", "{}", &small);
    refuses("f() argument n: -1 does not fit uint32: the number is negative and its variable is "
            "unsigned",
            "n", "[-1]", "{}", &u);
    refuses("f() argument n: an array does not fit bool: the value is not true or false", "n",
            "[[]]", "{}", &flag);
    refuses("f() argument n: an object does not fit double: the value is not a number", "n", "[{}]",
            "{}", &d);
    refuses("f() argument n: true does not fit text: the value is not text", "n", "[true]", "{}",
            &text);
}
END_TEST

START_TEST(wrong_arguments_hand_out_no_json_reference)
{
    json_t *args = json_pack("[{s:i}, s]", "k", 1, "no number");
    json_t *kwargs = json_object(), *value = NULL;
    int64_t n;
    ck_assert(!params_store("f", "value, n", args, kwargs, CTASK_OUT_LIST(&value, &n), &fault));
    ck_assert_ptr_null(value);
    ck_assert_uint_eq(json_array_get(args, 0)->refcount, 1);
    json_decref(args);
    json_decref(kwargs);
}
END_TEST

START_TEST(a_json_parameter_gets_a_reference_of_its_own)
{
    json_t *value = NULL;
    fits("value", "[{\"a\": [1]}]", "{}", &value);
    ck_assert_uint_eq(value->refcount, 1);
    json_decref(value);
}
END_TEST

START_TEST(a_task_that_reads_another_number_than_its_table_names_is_told_so)
{
    int64_t a, b;
    ck_assert(!match("a", "[1]", "{}", CTASK_OUT_LIST(&a, &b)));
    ck_assert_str_eq(fault.type, "SystemError");
    ck_assert_str_eq(fault.text, "f() reads 2 arguments and its table names 1");
}
END_TEST

START_TEST(a_hostile_keyword_is_cut_and_stays_text)
{
    char key[2000];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    json_t *args = json_array(), *kwargs = json_object();
    json_object_set_new(kwargs, key, json_true());
    ck_assert(!params_store("f", "", args, kwargs, 0, NULL, &fault));
    ck_assert_uint_lt(strlen(fault.text), sizeof fault.text);
    json_decref(args);
    json_decref(kwargs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("params");
    TCase *t = tcase_create("params");
    tcase_add_test(t, sound_lists_are_accepted_with_any_spacing);
    tcase_add_test(t, unsound_lists_are_refused);
    tcase_add_test(t, a_list_holds_64_names);
    tcase_add_test(t, arguments_fill_parameters_in_order_and_then_by_name);
    tcase_add_test(t, an_absent_optional_parameter_keeps_its_value);
    tcase_add_test(t, without_a_list_arguments_are_positional_and_required);
    tcase_add_test(t, a_task_without_parameters_takes_none);
    tcase_add_test(t, too_many_too_few_unknown_and_double_arguments_are_named);
    tcase_add_test(t, a_wrong_type_names_the_parameter_the_value_and_the_type);
    tcase_add_test(t, wrong_arguments_hand_out_no_json_reference);
    tcase_add_test(t, a_json_parameter_gets_a_reference_of_its_own);
    tcase_add_test(t, a_task_that_reads_another_number_than_its_table_names_is_told_so);
    tcase_add_test(t, a_hostile_keyword_is_cut_and_stays_text);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
