/* test_reply.c - the pass over a reply's bytes says what a full reader says, of whatever comes; and
 * what is written here is what jansson writes. SEED=n makes another run. */
#include "base/utf8.h"
#include "wire/json.h"
#include "wire/outcome.h"
#include "wire/text.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 50000

static void seed(void)
{
    const char *given = getenv("SEED");
    unsigned n = given ? (unsigned)strtoul(given, NULL, 10) : 1;
    printf("SEED=%u\n", n);
    srand(n);
}

static size_t below(size_t n)
{
    return (size_t)rand() % n;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool is_result(const json_t *whole)
{
    const json_t *status = json_object_get(whole, "status");
    struct bytes s = bytes_of(json_string_value(status), json_string_length(status));
    return s.n > 0 && s.n < 32 && utf8_is_text(s);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-15 * fabs(b);
}

static void reads_as_jansson(const char *text, size_t n)
{
    struct reply r;
    struct fault f = {0};
    char *exact = malloc(n + !n); /* of exact size, for the sanitizer */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, text, n);
    bool read = reply_read(bytes_of(exact, n), &r, &f);
    json_t *whole = json_loadb(exact, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ck_assert_msg(read == is_result(whole), "'%.*s' is %sread", (int)n, text, read ? "" : "not ");
    if (read) {
        const json_t *result = json_object_get(whole, "result");
        double runtime = json_number_value(json_object_get(whole, "runtime"));
        ck_assert_str_eq(r.state, json_string_value(json_object_get(whole, "status")));
        ck_assert_int_eq(r.success, strcmp(r.state, "SUCCESS") == 0);
        ck_assert_msg(result == r.result || json_equal(result, r.result), "'%.*s'", (int)n, text);
        ck_assert_msg(near(r.runtime, runtime > 0 ? runtime : 0), "'%.*s'", (int)n, text);
        ck_assert_int_eq(r.redelivered, json_is_true(json_object_get(whole, "redelivered")));
    }
    json_decref(whole);
    reply_done(&r);
    free(exact);
}

static const char *const replies[] = {
    "{\"status\":\"SUCCESS\",\"result\":true,\"traceback\":null,\"children\":[],"
    "\"task_id\":\"e7b0\",\"runtime\":0.00012300000000000001}",
    "{\"status\":\"SUCCESS\",\"result\":\"text\",\"traceback\":null,\"children\":[],"
    "\"task_id\":\"e7b0\",\"runtime\":1.2e-05,\"redelivered\":true}",
    "{\"status\":\"SUCCESS\",\"result\":{\"a\":[1,2.5,\"x\\n\",{}]},\"traceback\":null,"
    "\"children\":[],\"task_id\":\"e7b0\"}",
    "{\"task_id\": \"e7b0\", \"status\": \"SUCCESS\", \"result\": 3.25, \"traceback\": null, "
    "\"children\": []}",
    "{\"status\":\"SUCCESS\",\"result\":-123456789012345678,\"redelivered\":true}",
    "{\"status\":\"SUCCESS\",\"result\":9223372036854775807,\"runtime\":1.2e-05}",
    "{\"status\":\"SUCCESS\",\"result\":{\"a\":[1,2.5,\"x\\n\",{}],\"b\":null},\"runtime\":12}",
    "{\"result\":\"some text\",\"children\":{},\"status\":\"SUCCESS\",\"runtime\":\"long\"}",
    "{\"status\":\"SUCCESS\",\"result\":[],\"result\":2,\"runtime\":0,\"runtime\":1E+2}",
    "{\"status\":\"PROGRESS\",\"result\":{\"done\":1}}",
    "{\"status\":\"SUCCESS\",\"result\":\"Zo\xc3\xab\",\"task_id\":\"a\\u0000b\"}",
    " { \"status\" : \"SUCCESS\" , \"result\" : false , \"redelivered\" : false } \n",
};

START_TEST(replies_are_read_as_by_jansson)
{
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++)
        reads_as_jansson(replies[i], strlen(replies[i]));
}
END_TEST

