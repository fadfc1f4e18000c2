/* test_client_down.c - no broker, the wrong one, one that takes nothing, and the end of the
 * process: calls return in time and say why. CTASK_TEST_CTL is the broker's rabbitmqctl, for the
 * alarm. */
#include "support/fixture.h"
#include "support/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A URL whose port nobody listens at: it was free a moment ago. */
static const char *nowhere(void)
{
    static char text[64];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    snprintf(text, sizeof text, "amqp://127.0.0.1:%d", ntohs(at.sin_port));
    return text;
}

/* broker_url with another password or virtual host. */
static const char *other_url(const char *user_info, const char *vhost)
{
    static char text[1024];
    const char *host = strchr(broker_url, '@');
    ck_assert_ptr_nonnull(host);
    snprintf(text, sizeof text, "%.*s://%s%.*s/%s", (int)strcspn(broker_url, ":"), broker_url,
             user_info, (int)strcspn(host, "/"), host, vhost);
    return text;
}

/* ---- No broker ------------------------------------------------------------------------------- */

START_TEST(without_a_broker_open_fails_at_once_with_a_sentence)
{
    struct ctask_error e;
    double begun = now();
    ck_assert_ptr_null(ctask_open(nowhere(), &e));
    ck_assert_int_eq(e.code, CTASK_ECONN);
    ck_assert(e.flags & CTASK_RETRIABLE);
    ck_assert_msg(strstr(e.text, "127.0.0.1") != NULL, "%s", e.text);
    ck_assert_int_eq(ctask_error()->code, CTASK_ECONN);
    ck_assert(now() - begun < 2);
}
END_TEST

START_TEST(without_a_broker_sends_of_the_default_client_fail_at_once_with_a_sentence)
{
    setenv("CTASK_BROKER_URL", nowhere(), 1);
    double begun = now();
    for (int i = 0; i < 50; i++) {
        AsyncResult *r = task_delay("echo", 1);
        ck_assert_ptr_nonnull(r);
        ck_assert_int_eq(result_wait(r, -1), CTASK_ECONN);
        ck_assert_msg(strstr(result_error(r)->text, "127.0.0.1") != NULL, "%s",
                      result_error(r)->text);
        result_forget(r);
    }
    ck_assert_int_eq(task_send("echo", 1), CTASK_ECONN);
    ck_assert_int_eq(ctask_flush(NULL, -1), 0);
    double in[1] = {1};
    ck_assert_int_eq(task_map(-1, "echo", in, in, 1), CTASK_ECONN);
    ck_assert(now() - begun < 3);
    ctask_close(ctask_default());
}
END_TEST

START_TEST(a_url_that_is_none_fails_each_call_until_it_is_right)
{
    setenv("CTASK_BROKER_URL", "ampq://user:secret@host", 1);
    AsyncResult *r = task_delay("echo", 1);
    ck_assert_int_eq(result_wait(r, -1), CTASK_EINVAL);
    ck_assert_ptr_null(strstr(result_error(r)->text, "secret"));
    ck_assert_int_eq(ctask_flush(NULL, -1), CTASK_EINVAL);
    ck_assert_int_eq(ctask_fd(NULL), CTASK_EINVAL);
    ck_assert_ptr_nonnull(ctask_default());
    ctask_close(ctask_default());
    setenv("CTASK_BROKER_URL", broker_url, 1);
    AsyncResult *s = task_delay("echo", 2);
    expect(s, "2");
    result_forget(r);
    result_forget(s);
}
END_TEST

START_TEST(a_wrong_password_or_virtual_host_is_told_as_such)
{
    struct ctask_error e;
    ck_assert_ptr_null(ctask_open(other_url("guest:sesame", ""), &e));
    ck_assert_msg(e.code == CTASK_EAUTH, "%d: %s", e.code, e.text);
    ck_assert_ptr_null(strstr(e.text, "sesame"));
    ck_assert_uint_eq(e.flags & CTASK_RETRIABLE, 0);
    ck_assert_ptr_null(ctask_open(other_url("guest:guest", "no-such-vhost"), &e));
    ck_assert_msg(e.code == CTASK_EAUTH, "%d: %s", e.code, e.text);
}
END_TEST

