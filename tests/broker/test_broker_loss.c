/* test_broker_loss.c - what is left when the network, the broker or its memory fails: nothing is
 * lost, what may have happened twice says so, and no call waits. One case closes all connections
 * of the node (CTASK_TEST_CTL), so this runs alone. */
#include "support/peer.h"
#include "support/proxy.h"

#include "base/clock.h"
#include "transport/session.h"

#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *url;
static char queue[64];
static struct proxy *proxy;
static struct peer *p;     /* through the proxy */
static struct peer *other; /* directly */

static void setup(void)
{
    peer_queue_name(queue);
    proxy = proxy_start(url);
    p = peer_new(proxy_url(proxy), NULL);
    other = peer_new(url, NULL);
}

static void teardown(void)
{
    broker_delete_queue(other->b, queue);
    broker_flush(other->b);
    peer_free(other);
    proxy_freeze(proxy, false);
    peer_free(p);
    proxy_stop(proxy);
}

static void publish_all(int from, int to)
{
    for (int i = from; i < to;) {
        int rc = peer_publish(p, queue, i);
        ck_assert(rc == CTASK_OK || rc == CTASK_EAGAIN);
        if (rc == CTASK_OK) i++;
        if (rc == CTASK_EAGAIN) peer_turn(p, 1000);
    }
}

START_TEST(a_cut_connection_is_made_again_and_all_is_as_before)
{
    peer_ready(p, queue);
    broker_consume(p->b, queue, 10);
    peer_wait(p, BROKER_CONSUMING, 1);
    proxy_cut(proxy);
    peer_wait(p, BROKER_DOWN, 1);
    ck_assert_int_eq(p->last[BROKER_DOWN].error.code, CTASK_ECONN);
    peer_wait(p, BROKER_UP, 2);
    peer_wait(p, BROKER_QUEUE, 2);
    peer_wait(p, BROKER_CONSUMING, 2);
    peer_publish(p, queue, 0);
    peer_wait_messages(p, 1);
}
END_TEST

START_TEST(a_connection_that_the_broker_closes_says_why)
{
    peer_wait(p, BROKER_UP, 1);
    if (!peer_ctl("close_all_connections 'because of the test'")) return;
    peer_wait(p, BROKER_DOWN, 1);
    ck_assert_ptr_nonnull(strstr(p->last[BROKER_DOWN].error.text, "CONNECTION_FORCED"));
    ck_assert_ptr_nonnull(strstr(p->last[BROKER_DOWN].error.text, "because of the test"));
    peer_wait(p, BROKER_UP, 2);
}
END_TEST

START_TEST(unconfirmed_messages_are_sent_again_marked_when_they_may_have_arrived)
{
    enum { N = 100 };
    unsigned copies[N] = {0}, unmarked[N] = {0};
    bool again;
    peer_ready(p, queue);
    peer_publish(p, queue, 0);
    peer_wait_outcomes(p, 1); /* the channel is open, all is quiet */
    proxy_freeze(proxy, true);
    publish_all(1, N);
    while (!broker_flush(p->b)) peer_turn(p, 10);
    peer_ready(other, queue);
    broker_consume(other->b, queue, 1000);
    peer_wait_messages(other, N); /* all arrived, no confirm did */
    ck_assert_uint_eq(p->outcomes, 1);
    proxy_cut(proxy);
    proxy_freeze(proxy, false);
    peer_wait_outcomes(p, N);
    peer_wait_messages(other, N + N - 1);
    for (size_t i = 0; i < other->count; i++) {
        int id = peer_cookie(other->messages[i], &again);
        copies[id]++;
        unmarked[id] += !again;
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(p->outcome[i], CTASK_OK);
        ck_assert_uint_eq(copies[i], i ? 2 : 1);
        ck_assert_uint_eq(unmarked[i], 1);
    }
    ck_assert_uint_eq(p->outcomes_twice, 0);
}
END_TEST

enum { MANY = 4000 };
static unsigned copies[MANY + 1], unmarked[MANY + 1];