START_TEST(replies_with_any_fault_are_read_as_by_jansson)
{
    static const char letters[] = "{}[]\":,-+.eE0123456789 \n\t\\utrflsnax\x7f\xc3\xab";
    seed();
    for (int round = 0; round < ROUNDS; round++) {
        char text[512];
        const char *from = replies[below(sizeof replies / sizeof replies[0])];
        size_t n = strlen(from);
        memcpy(text, from, n);
        for (size_t faults = below(3) + 1; faults > 0; faults--) {
            size_t at = below(n), kind = below(4);
            char c = letters[below(sizeof letters)]; /* the NUL too */
            if (kind == 0) {
                text[at] = c;
            } else if (kind == 1) {
                memmove(text + at, text + at + 1, --n - at);
            } else if (kind == 2) {
                memmove(text + at + 1, text + at, n++ - at);
                text[at] = c;
            } else { /* a run of it twice */
                size_t run = below(n - at < 40 ? n - at : 40);
                memmove(text + at + run, text + at, n - at);
                n += run;
            }
        }
        reads_as_jansson(text, n);
    }
}
END_TEST

static size_t allocations;

static void *counted(size_t n)
{
    allocations++;
    return malloc(n);
}

/* outcome.c and reply.c agree to the byte: jansson, which would read any other layout too, is asked
 * for nothing. */
START_TEST(a_success_of_ours_is_read_without_a_parser)
{
    struct message m = {.correlation_id = bytes_text("an-id")};
    for (int full = 0; full < 2; full++) {
        struct buf props = {0}, body = {0};
        struct reply r;
        struct fault f;
        struct outcome o = {.state = STATE_SUCCESS,
                            .result = json_true(),
                            .runtime = full ? 0.25 : 0,
                            .redelivered = full};
        ck_assert(outcome_write(&m, &o, &props, &body));
        json_set_alloc_funcs(counted, free);
        bool read = reply_read(buf_bytes(&body), &r, &f);
        json_set_alloc_funcs(malloc, free);
        ck_assert(read && r.success && json_is_true(r.result));
        ck_assert(r.runtime == o.runtime && r.redelivered == o.redelivered);
        ck_assert_uint_eq(allocations, 0);
        reply_done(&r);
        buf_done(&props);
        buf_done(&body);
    }
}
END_TEST

/* ---- Writing --------------------------------------------------------------------------------- */