START_TEST(a_broker_that_does_not_answer_is_given_up_after_publish_timeout)
{
    struct proxy *p = proxy_start(broker_url);
    proxy_freeze(p, true);
    setenv("CTASK_BROKER_URL", proxy_url(p), 1);
    ctask_set_publish_timeout(NULL, 0.3);
    double begun = now();
    AsyncResult *r = task_delay("echo", 1);
    ck_assert_int_eq(result_wait(r, -1), CTASK_ECONN);
    ck_assert(now() - begun > 0.25 && now() - begun < 3);
    result_forget(r);
    ctask_close(ctask_default());
    proxy_stop(p);
}
END_TEST

/* ---- An alarm -------------------------------------------------------------------------------- */

static void ctl(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "%s %s >/dev/null", getenv("CTASK_TEST_CTL"), arguments);
    ck_assert_int_eq(system(command), 0);
}

/* It may declare its reply queue and send, and would wait for ever. */
START_TEST(a_user_who_may_not_read_results_is_told_so)
{
    struct ctask_error e;
    (void)!system("$CTASK_TEST_CTL delete_user blind >/dev/null 2>&1");
    ctl("add_user blind blind");
    ctl("set_permissions blind '.*' '.*' '^$'");
    struct ctask_client *c = ctask_open(other_url("blind:blind", ""), &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    for (int i = 0; i < 2; i++) {
        AsyncResult *r = ctask_delay(c, "echo", i);
        ck_assert_int_eq(result_wait(r, WAIT), CTASK_EREFUSED);
        ck_assert_ptr_nonnull(strstr(result_error(r)->text, "ACCESS_REFUSED"));
        result_forget(r);
    }
    ctask_close(c);
    ctl("delete_user blind");
}
END_TEST

/* The alarm has ended r, and not a broker that had not answered in time. */
static bool is_blocked(const AsyncResult *r)
{
    return result_state(r) == CTASK_FAILURE && result_error(r)->code == CTASK_EBLOCKED &&
           strstr(result_error(r)->text, "takes no messages");
}

START_TEST(under_a_memory_alarm_a_send_gives_up_after_publish_timeout_and_later_recovers)
{
    ctl("set_vm_memory_high_watermark 0.00001");
    ctask_set_publish_timeout(NULL, 0.5);
    double begun = now();
    AsyncResult *first = NULL, *r = NULL;
    /* The broker blocks a connection when it publishes: the first send is what tells it. */
    for (int i = 0; i < 100; i++) {
        r = task_delay("echo", 0);
        if (is_blocked(r)) break;
        if (first || result_state(r) == CTASK_FAILURE)
            result_forget(r);
        else
            first = r;
        r = NULL;
        ck_assert_int_eq(ctask_poll(NULL, 0.1), CTASK_OK);
    }
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(r);
    ck_assert(now() - begun < 15);
    ck_assert_int_ge(ctask_flush(NULL, 0), 1);
    result_forget(r);
    ctl("set_vm_memory_high_watermark 0.4");
    expect(first, "0");
    result_forget(first);
    r = task_delay("echo", 7);
    expect(r, "7");
    result_forget(r);
}
END_TEST

START_TEST(a_full_queue_fails_exactly_the_handles_it_did_not_take)
{
    char full[80], policy[256];
    snprintf(full, sizeof full, "%s.full", queue);
    snprintf(policy, sizeof policy,
             "set_policy --apply-to queues full '^%s$' "
             "'{\"max-length\":1,\"overflow\":\"reject-publish\"}'",
             full);
    ctl(policy);
    AsyncResult *r[3];
    for (int i = 0; i < 3; i++) {
        r[i] = task_apply(TASK_OPTIONS(.queue = full), "echo", i);
        ck_assert_int_ge(ctask_flush(NULL, WAIT), 0);
    }
    ck_assert_int_eq(result_state(r[0]), CTASK_PENDING);
    for (int i = 1; i < 3; i++) {
        ck_assert_int_eq(result_wait(r[i], 0), CTASK_ENACK);
        ck_assert_ptr_nonnull(strstr(result_error(r[i])->text, result_id(r[i])));
    }
    ck_assert_int_eq(ctask_post(NULL, TASK_OPTIONS(.queue = full), CTASK_LIST("echo", 4)),
                     CTASK_OK);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), CTASK_ENACK); /* nobody has a handle for it */
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    struct fake_worker *w = fake_worker_start(broker_url, full);
    expect(r[0], "0");
    fake_worker_stop(w);
    for (int i = 0; i < 3; i++) result_forget(r[i]);
    ctl("clear_policy full");
}
END_TEST

