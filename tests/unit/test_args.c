/* test_args.c - every trap that ctask/args.h names: what a C value becomes as JSON, and what a JSON
 * value may be stored in. */
#include <ctask.h>

#include <check.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What x is sent as, or "refused: ..." */
static const char *sent(struct ctask_arg a)
{
    static char text[256];
    const char *why = NULL;
    json_t *j = ctask_arg_to_json(a, &why);
    if (!j) {
        snprintf(text, sizeof text, "refused: %s", why);
        return text;
    }
    char *dump = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
    ck_assert_ptr_nonnull(dump);
    snprintf(text, sizeof text, "%s", dump);
    free(dump);
    json_decref(j);
    return text;
}

#define sends(x, expected) ck_assert_str_eq(sent(CTASK_ARG(x)), expected)
#define refuses(x) ck_assert_int_eq(strncmp(sent(CTASK_ARG(x)), "refused: ", 9), 0)

START_TEST(every_integer_type_is_sent_as_its_number)
{
    sends((char)7, "7");
    sends((signed char)SCHAR_MIN, "-128");
    sends((unsigned char)UCHAR_MAX, "255");
    sends((short)SHRT_MIN, "-32768");
    sends((unsigned short)USHRT_MAX, "65535");
    sends(INT_MIN, "-2147483648");
    sends(UINT_MAX, "4294967295");
    sends(LONG_MIN, "-9223372036854775808");
    sends(LLONG_MAX, "9223372036854775807");
    sends((unsigned long)INT64_MAX, "9223372036854775807");
    sends((unsigned long long)0, "0");
    sends((int64_t)112272535095293, "112272535095293");
    sends(sizeof(int), "4");
    const volatile int fixed = 5;
    sends(fixed, "5");
}
END_TEST

START_TEST(an_unsigned_number_above_int64_max_is_refused_not_wrapped)
{
    refuses((uint64_t)INT64_MAX + 1);
    refuses(ULLONG_MAX);
    refuses(ULONG_MAX);
}
END_TEST

START_TEST(true_and_comparisons_are_int_in_c11_and_ctask_bool_sends_a_bool)
{
    int a = 1, b = 1;
    bool variable = true;
    double half = 0.5;
    sends(1 == 1, "1");
    sends(a == b, "1");
    sends(a != b, "0");
    sends(variable, "true");
    sends((bool)(a != b), "false");
    sends(ctask_bool(a == b), "true");
    sends(ctask_bool(0), "false");
    sends(ctask_bool(half), "true");
    sends(ctask_bool((void *)0), "false");
    sends(ctask_bool(0x100), "true");
}
END_TEST

START_TEST(a_character_constant_is_its_number)
{
    char c = 'a';
    sends('a', "97");
    sends(c, "97");
}
END_TEST

START_TEST(reals_are_sent_and_nan_and_infinity_refused)
{
    sends(0.5, "0.5");
    sends(0.25f, "0.25");
    sends(1.0, "1.0");
    refuses(NAN);
    refuses((double)NAN);
    refuses(INFINITY);
    refuses(-HUGE_VAL);
}
END_TEST

