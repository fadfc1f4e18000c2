/* test_loader.c - where -A looks, what it loads and how it refuses. Apps are compiled here, with
 * the line that tasks/README.md gives. */
#include "task/loader.h"
#include "task/registry.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];
static struct ctask_error error;

static ctask_outcome run(struct ctask_call *t)
{
    return task_return_null(t);
}

CTASK_APP(linked_in, {.name = "here", .run = run});

/* ---- A directory of apps --------------------------------------------------------------------- */

static const char *in_dir(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void compile(const char *file, const char *text)
{
    const char *source = getenv("CTASK_SOURCE");
    char command[2048];
    write_file("app.c", text);
    snprintf(command, sizeof command,
             "cc -shared -fPIC -I%s/lib/include $(pkg-config --cflags jansson) -o %s/%s %s/app.c",
             source && *source ? source : ".", dir, file, dir);
    ck_assert_int_eq(system(command), 0);
}

#define APP(name)                                         \
    "#include <ctask/task.h>\n"                           \
    "static int64_t twice(int64_t n) { return 2 * n; }\n" \
    "CTASK_FN(int64_t, twice, (int64_t, n));\n"           \
    "CTASK_APP(" name ", { TASK(twice), .help = \"2 n\" });\n"

static void build(void)
{
    snprintf(dir, sizeof dir, "/tmp/ctask-loader-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    mkdir(in_dir("sub"), 0700);
    compile("plain.so", APP("plain"));
    compile("libprefixed.so", APP("prefixed"));
    compile("library.so", APP("library"));
    compile("sub/plain.so", APP("plain"));
    compile("empty.so", "int nothing;\n");
    compile("missing.so", "int f(void); int g(void); int g(void) { return f(); }\n");
    compile("old.so", "#include <ctask/task.h>\n"
                      "CTASK_API const struct ctask_app *ctask_app_old(void);\n"
                      "const struct ctask_app *ctask_app_old(void) {\n"
                      "    static const struct ctask_app self = {.abi = CTASK_ABI + 6};\n"
                      "    return &self; }\n");
    write_file("broken.so", "this is no library\n");
}

static void clean(void)
{
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) fprintf(stderr, "%s is left behind\n", dir);
}

/* ---- The promises ---------------------------------------------------------------------------- */

static int find(const char *name, const struct ctask_app **out)
{
    static const struct ctask_app *linked[2];
    linked[0] = ctask_app_linked_in();
    *out = NULL;
    error = (struct ctask_error){0};
    return loader_find(name, linked, out, &error);
}

static void finds(const char *name, const char *app_name)
{
    const struct ctask_app *app;
    ck_assert_msg(find(name, &app) == CTASK_OK, "%s", error.text);
    ck_assert_str_eq(app->name, app_name);
}

static void refuses(const char *name, const char *part)
{
    const struct ctask_app *app;
    ck_assert_int_eq(find(name, &app), CTASK_EINVAL);
    ck_assert_ptr_null(app);
    ck_assert_msg(strstr(error.text, part) != NULL, "%s", error.text);
}

START_TEST(what_is_linked_in_is_found_first)
{
    compile("linked_in.so", APP("linked_in"));
    setenv("CTASK_PATH", dir, 1);
    const struct ctask_app *app;
    ck_assert_int_eq(find("linked_in", &app), CTASK_OK);
    ck_assert_ptr_eq(app, ctask_app_linked_in());
}
END_TEST

START_TEST(a_name_is_found_with_and_without_lib_on_the_path)
{
    char path[600];
    snprintf(path, sizeof path, "/nonexistent::%s", dir);
    setenv("CTASK_PATH", path, 1);
    finds("plain", "plain");
    finds("prefixed", "prefixed");
    finds("library", "library");
}
END_TEST

START_TEST(the_first_directory_of_the_path_wins)
{
    char path[600];
    snprintf(path, sizeof path, "%s/sub:%s", dir, dir);
    setenv("CTASK_PATH", path, 1);
    const struct ctask_app *app, *first;
    ck_assert_int_eq(find("plain", &app), CTASK_OK);
    ck_assert_int_eq(find(in_dir("sub/plain.so"), &first), CTASK_OK);
    ck_assert_ptr_eq(app, first);
}
END_TEST

START_TEST(a_path_needs_a_slash_and_names_the_app_by_its_file)
{
    finds(in_dir("plain.so"), "plain");
    finds(in_dir("libprefixed.so"), "prefixed");
    finds(in_dir("library.so"), "library");
    ck_assert_int_eq(chdir(dir), 0);
    finds("./plain.so", "plain");
    refuses("plain.so", "a file is given with a slash, as ./primes.so");
}
END_TEST

START_TEST(the_current_directory_is_never_searched_by_itself)
{
    ck_assert_int_eq(chdir(dir), 0);
    unsetenv("CTASK_PATH");
    refuses("plain", "there is no app \"plain\"");
    setenv("CTASK_PATH", "", 1);
    refuses("plain", "there is no app \"plain\"");
    setenv("CTASK_PATH", "::/nonexistent:", 1);
    refuses("plain", "there is no app \"plain\"");
}
END_TEST

START_TEST(an_unknown_app_is_told_where_it_was_looked_for)
{
    setenv("CTASK_PATH", "/nonexistent/a:/nonexistent/b", 1);
    refuses("plain", "give its file with a slash, as ./plain.so");
    refuses("plain", "plain.so and libplain.so in /nonexistent/a:/nonexistent/b:/");
    refuses("plain", "/../lib/ctask");
    refuses("plain", "there is no app \"plain\" (built in: linked_in): ");
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
    refuses("", "is no app name");
    refuses("a b", "is no app name");
    refuses("1st", "is no app name");
    refuses("a;b", "is no app name");
}
END_TEST

START_TEST(a_file_that_is_no_app_says_what_is_missing)
{
    refuses(in_dir("empty.so"), "is no app: it has no function ctask_app_empty, which "
                                "CTASK_APP(empty, ...) makes");
    refuses(in_dir("broken.so"), "cannot load app: ");
    refuses(in_dir("missing.so"), "undefined symbol: f");
    refuses(in_dir("absent.so"), "cannot load app: ");
    refuses("/", "cannot load app: ");
}
END_TEST

START_TEST(a_library_under_another_name_than_its_app_is_refused)
{
    ck_assert_int_eq(chdir(dir), 0);
    ck_assert_int_eq(symlink("plain.so", "renamed.so"), 0);
    refuses("./renamed.so", "file and app must have the same name");
    unlink("renamed.so");
}
END_TEST

START_TEST(an_app_of_another_abi_is_refused_by_its_path)
{
    refuses(in_dir("old.so"), "/old.so was compiled for ctask ABI 7 and this worker has ABI 1");
    setenv("CTASK_PATH", dir, 1);
    refuses("old", "compile it again with this version's headers");
}
END_TEST

START_TEST(a_loaded_app_goes_into_the_registry)
{
    struct registry g = {0};
    const struct ctask_app *app;
    ck_assert_int_eq(find(in_dir("plain.so"), &app), CTASK_OK);
    ck_assert_int_eq(registry_add(&g, app, &error), CTASK_OK);
    const struct ctask_task *t = registry_find(&g, bytes_text("twice"));
    ck_assert_ptr_nonnull(t);
    ck_assert_str_eq(t->help, "2 n");
    registry_done(&g);
}
END_TEST

int main(void)
{
    if (system("cc --version >/dev/null 2>&1") != 0) {
        puts("skipped: there is no C compiler called cc");
        return 77;
    }
    Suite *suite = suite_create("loader");
    TCase *t = tcase_create("loader");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, build, clean);
    tcase_add_test(t, what_is_linked_in_is_found_first);
    tcase_add_test(t, a_name_is_found_with_and_without_lib_on_the_path);
    tcase_add_test(t, the_first_directory_of_the_path_wins);
    tcase_add_test(t, a_path_needs_a_slash_and_names_the_app_by_its_file);
    tcase_add_test(t, the_current_directory_is_never_searched_by_itself);
    tcase_add_test(t, an_unknown_app_is_told_where_it_was_looked_for);
    tcase_add_test(t, names_that_are_none_are_refused);
    tcase_add_test(t, a_file_that_is_no_app_says_what_is_missing);
    tcase_add_test(t, a_library_under_another_name_than_its_app_is_refused);
    tcase_add_test(t, an_app_of_another_abi_is_refused_by_its_path);
    tcase_add_test(t, a_loaded_app_goes_into_the_registry);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