/* ---- The end of the process ------------------------------------------------------------------ */

/* Runs this program again as `mode`; what it wrote to stderr. It must exit with 0. */
static char *run_again(const char *mode)
{
    extern char **environ;
    static char text[4096];
    int out[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    ck_assert_int_eq(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    char *argv[] = {(char *)"again", (char *)mode, NULL};
    ck_assert_int_eq(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    close(out[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(out[0], text + n, sizeof text - 1 - n)) > 0) n += (size_t)got;
    text[n] = 0;
    close(out[0]);
    posix_spawn_file_actions_destroy(&actions);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, text);
    return text;
}

static int send_three_and_exit(double timeout)
{
    ctask_set_publish_timeout(NULL, timeout);
    ctask_cork(NULL);
    for (int i = 0; i < 3; i++)
        if (task_send("echo", i) != CTASK_OK) return 1;
    exit(0);
}

START_TEST(what_was_sent_leaves_before_the_process_exits)
{
    ck_assert_str_eq(run_again("exit"), "");
    AsyncResult *r = task_delay("echo", 1);
    expect(r, "1"); /* behind the others in the queue */
    result_forget(r);
    ck_assert_uint_eq(fake_worker_seen(worker), 4);
}
END_TEST

START_TEST(a_process_that_leaves_tasks_behind_says_how_many)
{
    double begun = now();
    char *said = run_again("exit-frozen");
    ck_assert(now() - begun < 10);
    ck_assert_str_eq(said, "ctask: at exit 3 tasks could not be handed over to the broker\n");
}
END_TEST

/* The child makes its own proxy, so that it can freeze it between two calls. */
static int freeze_and_exit(void)
{
    struct proxy *p = proxy_start(getenv("CTASK_BROKER_URL"));
    setenv("CTASK_BROKER_URL", proxy_url(p), 1);
    AsyncResult *r = task_delay("echo", 1);
    if (result_wait(r, WAIT) != CTASK_OK) return 2;
    result_forget(r);
    if (ctask_flush(NULL, WAIT) != 0) return 3;
    proxy_freeze(p, true);
    return send_three_and_exit(0.3);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "exit") == 0) return send_three_and_exit(5);
    if (argc == 2 && strcmp(argv[1], "exit-frozen") == 0) return freeze_and_exit();
    Suite *suite = suite_create("client: down");
    TCase *tests = tcase_create("down");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, without_a_broker_open_fails_at_once_with_a_sentence);
    tcase_add_test(tests,
                   without_a_broker_sends_of_the_default_client_fail_at_once_with_a_sentence);
    tcase_add_test(tests, a_url_that_is_none_fails_each_call_until_it_is_right);
    tcase_add_test(tests, a_wrong_password_or_virtual_host_is_told_as_such);
    tcase_add_test(tests, a_broker_that_does_not_answer_is_given_up_after_publish_timeout);
    tcase_add_test(tests, what_was_sent_leaves_before_the_process_exits);
    tcase_add_test(tests, a_process_that_leaves_tasks_behind_says_how_many);
    if (getenv("CTASK_TEST_CTL")) {
        tcase_add_test(tests, a_user_who_may_not_read_results_is_told_so);
        tcase_add_test(tests, a_full_queue_fails_exactly_the_handles_it_did_not_take);
        tcase_add_test(
            tests, under_a_memory_alarm_a_send_gives_up_after_publish_timeout_and_later_recovers);
    } else {
        puts("without alarms, policies and users: CTASK_TEST_CTL is not set");
    }
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
