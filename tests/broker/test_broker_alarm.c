/* test_broker_alarm.c - a broker that is short of memory stops reading from whoever publishes. Our
 * connection says so and returns; librabbitmq's own publish call does not, which is why the bytes
 * are moved here and not there (rabbitmq-c#519). Raises the alarm by CTASK_TEST_CTL. */
#include "support/librabbitmq.h"
#include "support/peer.h"

#include "base/clock.h"
#include "transport/session.h"

#if __has_include(<rabbitmq-c/tcp_socket.h>)
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp_tcp_socket.h>
#endif

#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALARM_ON "set_vm_memory_high_watermark 0.0000001"
#define ALARM_OFF "set_vm_memory_high_watermark 0.4"
#define PUBLISHES FLIGHT /* as many as are accepted */
#define BODY 160000

static const char *url;
static char queue[64];
static struct peer *in, *out;

static void setup(void)
{
    peer_queue_name(queue);
    in = peer_new(url, NULL);
    out = peer_new(url, NULL);
}

static void teardown(void)
{
    broker_delete_queue(in->b, queue);
    broker_flush(in->b);
    peer_free(in);
    peer_free(out);
}

/* Not in the test's own process, so that it happens whatever became of the test. */
static void lift(void)
{
    peer_ctl(ALARM_OFF);
}

START_TEST(publishes_are_held_and_said_to_be_while_acks_keep_flowing)
{
    enum { N = 50 };
    peer_ready(out, queue);
    for (int i = 0; i < N; i++) peer_publish(out, queue, i);
    peer_wait_outcomes(out, N);
    peer_ready(in, queue);
    ck_assert(peer_ctl(ALARM_ON));
    int64_t begun = clock_now();
    for (int i = N; i < 2 * N; i++) ck_assert_int_eq(peer_publish(out, queue, i), CTASK_OK);
    peer_wait(out, BROKER_BLOCKED, 1);
    ck_assert(broker_blocked(out->b));
    ck_assert_ptr_nonnull(strstr(out->last[BROKER_BLOCKED].error.text, "memory"));
    in->ack = true;
    broker_consume(in->b, queue, 1); /* one at a time: each needs the ack before it */
    peer_wait_taken(in, N);
    ck_assert_int_lt(clock_now() - begun, 20 * CLOCK_SECOND);
    ck_assert(broker_blocked(out->b));
    lift();
    peer_wait(out, BROKER_UNBLOCKED, 1);
    peer_wait_outcomes(out, 2 * N);
    peer_wait_taken(in, 2 * N);
    for (int i = 0; i < 2 * N; i++) ck_assert_int_eq(out->outcome[i], CTASK_OK);
    ck_assert_uint_eq(out->seen[BROKER_DOWN], 0);
}
END_TEST

/* ---- The library's own I/O ------------------------------------------------------------------- */

static amqp_connection_state_t library_login(const struct url *u)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    bool ok = socket && amqp_socket_open(socket, u->host, u->port) == AMQP_STATUS_OK &&
              amqp_login(c, u->vhost, 0, 131072, 10, AMQP_SASL_METHOD_PLAIN, u->user, u->password)
                      .reply_type == AMQP_RESPONSE_NORMAL &&
              amqp_channel_open(c, 1);
    return ok ? c : NULL;
}

/* A process that publishes by the library and counts what returned; it ends when all did. */
static pid_t library_publish(const struct url *u, atomic_uint *returned)
{
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0) return pid;
    static char body[BODY];
    amqp_connection_state_t c = library_login(u);
    for (int i = 0; c && i < PUBLISHES; i++) {
        amqp_bytes_t bytes = {sizeof body, body};
        if (amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0, NULL,
                               bytes) != AMQP_STATUS_OK)
            _exit(2);
        atomic_fetch_add(returned, 1);
    }
    _exit(c ? 0 : 1);
}

START_TEST(the_librarys_publish_blocks_where_ours_returns)
{
    int status;
    atomic_uint *returned =
        mmap(NULL, sizeof *returned, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(returned, MAP_FAILED);
    static char body[BODY];
    peer_ready(out, queue);
    peer_ready(in, queue);
    ck_assert(peer_ctl(ALARM_ON));
    struct url plain;
    ck_assert_int_eq(url_parse(peer_plain(), &plain, NULL), CTASK_OK);
    pid_t pid = library_publish(&plain, returned);
    unsigned stuck_at;
    do { /* until a second passes without a call of it returning */
        stuck_at = atomic_load(returned);
        for (int64_t end = clock_now() + CLOCK_SECOND; clock_now() < end;) peer_turn(in, 1000);
    } while (stuck_at == 0 || stuck_at != atomic_load(returned));
    ck_assert_uint_lt(stuck_at, PUBLISHES);
    for (int i = 0; i < PUBLISHES; i++) {
        int64_t begun = clock_now();
        int rc = peer_publish_body(out, queue, i, bytes_of(body, BODY));
        peer_turn(out, 0);
        ck_assert(rc == CTASK_OK);
        ck_assert_int_lt(clock_now() - begun, CLOCK_SECOND);
    }
    peer_wait(out, BROKER_BLOCKED, 1);
    ck_assert_int_lt(out->worst_turn, CLOCK_SECOND);
    ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
    ck_assert_uint_eq(atomic_load(returned), stuck_at);
    lift();
    while (waitpid(pid, &status, WNOHANG) == 0) {
        peer_turn(in, 10);
        peer_turn(out, 0);
    }
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    peer_wait_outcomes(out, PUBLISHES);
    munmap(returned, sizeof *returned);
}
END_TEST

int main(void)
{
    url = peer_broker();
    if (!peer_ctl("status")) return 77;
    TCase *t = tcase_create("alarm");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, NULL, lift);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, publishes_are_held_and_said_to_be_while_acks_keep_flowing);
    tcase_add_test(t, the_librarys_publish_blocks_where_ours_returns);
    Suite *s = suite_create("alarm");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