static json_t *random_text(void)
{
    static const char *const parts[] = {"a",
                                        "\"",
                                        "\\",
                                        "/",
                                        "\n",
                                        "\b\f\r\t",
                                        "\x01\x1f\x7f",
                                        "\xc3\xab",
                                        "plain text",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x90\x99"};
    char text[256] = "";
    for (size_t n = below(8); n > 0; n--)
        strcat(text, parts[below(sizeof parts / sizeof parts[0])]);
    size_t n = strlen(text);
    if (below(4) == 0) text[n++] = '\0';
    return json_stringn(text, n);
}

static json_t *random_number(void)
{
    static const json_int_t odd[] = {0, -1, 9, 10, INT64_MAX, INT64_MIN, 100, -99};
    if (below(2)) return json_integer(odd[below(sizeof odd / sizeof odd[0])]);
    return json_real((double)rand() / (double)(rand() + 1) * (below(2) ? 1 : 1e-9));
}

static json_t *random_value(unsigned depth)
{
    json_t *j;
    switch (below(depth > 0 ? 7 : 5)) {
    case 0: return json_null();
    case 1: return json_true();
    case 2: return json_false();
    case 3: return random_text();
    case 4: return random_number();
    case 5:
        j = json_array();
        for (size_t n = below(5); n > 0; n--) json_array_append_new(j, random_value(depth - 1));
        return j;
    default:
        j = json_object();
        for (size_t n = below(5); n > 0; n--) {
            json_t *key = random_text();
            json_object_setn_new(j, json_string_value(key), json_string_length(key),
                                 random_value(depth - 1));
            json_decref(key);
        }
        return j;
    }
}

START_TEST(values_are_written_as_by_jansson)
{
    seed();
    for (int round = 0; round < ROUNDS / 10; round++) {
        struct buf out = {0};
        json_t *j = random_value(4);
        char *theirs = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
        size_t n = strlen(theirs);
        ck_assert(buf_append(&out, "front", 5));
        ck_assert(wire_json_append(j, n, &out));
        ck_assert_uint_eq(out.len, 5 + n);
        ck_assert_mem_eq(buf_head(&out) + 5, theirs, n);
        ck_assert(
            !wire_json_append(j, n - 1, &out)); /* a byte too many, and nothing is left of it */
        ck_assert_uint_eq(out.len, 5 + n);
        free(theirs);
        json_decref(j);
        buf_done(&out);
    }
}
END_TEST

START_TEST(the_literal_front_of_a_text_ends_at_the_first_odd_byte)
{
    for (int c = 0; c < 256; c++)
        for (size_t n = 0; n < 20; n++)
            for (size_t at = 0; at < n; at++) {
                uint8_t *text = malloc(n); /* of exact size, for the sanitizer */
                ck_assert_ptr_nonnull(text);
                for (size_t i = 0; i < n; i++)
                    text[i] = i < at ? 'a' : (uint8_t)(c + (int)(i - at));
                bool odd = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
                size_t front = text_literal(bytes_of(text, n));
                ck_assert(odd ? front == at : front > at);
                free(text);
            }
}
END_TEST

START_TEST(what_has_no_json_form_is_not_written)
{
    struct buf out = {0};
    json_t *bad[] = {json_string_nocheck("\xff"), json_string_nocheck("a\xc3"), json_array(),
                     json_object()};
    json_array_append_new(bad[2], json_string_nocheck("\xed\xa0\x80"));
    json_object_set_new_nocheck(bad[3], "\xc0\xaf", json_null());
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert(!wire_json_append(bad[i], BUF_MAX, &out));
        ck_assert_uint_eq(out.len, 0);
        json_decref(bad[i]);
    }
    json_t *loop = json_array(), *inner = json_array();
    json_array_append(loop, inner);
    json_array_append_new(inner, loop); /* in itself by way of another */
    ck_assert(!wire_json_append(loop, BUF_MAX, &out));
    ck_assert_uint_eq(out.len, 0);
    json_array_clear(inner);
    json_decref(inner);
    buf_done(&out);
}
END_TEST

START_TEST(as_many_levels_as_a_reader_takes_are_written)
{
    struct buf out = {0};
    json_t *j = json_array();
    for (int levels = 1; levels < JSON_DEPTH_WRITTEN; levels++) {
        json_t *outer = levels % 2 ? json_array() : json_object();
        if (levels % 2)
            json_array_append_new(outer, j);
        else
            json_object_set_new(outer, "a", j);
        j = outer;
    }
    ck_assert(wire_json_append(j, BUF_MAX, &out));
    json_t *one_more = json_pack("[o]", j);
    ck_assert(!wire_json_append(one_more, BUF_MAX, &out));
    json_decref(one_more);
    buf_done(&out);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("reply");
    tcase_add_test(t, replies_are_read_as_by_jansson);
    tcase_add_test(t, replies_with_any_fault_are_read_as_by_jansson);
    tcase_add_test(t, a_success_of_ours_is_read_without_a_parser);
    tcase_add_test(t, values_are_written_as_by_jansson);
    tcase_add_test(t, the_literal_front_of_a_text_ends_at_the_first_odd_byte);
    tcase_add_test(t, what_has_no_json_form_is_not_written);
    tcase_add_test(t, as_many_levels_as_a_reader_takes_are_written);
    Suite *s = suite_create("reply");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
