/* test_registry.c - task tables: what is accepted, found and refused with which sentence. */
#include "task/registry.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static ctask_outcome run(struct ctask_call *t)
{
    return task_return_null(t);
}

CTASK_APP(letters, {.name = "c", .run = run}, {.name = "a", .run = run, .params = "x, y=1"},
          {.name = "b.b", .run = run});
CTASK_APP(others, {.name = "aa", .run = run}, {.name = "Z", .run = run});

static struct ctask_error error;

/* An app with this one task. */
static struct ctask_app app_with(const struct ctask_task *t)
{
    return (struct ctask_app){
        CTASK_ABI, sizeof(struct ctask_app), sizeof(struct ctask_task), 1, "app", t};
}

static int add(struct registry *g, struct ctask_task t)
{
    struct ctask_app app = app_with(&t);
    error = (struct ctask_error){0};
    return registry_add(g, &app, &error);
}

START_TEST(tasks_are_found_by_their_whole_name)
{
    struct registry g = {0};
    ck_assert_int_eq(registry_add(&g, ctask_app_letters(), &error), CTASK_OK);
    ck_assert_int_eq(registry_add(&g, ctask_app_others(), &error), CTASK_OK);
    ck_assert_uint_eq(g.count, 5);
    static const char *const names[] = {"a", "aa", "b.b", "c", "Z"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct ctask_task *t = registry_find(&g, bytes_text(names[i]));
        ck_assert_ptr_nonnull(t);
        ck_assert_str_eq(t->name, names[i]);
    }
    static const char *const absent[] = {"", "b", "b.", "aaa", "A", "z", "b.bb"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        ck_assert_ptr_null(registry_find(&g, bytes_text(absent[i])));
    ck_assert_ptr_null(registry_find(&g, bytes_of("a\0", 2)));
    ck_assert_ptr_null(registry_find(&g, bytes_of(NULL, 0)));
    registry_done(&g);
}
END_TEST

static void note(void *ctx, const struct ctask_app *app, const struct ctask_task *t)
{
    strcat(ctx, app->name);
    strcat(ctx, ":");
    strcat(ctx, t->name);
    strcat(ctx, " ");
}

START_TEST(each_goes_by_name_over_all_apps)
{
    struct registry g = {0};
    char seen[200] = "";
    ck_assert_int_eq(registry_add(&g, ctask_app_letters(), &error), CTASK_OK);
    ck_assert_int_eq(registry_add(&g, ctask_app_others(), &error), CTASK_OK);
    registry_each(&g, note, seen);
    ck_assert_str_eq(seen, "others:Z letters:a others:aa letters:b.b letters:c ");
    registry_done(&g);
}
END_TEST

START_TEST(an_empty_registry_finds_nothing)
{
    struct registry g = {0};
    ck_assert_ptr_null(registry_find(&g, bytes_text("a")));
    registry_done(&g);
}
END_TEST

START_TEST(a_name_that_is_there_already_is_refused_and_nothing_is_added)
{
    struct registry g = {0};
    ck_assert_int_eq(registry_add(&g, ctask_app_letters(), &error), CTASK_OK);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "b.b", .run = run}), CTASK_EINVAL);
    ck_assert_str_eq(error.text, "task b.b of app app is there already, in app letters");
    ck_assert_int_eq(registry_add(&g, ctask_app_letters(), &error), CTASK_EINVAL);
    ck_assert_uint_eq(g.count, 3);
    registry_done(&g);

    struct ctask_task twice[] = {{.name = "t", .run = run}, {.name = "t", .run = run}};
    struct ctask_app app = app_with(twice);
    app.count = 2;
    ck_assert_int_eq(registry_add(&g, &app, &error), CTASK_EINVAL);
    ck_assert_uint_eq(g.count, 0);
}
END_TEST

START_TEST(entries_that_cannot_work_are_refused)
{
    struct registry g = {0};
    char longest[257];
    memset(longest, 'n', 256);
    longest[256] = '\0';
    ck_assert_int_eq(add(&g, (struct ctask_task){.run = run}), CTASK_EINVAL);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "", .run = run}), CTASK_EINVAL);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "a b", .run = run}), CTASK_EINVAL);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "a\n", .run = run}), CTASK_EINVAL);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = longest, .run = run}), CTASK_EINVAL);
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "a"}), CTASK_EINVAL);
    ck_assert_str_eq(error.text, "task a of app app has no function (.run)");
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = "a", .run = run, .params = "x=1, y"}),
                     CTASK_EINVAL);
    ck_assert_str_eq(error.text, "task a of app app has .params \"x=1, y\": a parameter without a "
                                 "default follows one with a default");
    longest[255] = '\0';
    ck_assert_int_eq(add(&g, (struct ctask_task){.name = longest, .run = run}), CTASK_OK);
    registry_done(&g);
}
END_TEST

START_TEST(an_app_of_another_abi_or_layout_is_refused_before_it_is_read)
{
    struct registry g = {0};
    struct ctask_app app = {.abi = CTASK_ABI + 1, .name = (const char *)1};
    ck_assert_int_eq(registry_add(&g, &app, &error), CTASK_EINVAL);
    ck_assert_str_eq(error.text, "an app was compiled for ctask ABI 2 and this worker has ABI 1: "
                                 "compile it again with this version's headers");
    app = (struct ctask_app){CTASK_ABI, sizeof app + 8, sizeof(struct ctask_task),
                             1,         (void *)1,      (void *)1};
    ck_assert_int_eq(registry_add(&g, &app, &error), CTASK_EINVAL);
    app.app_size = sizeof app;
    app.task_size = 8;
    ck_assert_int_eq(registry_add(&g, &app, &error), CTASK_EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "compile it again"));
    ck_assert_uint_eq(g.count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *t = tcase_create("registry");
    tcase_add_test(t, tasks_are_found_by_their_whole_name);
    tcase_add_test(t, each_goes_by_name_over_all_apps);
    tcase_add_test(t, an_empty_registry_finds_nothing);
    tcase_add_test(t, a_name_that_is_there_already_is_refused_and_nothing_is_added);
    tcase_add_test(t, entries_that_cannot_work_are_refused);
    tcase_add_test(t, an_app_of_another_abi_or_layout_is_refused_before_it_is_read);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
