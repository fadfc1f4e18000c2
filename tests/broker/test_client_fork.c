/* test_client_fork.c - clients and fork: a named one says that it is not usable, the default one is
 * made anew, and neither disturbs the parent's connection. Children report by their exit status. */
#include "support/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ctask_client *client;

static void setup(void)
{
    fixture_setup();
    client = ctask_open(broker_url, NULL);
    ck_assert_ptr_nonnull(client);
}

static void teardown(void)
{
    ctask_close(client);
    fixture_teardown();
}

/* The line at which a child's condition failed is its exit status. */
#define must(condition)                              \
    do {                                             \
        if (!(condition)) _exit(__LINE__ % 251 + 1); \
    } while (0)

static int child_status(pid_t pid)
{
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "the child was killed by %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void use_a_forked_client(AsyncResult *pending, AsyncResult *done)
{
    int n = 0;
    alarm(10); /* a lock that nobody holds here would block for ever */
    AsyncResult *r = ctask_delay(client, "echo", 1);
    must(r && result_wait(r, -1) == CTASK_EFORKED);
    must(strstr(result_error(r)->text, "fork") != NULL);
    must(result_wait(pending, -1) == CTASK_EFORKED);
    must(ctask_result_wait_any(&pending, 1, -1) == CTASK_EFORKED);
    must(result_get(done, -1, &n) == CTASK_OK && n == 5);
    must(ctask_flush(client, -1) == CTASK_EFORKED);
    must(ctask_poll(client, -1) == CTASK_EFORKED);
    must(ctask_fd(client) == CTASK_EFORKED);
    must(ctask_post(client, NULL, CTASK_LIST("echo", 1)) == CTASK_EFORKED);
    must(ctask_map_open(client, NULL, "echo", 0) == NULL);
    must(ctask_error()->code == CTASK_EFORKED);
    must(result_progress(pending) == NULL);
    result_forget(r);
    result_forget(pending);
    ctask_close(client);
    _exit(0);
}

START_TEST(a_named_client_says_that_it_was_forked)
{
    AsyncResult *pending = ctask_delay(client, "hold", 7), *done = ctask_delay(client, "echo", 5);
    expect(done, "5");
    pid_t pid = fork();
    if (pid == 0) use_a_forked_client(pending, done);
    ck_assert_int_eq(child_status(pid), 0);
    fake_worker_release(worker, 1);
    expect(pending, "7"); /* the parent's connection is what it was */
    result_forget(pending);
    result_forget(done);
}
END_TEST

static void *wait_without_limit(void *r)
{
    return result_wait(r, -1) == CTASK_OK ? NULL : r;
}

START_TEST(a_client_forked_while_another_thread_drives_it_does_not_block)
{
    pthread_t t;
    void *wrong;
    AsyncResult *held = ctask_delay(client, "hold", 1), *pending = ctask_delay(client, "hold", 2);
    AsyncResult *done = ctask_delay(client, "echo", 5);
    expect(done, "5");
    ck_assert_int_eq(pthread_create(&t, NULL, wait_without_limit, held), 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) use_a_forked_client(pending, done);
        ck_assert_int_eq(child_status(pid), 0);
    }
    fake_worker_release(worker, 2);
    pthread_join(t, &wrong);
    ck_assert_ptr_null(wrong);
    expect(pending, "2");
    result_forget(held);
    result_forget(pending);
    result_forget(done);
}
END_TEST

START_TEST(the_default_client_is_opened_anew_in_the_child)
{
    AsyncResult *pending = task_delay("hold", 1), *r = task_delay("echo", 2);
    expect(r, "2");
    result_forget(r);
    struct ctask_client *ours = ctask_default();
    pid_t pid = fork();
    if (pid == 0) {
        int n = 0;
        alarm(20);
        must(ctask_default() != ours);
        AsyncResult *mine = task_delay("echo", 3);
        must(result_get(mine, WAIT, &n) == CTASK_OK && n == 3);
        must(result_wait(pending, -1) == CTASK_EFORKED);
        result_forget(mine);
        ctask_close(ctask_default());
        _exit(0);
    }
    ck_assert_int_eq(child_status(pid), 0);
    fake_worker_release(worker, 1);
    expect(pending, "1");
    result_forget(pending);
    ck_assert_ptr_eq(ctask_default(), ours);
}
END_TEST

START_TEST(a_default_that_was_set_is_given_up_in_the_child)
{
    ctask_set_default(client);
    pid_t pid = fork();
    if (pid == 0) {
        int n = 0;
        alarm(20);
        AsyncResult *mine = task_delay("echo", 3);
        must(result_get(mine, WAIT, &n) == CTASK_OK && n == 3);
        result_forget(mine);
        ctask_close(ctask_default());
        _exit(0);
    }
    ck_assert_int_eq(child_status(pid), 0);
    ck_assert_ptr_eq(ctask_default(), client);
    ctask_set_default(NULL);
}
END_TEST

START_TEST(what_the_parent_corked_is_not_sent_by_the_child)
{
    AsyncResult *r = task_delay("echo", 0);
    expect(r, "0");
    result_forget(r);
    size_t seen = fake_worker_seen(worker);
    ctask_cork(NULL);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(task_send("echo", i), CTASK_OK);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        must(ctask_flush(NULL, 1) == 0);
        ctask_close(ctask_default());
        _exit(0);
    }
    ck_assert_int_eq(child_status(pid), 0);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
    r = task_delay("echo", 9);
    expect(r, "9");
    result_forget(r);
    ck_assert_uint_eq(fake_worker_seen(worker), seen + 4);
}
END_TEST

START_TEST(where_a_program_has_closed_its_standard_descriptors_there_is_no_connection)
{
    pid_t pid = fork();
    if (pid == 0) {
        int n = 0;
        alarm(20);
        for (int fd = 0; fd <= STDERR_FILENO; fd++) close(fd);
        AsyncResult *r = task_delay("echo", 5);
        must(result_get(r, WAIT, &n) == CTASK_OK && n == 5);
        for (int fd = 0; fd <= STDERR_FILENO; fd++) must(fcntl(fd, F_GETFD) < 0);
        result_forget(r);
        ctask_close(ctask_default());
        _exit(0);
    }
    ck_assert_int_eq(child_status(pid), 0);
}
END_TEST

static void leave(int number)
{
    (void)number;
    if (ctask_flush(NULL, -1) != CTASK_EINVAL) _exit(1);
    exit(3);
}

/* Not what a handler should do, but what many do. */
START_TEST(a_signal_handler_may_end_the_program_while_it_waits)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, leave);
        alarm(1);
        AsyncResult *r = task_delay("drop");
        must(result_wait(r, WAIT) == CTASK_OK);
        _exit(0);
    }
    ck_assert_int_eq(child_status(pid), 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: fork");
    TCase *tests = tcase_create("fork");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_named_client_says_that_it_was_forked);
    tcase_add_test(tests, a_client_forked_while_another_thread_drives_it_does_not_block);
    tcase_add_test(tests, the_default_client_is_opened_anew_in_the_child);
    tcase_add_test(tests, a_default_that_was_set_is_given_up_in_the_child);
    tcase_add_test(tests, what_the_parent_corked_is_not_sent_by_the_child);
    tcase_add_test(tests,
                   where_a_program_has_closed_its_standard_descriptors_there_is_no_connection);
    tcase_add_test(tests, a_signal_handler_may_end_the_program_while_it_waits);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
