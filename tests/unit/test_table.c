/* test_table.c - the table walker gives a verdict on any bytes, keeps its limits and agrees with
 * librabbitmq on what it takes; what the writer writes is read the same by both. */
#include "base/table.h"
#include "support/agree.h"
#include "support/golden.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct buf b;

static void setup(void)
{
    b = (struct buf){0};
}

static void teardown(void)
{
    buf_done(&b);
}

#define bytes_lit(s) bytes_of(s, sizeof s - 1)

static void entry_put(struct buf *to, struct bytes key, char kind, struct bytes value)
{
    ck_assert(buf_u8(to, (uint8_t)key.n) && buf_bytes_append(to, key) &&
              buf_u8(to, (uint8_t)kind) && buf_bytes_append(to, value));
}

/* An entry whose value has its length in front. */
static void run_put(struct buf *to, const char *key, char kind, struct bytes inside)
{
    struct buf value = {0};
    ck_assert(buf_u32(&value, (uint32_t)inside.n) && buf_bytes_append(&value, inside));
    entry_put(to, bytes_text(key), kind, buf_bytes(&value));
    buf_done(&value);
}

static void assert_sound(struct bytes table)
{
    ck_assert_pstr_eq(table_check(table), NULL);
    ck_assert_pstr_eq(agree_decoded(table), NULL);
}

static void assert_wrong(struct bytes table, const char *word)
{
    const char *wrong = table_check(table);
    ck_assert_msg(wrong && strstr(wrong, word), "%s", wrong ? wrong : "taken as sound");
}

