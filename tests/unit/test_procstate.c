/* test_procstate.c - /proc/self/status whose lines move, or do not fit what is read of it. What
 * tasks change is in faults/test_hygiene.py. */
#include "worker/procstate.c"

#include <check.h>
#include <grp.h>

static void set_groups(size_t n)
{
    static gid_t groups[4096];
    for (size_t i = 0; i < n; i++) groups[i] = (gid_t)(100000 + i);
    ck_assert_int_eq(setgroups(n, groups), 0);
}

/* FDSize grows, and all lines behind it stand elsewhere. */
static void use_a_high_descriptor(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 1000);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

START_TEST(a_line_that_stands_elsewhere_has_not_changed)
{
    set_groups(100);
    procstate_note();
    use_a_high_descriptor();
    ck_assert_ptr_null(procstate_changed());
    set_groups(101);
    ck_assert_str_eq(procstate_changed(), "changed its supplementary groups");
}
END_TEST

START_TEST(a_line_that_is_cut_short_is_not_compared)
{
    set_groups(4096);
    procstate_note();
    use_a_high_descriptor();
    ck_assert_ptr_null(procstate_changed());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("procstate");
    TCase *t = tcase_create("procstate");
    if (setgroups(0, NULL) == 0) { /* root alone may */
        tcase_add_test(t, a_line_that_stands_elsewhere_has_not_changed);
        tcase_add_test(t, a_line_that_is_cut_short_is_not_compared);
    }
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