/* Counts and acks what `other` got, in order. */
static void collect(void)
{
    bool again;
    for (size_t i = 0; i < other->count; i++) {
        int id = peer_cookie(other->messages[i], &again);
        copies[id]++;
        unmarked[id] += !again;
        broker_ack(other->b, other->messages[i]->delivery);
    }
    while (other->count > 0) peer_drop(other, other->count - 1);
}

START_TEST(ten_cuts_in_the_middle_lose_nothing_and_leave_no_unmarked_copy)
{
    unsigned cuts = 0;
    peer_ready(other, queue);
    broker_consume(other->b, queue, 1000);
    for (unsigned i = 0; p->outcomes < MANY;) {
        bool room = i < MANY && i < p->outcomes + 300;
        if (room && peer_publish(p, queue, (int)i) == CTASK_OK)
            i++;
        else
            peer_turn(p, 20);
        if (broker_state(p->b) == BROKER_IS_DOWN) p->b->retry_at = 0; /* no time to lose */
        if (cuts < 10 && p->outcomes > cuts * (MANY / 11)) {
            proxy_cut(proxy);
            cuts++;
        }
        peer_turn(other, 0);
        collect();
    }
    ck_assert_uint_eq(cuts, 10);
    for (int i = 0; i < MANY; i++) ck_assert_int_eq(p->outcome[i], CTASK_OK);
    ck_assert_uint_eq(p->outcomes_twice, 0);
    peer_publish(p, queue, MANY); /* comes behind all the others */
    peer_wait_outcomes(p, MANY + 1);
    for (; copies[MANY] == 0; collect()) peer_wait_messages(other, 1);
    for (int i = 0; i < MANY; i++) {
        ck_assert_uint_ge(copies[i], 1);
        ck_assert_uint_le(unmarked[i], 1);
    }
}
END_TEST

START_TEST(twenty_megabytes_are_held_while_the_broker_is_away)
{
    enum { N = 200, SIZE = 100000 };
    char *body = calloc(1, SIZE);
    bool again;
    proxy_close(proxy, true);
    peer_wait(p, BROKER_DOWN, 1);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(peer_publish_body(p, queue, i, bytes_of(body, SIZE)), CTASK_OK);
    ck_assert_uint_eq(broker_unconfirmed(p->b), N);
    peer_ready(other, queue);
    proxy_close(proxy, false);
    peer_wait_outcomes(p, N);
    for (int i = 0; i < N; i++) ck_assert_int_eq(p->outcome[i], CTASK_OK);
    ck_assert_int_lt(p->worst_turn, CLOCK_SECOND);
    broker_consume(other->b, queue, 1000);
    peer_wait_messages(other, N);
    for (int i = 0; i < N; i++) { /* in order, and never sent before */
        ck_assert_int_eq(peer_cookie(other->messages[i], &again), i);
        ck_assert(!again);
        ck_assert_uint_eq(other->messages[i]->body.n, SIZE);
    }
    free(body);
}
END_TEST

START_TEST(a_full_window_is_said_and_never_waited_for)
{
    int rc = CTASK_OK, i = 0;
    proxy_close(proxy, true);
    peer_wait(p, BROKER_DOWN, 1);
    while (rc == CTASK_OK) rc = peer_publish(p, queue, i++);
    ck_assert_int_eq(rc, CTASK_EAGAIN);
    ck_assert_int_eq(i, FLIGHT + 1);
}
END_TEST

START_TEST(a_recalled_message_is_not_sent_when_the_broker_is_back)
{
    proxy_close(proxy, true);
    peer_wait(p, BROKER_DOWN, 1);
    for (int i = 0; i < 3; i++) peer_publish(p, queue, i);
    broker_recall(p->b, (void *)((uintptr_t)1 + 1));
    ck_assert_uint_eq(broker_unconfirmed(p->b), 2);
    peer_ready(other, queue);
    proxy_close(proxy, false);
    peer_wait_outcomes(p, 2);
    ck_assert_int_eq(p->outcome[1], PEER_NO_OUTCOME);
    ck_assert_uint_eq(broker_unconfirmed(p->b), 0);
}
END_TEST