START_TEST(text_is_sent_from_literals_arrays_and_pointers)
{
    char array[] = "array";
    char *pointer = array;
    const char *constant = "constant";
    sends("literal", "\"literal\"");
    sends(array, "\"array\"");
    sends(pointer, "\"array\"");
    sends(constant, "\"constant\"");
    sends("gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"");
    sends("", "\"\"");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused)
{
    refuses("\xff");
    refuses("cut short \xc3");
    refuses("\xed\xa0\x80"); /* a lone surrogate */
    refuses("\xc0\xaf");     /* an overlong slash */
}
END_TEST

START_TEST(null_is_json_null_however_it_is_spelled)
{
    char *s = NULL;
    const char *cs = NULL;
    const void *cv = NULL;
    sends(NULL, "null");
    sends((void *)0, "null");
    sends(s, "null");
    sends(cs, "null");
    sends(cv, "null");
}
END_TEST

START_TEST(any_other_void_pointer_is_refused)
{
    int x = 0;
    refuses((void *)&x);
    refuses((const void *)&x);
}
END_TEST

START_TEST(a_json_value_is_borrowed)
{
    json_t *j = json_array();
    const json_t *cj = j;
    const char *why = NULL;
    json_t *sent_j = ctask_arg_to_json(CTASK_ARG(j), &why);
    ck_assert_ptr_eq(sent_j, j);
    ck_assert_uint_eq(j->refcount, 2);
    json_decref(sent_j);
    json_decref(ctask_arg_to_json(CTASK_ARG(cj), &why));
    ck_assert_uint_eq(j->refcount, 1);
    json_decref(j);
}
END_TEST

START_TEST(ctask_take_gives_the_reference_away)
{
    json_t *j = json_array();
    json_incref(j); /* ours, to look at it afterwards */
    const char *why = NULL;
    json_t *sent_j = ctask_arg_to_json(CTASK_ARG(ctask_take(j)), &why);
    ck_assert_ptr_eq(sent_j, j);
    ck_assert_uint_eq(j->refcount, 2);
    json_decref(sent_j);
    ck_assert_uint_eq(j->refcount, 1);
    json_decref(j);
}
END_TEST

START_TEST(a_json_pointer_that_is_null_is_refused)
{
    json_t *j = NULL;
    refuses(j);
    refuses(ctask_take(NULL));
}
END_TEST

START_TEST(a_keyword_argument_keeps_its_name_and_value)
{
    struct ctask_arg a = CTASK_ARG(ctask_kw("width", 300));
    ck_assert_str_eq(a.key, "width");
    ck_assert_str_eq(sent(a), "300");
    ck_assert_ptr_null(CTASK_ARG(300).key);
    struct ctask_arg t = ctask_kw("tags", ctask_take(json_array()));
    ck_assert_int_eq(t.kind, CTASK_TAKE);
    ck_assert_str_eq(sent(t), "[]");
}
END_TEST

static size_t count(size_t n, const struct ctask_arg *a)
{
    for (size_t i = 1; i < n; i++) ck_assert_int_eq(a[i].v.i, (int64_t)i);
    return n;
}

START_TEST(a_call_takes_up_to_sixteen_arguments_after_the_name)
{
    ck_assert_uint_eq(count(CTASK_LIST("f")), 1);
    ck_assert_uint_eq(count(CTASK_LIST("f", 1)), 2);
    ck_assert_uint_eq(count(CTASK_LIST("f", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)),
                      17);
}
END_TEST

START_TEST(an_argument_is_evaluated_once)
{
    int calls = 0;
    ck_assert_uint_eq(count(CTASK_LIST("f", ++calls)), 2);
    ck_assert_int_eq(calls, 1);
}
END_TEST

/* ---- Reading --------------------------------------------------------------------------------- */

static json_t *value(const char *text)
{
    json_t *j = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(j);
    return j;
}

static const char *stored(struct ctask_out o, const char *text)
{
    json_t *j = value(text);
    const char *why = ctask_out_store(o, j);
    json_decref(j);
    return why;
}

#define fits(p, text) ck_assert_ptr_null(stored(CTASK_OUT(p), text))
#define misfits(p, text) ck_assert_ptr_nonnull(stored(CTASK_OUT(p), text))

START_TEST(a_bool_reads_true_false_0_and_1_and_nothing_else)
{
    bool b = false;
    fits(&b, "true");
    ck_assert(b);
    fits(&b, "0");
    ck_assert(!b);
    fits(&b, "1");
    ck_assert(b);
    fits(&b, "false");
    ck_assert(!b);
    misfits(&b, "2");
    misfits(&b, "-1");
    misfits(&b, "1.0");
    misfits(&b, "null");
    misfits(&b, "\"true\"");
    ck_assert(!b);
}
END_TEST

/* At each width: the limits fit, the numbers beside them do not and leave the variable alone. */
#define check_width(type, min, max, below, above)            \
    do {                                                     \
        type v = 0;                                          \
        fits(&v, min);                                       \
        ck_assert_int_eq(v, (type)strtoll(min, NULL, 10));   \
        fits(&v, max);                                       \
        ck_assert_uint_eq(v, (type)strtoull(max, NULL, 10)); \
        v = 3;                                               \
        misfits(&v, below);                                  \
        misfits(&v, above);                                  \
        ck_assert_int_eq(v, 3);                              \
    } while (0)

START_TEST(a_number_too_wide_for_its_variable_is_refused)
{
    check_width(signed char, "-128", "127", "-129", "128");
    check_width(unsigned char, "0", "255", "-1", "256");
    check_width(short, "-32768", "32767", "-32769", "32768");
    check_width(unsigned short, "0", "65535", "-1", "65536");
    check_width(int, "-2147483648", "2147483647", "-2147483649", "2147483648");
    check_width(unsigned int, "0", "4294967295", "-1", "4294967296");
    check_width(long, "-9223372036854775808", "9223372036854775807", "-1e19", "1e19");
    check_width(long long, "-9223372036854775808", "9223372036854775807", "-1e19", "1e19");
    check_width(unsigned long, "0", "9223372036854775807", "-1", "1e20");
    check_width(unsigned long long, "0", "9223372036854775807", "-1", "1e20");
}
END_TEST

START_TEST(a_real_reads_into_an_integer_only_when_it_is_whole)
{
    int i = 0;
    uint64_t u = 0;
    int64_t l = 0;
    fits(&i, "3.0");
    ck_assert_int_eq(i, 3);
    fits(&i, "-0.0");
    ck_assert_int_eq(i, 0);
    misfits(&i, "3.5");
    misfits(&i, "3e9");
    fits(&u, "1e19");
    ck_assert(u == UINT64_C(10000000000000000000));
    misfits(&u, "18446744073709551616.0");
    misfits(&u, "-1.0");
    fits(&l, "-9223372036854775808.0");
    ck_assert(l == INT64_MIN);
    misfits(&l, "9223372036854775808.0");
}
END_TEST

START_TEST(an_integer_reads_into_a_real_only_when_it_fits_exactly)
{
    double d = 0;
    float f = 0;
    fits(&d, "9007199254740992");
    ck_assert(d == 9007199254740992.0);
    misfits(&d, "9007199254740993");
    misfits(&d, "9223372036854775807");
    fits(&d, "-9223372036854775808");
    fits(&f, "16777216");
    misfits(&f, "16777217");
    fits(&f, "0.1");
    ck_assert(f == 0.1f);
    misfits(&f, "1e39");
    fits(&d, "1e39");
    misfits(&d, "true");
    misfits(&d, "\"1\"");
}
END_TEST

START_TEST(true_is_not_a_number)
{
    int i = 0;
    misfits(&i, "true");
    misfits(&i, "null");
    misfits(&i, "\"1\"");
    misfits(&i, "[1]");
}
END_TEST

START_TEST(text_is_borrowed_from_the_value_and_null_reads_as_NULL)
{
    json_t *j = json_string("word");
    const char *s = NULL;
    ck_assert_ptr_null(ctask_out_store(CTASK_OUT(&s), j));
    ck_assert_ptr_eq(s, json_string_value(j));
    ck_assert_uint_eq(j->refcount, 1);
    json_decref(j);
    fits(&s, "null");
    ck_assert_ptr_null(s);
    misfits(&s, "1");
    misfits(&s, "\"cut\\u0000here\"");
}
END_TEST

START_TEST(a_json_reader_gets_a_reference_of_its_own)
{
    json_t *j = json_object(), *out = NULL;
    ck_assert_ptr_null(ctask_out_store(CTASK_OUT(&out), j));
    ck_assert_ptr_eq(out, j);
    ck_assert_uint_eq(j->refcount, 2);
    json_decref(out);
    json_decref(j);
    fits(&out, "null");
    ck_assert(json_is_null(out));
}
END_TEST

START_TEST(NULL_means_that_the_value_is_not_wanted)
{
    int *none = NULL;
    fits(NULL, "\"whatever\"");
    fits(none, "\"whatever\"");
}
END_TEST

START_TEST(arrays_load_their_elements_by_type)
{
    const bool flags[] = {true, false};
    const int ints[] = {1, -2};
    const uint64_t wide[] = {UINT64_MAX, 4};
    const float floats[] = {0.5f, 2};
    const char *words[] = {"a", NULL};
    char *const fixed[] = {NULL, NULL};
#define loads(array, i, expected) \
    ck_assert_str_eq(sent(CTASK_ARRAY(array).load(CTASK_ARRAY(array).p, i)), expected)
    loads(flags, 0, "true");
    loads(ints, 1, "-2");
    loads(wide, 1, "4");
    ck_assert_int_eq(strncmp(sent(CTASK_ARRAY(wide).load(wide, 0)), "refused", 7), 0);
    loads(floats, 0, "0.5");
    loads(words, 0, "\"a\"");
    loads(words, 1, "null");
    loads(fixed, 0, "null");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("args");
    TCase *out = tcase_create("values going out"), *in = tcase_create("values coming in");
    tcase_add_test(out, every_integer_type_is_sent_as_its_number);
    tcase_add_test(out, an_unsigned_number_above_int64_max_is_refused_not_wrapped);
    tcase_add_test(out, true_and_comparisons_are_int_in_c11_and_ctask_bool_sends_a_bool);
    tcase_add_test(out, a_character_constant_is_its_number);
    tcase_add_test(out, reals_are_sent_and_nan_and_infinity_refused);
    tcase_add_test(out, text_is_sent_from_literals_arrays_and_pointers);
    tcase_add_test(out, text_that_is_not_utf8_is_refused);
    tcase_add_test(out, null_is_json_null_however_it_is_spelled);
    tcase_add_test(out, any_other_void_pointer_is_refused);
    tcase_add_test(out, a_json_value_is_borrowed);
    tcase_add_test(out, ctask_take_gives_the_reference_away);
    tcase_add_test(out, a_json_pointer_that_is_null_is_refused);
    tcase_add_test(out, a_keyword_argument_keeps_its_name_and_value);
    tcase_add_test(out, a_call_takes_up_to_sixteen_arguments_after_the_name);
    tcase_add_test(out, an_argument_is_evaluated_once);
    tcase_add_test(in, a_bool_reads_true_false_0_and_1_and_nothing_else);
    tcase_add_test(in, a_number_too_wide_for_its_variable_is_refused);
    tcase_add_test(in, a_real_reads_into_an_integer_only_when_it_is_whole);
    tcase_add_test(in, an_integer_reads_into_a_real_only_when_it_fits_exactly);
    tcase_add_test(in, true_is_not_a_number);
    tcase_add_test(in, text_is_borrowed_from_the_value_and_null_reads_as_NULL);
    tcase_add_test(in, a_json_reader_gets_a_reference_of_its_own);
    tcase_add_test(in, NULL_means_that_the_value_is_not_wanted);
    tcase_add_test(in, arrays_load_their_elements_by_type);
    suite_add_tcase(suite, out);
    suite_add_tcase(suite, in);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