static const struct {
    char kind;
    struct bytes value;
    bool is_int, is_text;
    int64_t i;
    double d;
    const char *text;
} kinds[] = {
    {'t', {(const uint8_t *)"\x00", 1}, true, false, 0, 0, NULL},
    {'t', {(const uint8_t *)"\x01", 1}, true, false, 1, 0, NULL},
    {'t', {(const uint8_t *)"\xff", 1}, true, false, 1, 0, NULL},
    {'b', {(const uint8_t *)"\x80", 1}, true, false, -128, 0, NULL},
    {'B', {(const uint8_t *)"\x80", 1}, true, false, 128, 0, NULL},
    {'s', {(const uint8_t *)"\x80\x00", 2}, true, false, -32768, 0, NULL},
    {'u', {(const uint8_t *)"\x80\x00", 2}, true, false, 32768, 0, NULL},
    {'I', {(const uint8_t *)"\xff\xff\xff\xfe", 4}, true, false, -2, 0, NULL},
    {'i', {(const uint8_t *)"\xff\xff\xff\xfe", 4}, true, false, 4294967294, 0, NULL},
    {'l', {(const uint8_t *)"\x80\0\0\0\0\0\0\0", 8}, true, false, INT64_MIN, 0, NULL},
    {'L', {(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff", 8}, true, false, -1, 0, NULL},
    {'f', {(const uint8_t *)"\x3f\xc0\0\0", 4}, false, false, 0, 1.5, NULL},
    {'d', {(const uint8_t *)"\xbf\xf8\0\0\0\0\0\0", 8}, false, false, 0, -1.5, NULL},
    {'V', {(const uint8_t *)"", 0}, false, false, 0, 0, NULL},
    {'T', {(const uint8_t *)"\0\0\0\0\x65\0\0\0", 8}, false, false, 0, 0, NULL},
    {'D', {(const uint8_t *)"\2\0\0\1\0", 5}, false, false, 0, 0, NULL},
    {'S', {(const uint8_t *)"\0\0\0\2ab", 6}, false, true, 0, 0, "ab"},
    {'S', {(const uint8_t *)"\0\0\0\0", 4}, false, true, 0, 0, ""},
    {'x', {(const uint8_t *)"\0\0\0\1c", 5}, false, true, 0, 0, "c"},
    {'A', {(const uint8_t *)"\0\0\0\2VV", 6}, false, false, 0, 0, "VV"},
    {'F', {(const uint8_t *)"\0\0\0\3\1kV", 7}, false, false, 0, 0, "\1kV"},
    {'F', {(const uint8_t *)"\0\0\0\0", 4}, false, false, 0, 0, ""},
};

#define KIND_COUNT (sizeof kinds / sizeof kinds[0])

static void every_kind_put(struct buf *to)
{
    char key[8];
    for (size_t i = 0; i < KIND_COUNT; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        entry_put(to, bytes_text(key), kinds[i].kind, kinds[i].value);
    }
}

START_TEST(every_kind_is_read_as_rabbitmq_means_it)
{
    every_kind_put(&b);
    assert_sound(buf_bytes(&b));
    struct bytes rest = buf_bytes(&b);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        struct field f;
        struct bytes before = rest;
        ck_assert(table_next(&rest, &f));
        ck_assert_int_eq(f.kind, kinds[i].kind);
        ck_assert_int_eq(f.is_int, kinds[i].is_int);
        ck_assert_int_eq(f.is_text, kinds[i].is_text);
        ck_assert_int_eq(f.i, kinds[i].i);
        ck_assert(f.d == kinds[i].d);
        ck_assert(bytes_is(f.text, kinds[i].text));
        ck_assert(f.entry.p == before.p && f.entry.p + f.entry.n == rest.p);
    }
    ck_assert_uint_eq(rest.n, 0);
}
END_TEST

START_TEST(no_other_kind_is_taken)
{
    static const uint8_t zeros[16];
    for (int kind = 0; kind < 256; kind++) {
        if (kind && strchr("SIlLisubBtfdVAFTDx", kind)) continue;
        buf_clear(&b);
        entry_put(&b, bytes_text("k"), (char)kind, bytes_of(zeros, sizeof zeros));
        assert_wrong(buf_bytes(&b), "unknown kind");
    }
}
END_TEST

START_TEST(a_name_has_1_to_255_bytes)
{
    uint8_t name[255];
    memset(name, 'n', sizeof name);
    assert_sound(bytes_of(NULL, 0));
    entry_put(&b, bytes_of(name, 255), 'V', bytes_of(NULL, 0));
    assert_sound(buf_bytes(&b));
    entry_put(&b, bytes_of(name, 0), 'V', bytes_of(NULL, 0));
    assert_wrong(buf_bytes(&b), "empty name");
    buf_clear(&b);
    run_put(&b, "outer", 'F', bytes_lit("\0V"));
    assert_wrong(buf_bytes(&b), "empty name");
}
END_TEST

START_TEST(entries_are_counted_to_512_in_all_depth)
{
    struct buf inner = {0};
    for (int i = 0; i < 512; i++) {
        ck_assert_pstr_eq(table_check(buf_bytes(&b)), NULL);
        entry_put(&b, bytes_text("k"), 'V', bytes_of(NULL, 0));
    }
    assert_sound(buf_bytes(&b));
    for (int i = 512; i < 550; i++) {
        entry_put(&b, bytes_text("k"), 'V', bytes_of(NULL, 0));
        assert_wrong(buf_bytes(&b), "too many");
    }
    for (int i = 0; i < 511; i++) ck_assert(buf_u8(&inner, 'V'));
    buf_clear(&b);
    run_put(&b, "items", 'A', buf_bytes(&inner));
    assert_sound(buf_bytes(&b));
    entry_put(&b, bytes_text("k"), 'V', bytes_of(NULL, 0));
    assert_wrong(buf_bytes(&b), "too many");
    buf_done(&inner);
}
END_TEST

/* A table with `depth` tables in all, each in the one before; `kind` A puts arrays between. */
static void nest(int depth, char kind)
{
    buf_clear(&b);
    for (int level = depth; level > 1; level--) {
        struct buf outer = {0};
        bool in_array = kind == 'A' && level > 2;
        if (in_array)
            ck_assert(buf_u8(&outer, 'A') && buf_u32(&outer, (uint32_t)b.len) &&
                      buf_bytes_append(&outer, buf_bytes(&b)));
        else
            run_put(&outer, "k", kind, buf_bytes(&b));
        buf_done(&b);
        b = outer;
    }
}

START_TEST(nesting_is_taken_to_16)
{
    for (int i = 0; i < 2; i++) {
        char kind = "FA"[i];
        nest(16, kind);
        assert_sound(buf_bytes(&b));
        nest(17, kind);
        assert_wrong(buf_bytes(&b), "too deep");
        nest(20, kind);
        assert_wrong(buf_bytes(&b), "too deep");
        nest(5000, kind);
        ck_assert_pstr_ne(table_check(buf_bytes(&b)), NULL);
    }
}
END_TEST

START_TEST(a_table_has_at_most_64_kib)
{
    static const uint8_t zeros[65536];
    size_t head = 1 + 1 + 1 + 4;
    run_put(&b, "k", 'S', bytes_of(zeros, sizeof zeros - head));
    ck_assert_uint_eq(b.len, 65536);
    assert_sound(buf_bytes(&b));
    buf_clear(&b);
    run_put(&b, "k", 'S', bytes_of(zeros, sizeof zeros - head + 1));
    assert_wrong(buf_bytes(&b), "too large");
}
END_TEST

START_TEST(an_inner_table_ends_exactly_inside_its_outer_one)
{
    assert_sound(bytes_lit("\1oF\0\0\0\3\1iV"));
    assert_wrong(bytes_lit("\1oF\0\0\0\4\1iV"), "beyond");
    assert_wrong(bytes_lit("\1oF\xff\xff\xff\xff\1iV"), "beyond");
    assert_wrong(bytes_lit("\1oF\0\0\0\2\1iV"), "cut short");
    assert_wrong(bytes_lit("\1oF\0\0\0\7\1iS\0\0\0\1x"), "beyond"); /* into its neighbour */
    assert_wrong(bytes_lit("\1oA\0\0\0\4IVVV"), "cut short");
}
END_TEST

START_TEST(a_cut_at_any_byte_is_noticed_unless_it_is_between_entries)
{
    every_kind_put(&b);
    size_t boundary = 0, sound = 0;
    struct bytes rest = buf_bytes(&b);
    struct field f;
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = malloc(n); /* exact, for the sanitizer */
        memcpy(cut, buf_head(&b), n);
        if (n == boundary) {
            sound++;
            ck_assert_pstr_eq(table_check(bytes_of(cut, n)), NULL);
            ck_assert(table_next(&rest, &f));
            boundary += f.entry.n;
        } else {
            ck_assert_pstr_ne(table_check(bytes_of(cut, n)), NULL);
        }
        struct bytes walk = bytes_of(cut, n);
        while (table_next(&walk, &f)) continue;
        free(cut);
    }
    ck_assert_uint_eq(sound, KIND_COUNT);
}
END_TEST

START_TEST(find_gives_the_first_of_that_name)
{
    struct field f;
    ck_assert(table_put_int(&b, "a", 1) && table_put_int(&b, "b", 2) && table_put_int(&b, "a", 3));
    ck_assert(table_find(buf_bytes(&b), "a", &f) && f.i == 1);
    ck_assert(table_find(buf_bytes(&b), "b", &f) && f.i == 2);
    ck_assert(!table_find(buf_bytes(&b), "c", &f));
    ck_assert(!table_find(buf_bytes(&b), "", &f));
    ck_assert(!table_find(bytes_of(NULL, 0), "a", &f));
}
END_TEST

START_TEST(what_is_written_is_read_the_same_here_and_by_librabbitmq)
{
    struct field f;
    ck_assert(table_put_text(&b, "text", bytes_text("h\xc3\xa9")));
    ck_assert(table_put_text(&b, "empty", bytes_of(NULL, 0)));
    ck_assert(table_put_int(&b, "int", INT32_MIN));
    ck_assert(table_put_bool(&b, "bool", true));
    ck_assert(table_put_null(&b, "null"));
    assert_sound(buf_bytes(&b));
    ck_assert(table_find(buf_bytes(&b), "text", &f) && bytes_is(f.text, "h\xc3\xa9"));
    ck_assert(table_find(buf_bytes(&b), "empty", &f) && f.is_text && f.text.n == 0);
    ck_assert(table_find(buf_bytes(&b), "int", &f) && f.is_int && f.i == INT32_MIN);
    ck_assert(table_find(buf_bytes(&b), "bool", &f) && f.kind == 't' && f.i == 1);
    ck_assert(table_find(buf_bytes(&b), "null", &f) && f.kind == 'V');
}
END_TEST

START_TEST(an_array_of_numbers_is_read_as_it_was_written)
{
    const double v[] = {5, -0.5, NAN, 3e9, INT32_MIN};
    const char kinds[] = {'I', 'd', 'V', 'd', 'I'};
    struct field f, item;
    ck_assert(table_put_numbers(&b, "numbers", v, 5) && table_put_numbers(&b, "none", NULL, 0));
    assert_sound(buf_bytes(&b));
    ck_assert(table_find(buf_bytes(&b), "none", &f) && f.kind == 'A' && f.text.n == 0);
    ck_assert(table_find(buf_bytes(&b), "numbers", &f) && f.kind == 'A');
    for (size_t i = 0; i < 5; i++) {
        ck_assert(table_item_next(&f.text, &item));
        ck_assert_int_eq(item.kind, kinds[i]);
        if (!isnan(v[i])) ck_assert_double_eq(item.is_int ? (double)item.i : item.d, v[i]);
    }
    ck_assert(!table_item_next(&f.text, &item));
}
END_TEST

START_TEST(a_buffer_too_small_is_said)
{
    for (size_t max = 1; max < 12; max++) {
        struct buf small = {.max = max};
        ck_assert(!table_put_text(&small, "key", bytes_text("value")));
        ck_assert(small.failed);
        buf_done(&small);
    }
}
END_TEST

/* What our walker takes, librabbitmq takes, and sees the same. */
START_TEST(any_bytes_get_a_verdict_that_librabbitmq_shares)
{
    struct bytes task = golden_read("celery-task-props.hex");
    size_t head = 2 + 17 + 6 + 4, taken = 0; /* up to the entries of the header table */
    every_kind_put(&b);
    srand(1);
    for (int round = 0; round < 40000; round++) {
        struct bytes from = round % 2 ? buf_bytes(&b) : bytes_of(task.p + head, 0x158);
        uint8_t *copy = malloc(from.n);
        memcpy(copy, from.p, from.n);
        for (int i = rand() % 4; i >= 0; i--)
            copy[(size_t)rand() % from.n] = (uint8_t)(rand() % 3 ? rand() % 8 : rand() >> 7);
        struct bytes table = bytes_of(copy, from.n);
        if (!table_check(table)) {
            taken++;
            ck_assert_pstr_eq(agree_decoded(table), NULL);
        }
        struct field f;
        while (table_next(&table, &f)) continue;
        free(copy);
    }
    ck_assert_uint_gt(taken, 1000);
    free((void *)task.p);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("table");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_kind_is_read_as_rabbitmq_means_it);
    tcase_add_test(t, no_other_kind_is_taken);
    tcase_add_test(t, a_name_has_1_to_255_bytes);
    tcase_add_test(t, entries_are_counted_to_512_in_all_depth);
    tcase_add_test(t, nesting_is_taken_to_16);
    tcase_add_test(t, a_table_has_at_most_64_kib);
    tcase_add_test(t, an_inner_table_ends_exactly_inside_its_outer_one);
    tcase_add_test(t, a_cut_at_any_byte_is_noticed_unless_it_is_between_entries);
    tcase_add_test(t, find_gives_the_first_of_that_name);
    tcase_add_test(t, what_is_written_is_read_the_same_here_and_by_librabbitmq);
    tcase_add_test(t, an_array_of_numbers_is_read_as_it_was_written);
    tcase_add_test(t, a_buffer_too_small_is_said);
    tcase_add_test(t, any_bytes_get_a_verdict_that_librabbitmq_shares);
    Suite *s = suite_create("table");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
