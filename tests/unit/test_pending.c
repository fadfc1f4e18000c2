/* test_pending.c - handles are found by id however many they are, while the table grows and after
 * it was let go; a handle is small; memory given back is used again. */
#include "base/ids.h"
#include "base/spares.h"
#include "client/inside.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MANY 20000

static struct pending p;
static struct ctask_result *handles[MANY];

static struct ctask_result *handle(const char *id)
{
    struct ctask_result *r = calloc(1, RESULT_SIZE(strlen(id) + 1));
    ck_assert_ptr_nonnull(r);
    memcpy(r->id, id, strlen(id) + 1);
    return r;
}

static void setup(void)
{
    p = (struct pending){0};
    for (size_t i = 0; i < MANY; i++) {
        char id[ID_SIZE];
        id_new(id);
        handles[i] = handle(id);
    }
}

static void teardown(void)
{
    pending_done(&p);
    for (size_t i = 0; i < MANY; i++) free(handles[i]);
}

static void are_found(size_t from, size_t to, bool found)
{
    for (size_t i = from; i < to; i++)
        ck_assert_ptr_eq(pending_find(&p, bytes_text(handles[i]->id)), found ? handles[i] : NULL);
}

START_TEST(each_is_found_at_each_size_of_the_table)
{
    ck_assert_ptr_null(pending_find(&p, bytes_text("nobody")));
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_int_eq(pending_add(&p, handles[i]), CTASK_OK);
        if (i % 997 == 0) are_found(0, i + 1, true);
    }
    are_found(0, MANY, true);
    ck_assert_uint_eq(p.count, MANY);
    for (size_t i = 0; i < MANY; i += 2) pending_remove(&p, handles[i]);
    for (size_t i = 0; i < MANY; i++) are_found(i, i + 1, i % 2 == 1);
    for (size_t i = 1; i < MANY; i += 2) pending_remove(&p, handles[i]);
    are_found(0, MANY, false);
    ck_assert_uint_eq(p.count, 0);
    ck_assert_ptr_null(p.slots); /* so large a table is not kept for nothing */
    ck_assert_int_eq(pending_add(&p, handles[0]), CTASK_OK);
    are_found(0, 1, true);
}
END_TEST

START_TEST(some_come_and_go_while_the_table_grows)
{
    size_t first = 0;
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_int_eq(pending_add(&p, handles[i]), CTASK_OK);
        if (i % 3 == 0) pending_remove(&p, handles[first++]);
        if (p.old && i % 499 == 0) are_found(first, i + 1, true);
    }
    are_found(0, first, false);
    are_found(first, MANY, true);
}
END_TEST

START_TEST(an_id_is_there_once)
{
    struct ctask_result *twin = handle(handles[0]->id), *longer = handle("an id that is no uuid");
    ck_assert_int_eq(pending_add(&p, handles[0]), CTASK_OK);
    ck_assert_int_eq(pending_add(&p, twin), CTASK_EINVAL);
    ck_assert(!twin->pending);
    ck_assert_int_eq(pending_add(&p, longer), CTASK_OK);
    ck_assert_ptr_eq(pending_find(&p, bytes_text(longer->id)), longer);
    pending_remove(&p, handles[0]);
    ck_assert_int_eq(pending_add(&p, twin), CTASK_OK);
    pending_remove(&p, twin);
    free(twin);
    free(longer);
}
END_TEST

static void meet(struct ctask_result *r, void *met)
{
    (*(size_t *)met)++;
    pending_remove(&p, r);
}

START_TEST(a_walk_meets_everyone_once_and_may_empty_the_table)
{
    for (size_t n = 1; n < MANY; n = n * 3 + 1) { /* in the middle of growing too */
        size_t met = 0;
        for (size_t i = 0; i < n; i++) ck_assert_int_eq(pending_add(&p, handles[i]), CTASK_OK);
        pending_walk(&p, meet, &met);
        ck_assert_uint_eq(met, n);
        ck_assert_uint_eq(p.count, 0);
        are_found(0, n, false);
    }
}
END_TEST

START_TEST(a_handle_and_its_place_in_the_table_take_less_than_128_bytes)
{
    size_t malloc_own = 8, most_slots = 3; /* just doubled, the old ones not yet let go */
    size_t piece = (RESULT_SIZE(ID_SIZE) + malloc_own + 15) / 16 * 16;
    ck_assert_uint_le(piece + most_slots * sizeof(void *), 128);
}
END_TEST

START_TEST(memory_given_back_is_taken_again)
{
    struct spares some = {.size = 3, .most = 2};
    void *a = spares_take(&some), *b = spares_take(&some), *c = spares_take(&some);
    ck_assert(a && b && c);
    memset(a, 'a', 3);
    spares_give(&some, NULL);
    spares_give(&some, a);
    spares_give(&some, b);
    spares_give(&some, c); /* one too many */
    if (some.kept > 0) {   /* not under the address sanitizer */
        ck_assert_uint_eq(some.kept, 2);
        ck_assert_ptr_eq(spares_take(&some), b);
        spares_give(&some, b);
    }
    spares_done(&some);
    ck_assert_uint_eq(some.kept, 0);
    void *again = spares_take(&some);
    ck_assert_ptr_nonnull(again);
    spares_give(&some, again);
    spares_done(&some);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("pending");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_is_found_at_each_size_of_the_table);
    tcase_add_test(t, some_come_and_go_while_the_table_grows);
    tcase_add_test(t, an_id_is_there_once);
    tcase_add_test(t, a_walk_meets_everyone_once_and_may_empty_the_table);
    tcase_add_test(t, a_handle_and_its_place_in_the_table_take_less_than_128_bytes);
    tcase_add_test(t, memory_given_back_is_taken_again);
    Suite *s = suite_create("pending");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
