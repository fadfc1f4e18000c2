/* test_ids.c - ids never repeat, in forked children and threads either; what is a process's own
 * does not reach its children. */
#include "base/fd.h"
#include "base/ids.h"
#include "base/process.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EACH 1000 /* several pages of randomness */
#define THREADS 4

typedef char id_text[ID_SIZE];

static void ids_take(id_text *ids)
{
    for (size_t i = 0; i < EACH; i++) id_new(ids[i]);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void all_differ(id_text *ids, size_t n)
{
    qsort(ids, n, sizeof *ids, compare);
    for (size_t i = 1; i < n; i++) ck_assert_str_ne(ids[i - 1], ids[i]);
}

START_TEST(ids_are_uuid4_in_lower_case)
{
    id_text id;
    for (int i = 0; i < EACH; i++) {
        id_new(id);
        ck_assert_uint_eq(strlen(id), 36);
        ck_assert_uint_eq(strspn(id, "0123456789abcdef-"), 36);
        ck_assert(id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-');
        ck_assert_int_eq(id[14], '4');
        ck_assert_ptr_nonnull(strchr("89ab", id[19]));
    }
}
END_TEST

/* Also by a call that runs no fork handlers. */
static pid_t fork_by(int call)
{
    return call ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : fork();
}

START_TEST(ids_differ_in_a_forked_child)
{
    static id_text ids[2 * EACH];
    int fds[2];
    id_new(ids[0]); /* some are left over */
    ck_assert_int_eq(fd_pair(fds), 0);
    pid_t pid = fork_by(_i);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        ids_take(ids);
        _exit(fd_write_all(fds[1], ids, EACH * sizeof ids[0]) != 0);
    }
    ids_take(ids);
    ck_assert_int_eq(fd_read_all(fds[0], ids + EACH, EACH * sizeof ids[0]), 1);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    all_differ(ids, 2 * EACH);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void *take_some(void *ids)
{
    for (int i = 0; i < 10; i++) ids_take((id_text *)ids + (size_t)i * EACH);
    return NULL;
}

START_TEST(ids_of_many_threads_differ)
{
    static id_text ids[THREADS * 10 * EACH];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_some, ids + i * 10 * EACH), 0);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    all_differ(ids, THREADS * (size_t)10 * EACH);
}
END_TEST

START_TEST(a_forked_child_knows_its_own_pid_and_finds_memory_zeroed)
{
    char *own = process_memory(4096);
    ck_assert_ptr_nonnull(own);
    own[0] = own[4095] = 1;
    ck_assert_int_eq(process_id(), getpid());
    pid_t pid = fork_by(_i);
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(process_id() != (pid_t)syscall(SYS_getpid) || own[0] != 0 || own[4095] != 0);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(process_id(), getpid());
    ck_assert_int_eq(own[4095], 1);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("ids");
    tcase_add_test(t, ids_are_uuid4_in_lower_case);
    tcase_add_loop_test(t, ids_differ_in_a_forked_child, 0, 2);
    tcase_add_test(t, ids_of_many_threads_differ);
    tcase_add_loop_test(t, a_forked_child_knows_its_own_pid_and_finds_memory_zeroed, 0, 2);
    Suite *s = suite_create("ids");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