START_TEST(a_silent_broker_is_noticed_within_two_heartbeats)
{
    peer_free(p);
    p = peer_new(proxy_url(proxy), &(struct broker_config){.heartbeat = 1});
    peer_wait(p, BROKER_UP, 1);
    proxy_freeze(proxy, true);
    int64_t begun = clock_now();
    peer_wait(p, BROKER_DOWN, 1);
    ck_assert_int_lt(clock_now() - begun, 3 * CLOCK_SECOND);
    ck_assert_ptr_nonnull(strstr(p->last[BROKER_DOWN].error.text, "has been silent for 2 s"));
    proxy_cut(proxy);
    proxy_freeze(proxy, false);
    peer_wait(p, BROKER_UP, 2);
}
END_TEST

START_TEST(heartbeats_keep_an_idle_connection)
{
    peer_free(p);
    p = peer_new(proxy_url(proxy), &(struct broker_config){.heartbeat = 1});
    peer_wait(p, BROKER_UP, 1);
    for (int64_t end = clock_now() + 4 * CLOCK_SECOND; clock_now() < end;) peer_turn(p, 4000);
    ck_assert_uint_eq(p->seen[BROKER_DOWN], 0);
    ck_assert_uint_eq(proxy_connections(proxy), 1);
}
END_TEST

START_TEST(acks_of_before_a_loss_settle_nothing_after_it)
{
    peer_ready(p, queue);
    for (int i = 0; i < 2; i++) peer_publish(p, queue, i);
    peer_wait_outcomes(p, 2);
    broker_consume(p->b, queue, 1);
    peer_wait_messages(p, 1);
    struct delivery old = p->messages[0]->delivery;
    proxy_cut(proxy);
    peer_wait(p, BROKER_DOWN, 1);
    broker_ack(p->b, old); /* down */
    peer_wait_messages(p, 2);
    ck_assert_uint_eq(p->messages[1]->delivery.tag, old.tag);
    broker_ack(p->b, old); /* up again: the same tag, another delivery */
    for (int i = 0; i < 5; i++) peer_turn(p, 20);
    ck_assert_uint_eq(p->count, 2); /* the window of one is still taken */
    broker_ack(p->b, p->messages[1]->delivery);
    peer_wait_messages(p, 3);
    ck_assert_uint_eq(p->seen[BROKER_STALE], 0);
}
END_TEST

START_TEST(a_broker_that_is_away_is_told_once_and_tried_until_it_answers)
{
    char at[1100];
    struct sockaddr_in free_port = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof free_port;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening */
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&free_port, n), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&free_port, &n), 0);
    snprintf(at, sizeof at, "amqp://guest:guest@127.0.0.1:%d/", ntohs(free_port.sin_port));
    struct peer *lonely = peer_new(at, NULL);
    while (lonely->b->failures < 4) peer_turn(lonely, 1000);
    ck_assert_uint_eq(lonely->seen[BROKER_DOWN], 1);
    peer_free(lonely);
    close(fd);
    proxy_close(proxy, true);
    unsigned before = proxy_connections(proxy);
    while (proxy_connections(proxy) < before + 3) peer_turn(p, 1000);
    proxy_close(proxy, false);
    peer_wait(p, BROKER_UP, 1);
}
END_TEST

int main(void)
{
    url = peer_broker();
    TCase *t = tcase_create("loss");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_cut_connection_is_made_again_and_all_is_as_before);
    tcase_add_test(t, a_connection_that_the_broker_closes_says_why);
    tcase_add_test(t, unconfirmed_messages_are_sent_again_marked_when_they_may_have_arrived);
    tcase_add_test(t, ten_cuts_in_the_middle_lose_nothing_and_leave_no_unmarked_copy);
    tcase_add_test(t, twenty_megabytes_are_held_while_the_broker_is_away);
    tcase_add_test(t, a_full_window_is_said_and_never_waited_for);
    tcase_add_test(t, a_recalled_message_is_not_sent_when_the_broker_is_back);
    tcase_add_test(t, a_silent_broker_is_noticed_within_two_heartbeats);
    tcase_add_test(t, heartbeats_keep_an_idle_connection);
    tcase_add_test(t, acks_of_before_a_loss_settle_nothing_after_it);
    tcase_add_test(t, a_broker_that_is_away_is_told_once_and_tried_until_it_answers);
    Suite *s = suite_create("loss");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
