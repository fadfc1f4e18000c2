/* test_broker.c - one connection against a real broker while nothing goes wrong that the broker
 * itself does not say: messages out and in, queues, windows, refusals in words. */
#include "support/peer.h"

#include "base/clock.h"
#include "transport/session.h"

#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *url;
static char queue[64];
static struct peer *p;

static void setup(void)
{
    peer_queue_name(queue);
    p = peer_new(url, NULL);
}

static void teardown(void)
{
    broker_delete_queue(p->b, queue);
    broker_flush(p->b);
    peer_free(p);
}

/* ---- Messages -------------------------------------------------------------------------------- */

START_TEST(ten_thousand_are_confirmed_consumed_and_acked)
{
    enum { N = 10000 };
    peer_ready(p, queue);
    for (int i = 0; i < N;) {
        int rc = peer_publish(p, queue, i);
        if (rc == CTASK_OK) i++;
        if (rc == CTASK_EAGAIN) peer_turn(p, 1000);
        ck_assert(rc == CTASK_OK || rc == CTASK_EAGAIN);
    }
    peer_wait_outcomes(p, N);
    for (int i = 0; i < N; i++) ck_assert_int_eq(p->outcome[i], CTASK_OK);
    ck_assert_uint_eq(p->outcomes_twice, 0);
    ck_assert_uint_eq(broker_unconfirmed(p->b), 0);
    p->ack = true;
    ck_assert_int_eq(broker_consume(p->b, queue, 200), CTASK_OK);
    peer_wait_taken(p, N);
    broker_close(p->b); /* closed in passing, the acks on their way could be lost */
    peer_wait(p, BROKER_DOWN, 1);
    peer_free(p);
    p = peer_new(url, NULL); /* what was not acked would be there again */
    peer_ready(p, queue);
    ck_assert_uint_eq(p->last[BROKER_QUEUE].messages, 0);
}
END_TEST

START_TEST(a_message_arrives_as_it_was_sent)
{
    bool again;
    peer_ready(p, queue);
    ck_assert_int_eq(peer_publish_body(p, queue, 7, bytes_text("hello")), CTASK_OK);
    broker_consume(p->b, queue, 1);
    peer_wait_messages(p, 1);
    struct envelope *m = p->messages[0];
    ck_assert(bytes_is(m->body, "hello"));
    ck_assert_str_eq(m->queue, queue);
    ck_assert_str_eq(m->routing_key, queue);
    ck_assert_str_eq(m->exchange, "");
    ck_assert(!m->redelivered);
    ck_assert_int_eq(peer_cookie(m, &again), 7);
    ck_assert(!again);
    broker_give_back(p->b, m->delivery);
    peer_wait_messages(p, 2);
    ck_assert(p->messages[1]->redelivered);
}
END_TEST

START_TEST(what_is_held_leaves_when_it_may)
{
    peer_ready(p, queue);
    broker_hold(p->b, CLOCK_NEVER);
    peer_publish(p, queue, 0);
    broker_consume(p->b, queue, 1); /* all else goes on */
    peer_wait(p, BROKER_CONSUMING, 1);
    ck_assert_uint_eq(broker_unconfirmed(p->b), 1);
    ck_assert_uint_eq(p->count, 0);
    broker_hold(p->b, clock_in(0.01));
    peer_wait_outcomes(p, 1);
    peer_wait_messages(p, 1);
}
END_TEST

START_TEST(what_is_held_leaves_before_an_orderly_end)
{
    peer_ready(p, queue);
    broker_hold(p->b, CLOCK_NEVER);
    for (int i = 0; i < 3; i++) peer_publish(p, queue, i);
    broker_close(p->b);
    peer_wait(p, BROKER_DOWN, 1);
    peer_free(p);
    p = peer_new(url, NULL);
    peer_ready(p, queue);
    broker_consume(p->b, queue, 3);
    peer_wait_messages(p, 3);
}
END_TEST

START_TEST(more_than_may_fly_leaves_before_an_orderly_end)
{
    peer_free(p);
    p = peer_new(url, &(struct broker_config){.heartbeat = 10, .window = PEER_MESSAGES});
    peer_ready(p, queue);
    size_t many = p->b->out.flying_max + 50;
    broker_hold(p->b, CLOCK_NEVER); /* so that none of them has left */
    for (size_t i = 0; i < many; i++) ck_assert_int_eq(peer_publish(p, queue, (int)i), CTASK_OK);
    broker_close(p->b);
    peer_wait(p, BROKER_DOWN, 1);
    peer_free(p);
    p = peer_new(url, NULL);
    peer_ready(p, queue);
    p->ack = true;
    broker_consume(p->b, queue, 1000);
    peer_wait_taken(p, many);
}
END_TEST

START_TEST(an_unroutable_message_lands_on_its_cookie)
{
    peer_ready(p, queue);
    for (int i = 0; i < 9; i++) peer_publish(p, i % 3 == 1 ? "test.nowhere" : queue, i);
    peer_wait_outcomes(p, 9);
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(p->outcome[i], i % 3 == 1 ? CTASK_EROUTE : CTASK_OK);
    ck_assert_ptr_nonnull(strstr(p->why, "no queue takes messages for \"test.nowhere\""));
}
END_TEST

START_TEST(a_message_to_a_missing_exchange_is_refused_and_its_neighbours_are_not)
{
    peer_ready(p, queue);
    for (int i = 0; i < 5; i++) peer_publish(p, queue, i);
    struct publish bad = {.exchange = "test.no.exchange",
                          .routing_key = "k",
                          .props = bytes_of("\0\0", 2),
                          .spool = -1,
                          .cookie = (void *)((uintptr_t)5 + 1)};
    ck_assert_int_eq(broker_publish(p->b, &bad), CTASK_OK);
    for (int i = 6; i < 10; i++) peer_publish(p, queue, i);
    peer_wait_outcomes(p, 10);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(p->outcome[i], i == 5 ? CTASK_EREFUSED : CTASK_OK);
    ck_assert_ptr_nonnull(strstr(p->why, "no exchange 'test.no.exchange'"));
    ck_assert_uint_eq(p->seen[BROKER_DOWN], 0);
}
END_TEST

START_TEST(a_large_message_goes_through_in_pieces)
{
    size_t n = 3 * 131064; /* whole frames exactly: no tail is held back */
    uint8_t *large = malloc(n);
    for (size_t i = 0; i < n; i++) large[i] = (uint8_t)(i >> 5);
    peer_ready(p, queue);
    broker_consume(p->b, queue, 10);
    for (int i = 0; i < 3; i++) peer_publish_body(p, queue, i, bytes_of(large, n));
    peer_wait_messages(p, 3);
    for (int i = 0; i < 3; i++) ck_assert(bytes_equal(p->messages[i]->body, bytes_of(large, n)));
    free(large);
}
END_TEST

START_TEST(a_body_over_the_limit_is_spooled_one_at_a_time)
{
    char text[5000], back[5000];
    memset(text, 's', sizeof text);
    peer_free(p);
    p = peer_new(url, &(struct broker_config){.body_max = 1000});
    peer_ready(p, queue);
    for (int i = 0; i < 2; i++) peer_publish_body(p, queue, i, bytes_of(text, sizeof text));
    broker_consume(p->b, queue, 10);
    peer_wait_messages(p, 2);
    ck_assert_int_ge(p->messages[0]->spool, 0);
    ck_assert_int_eq(pread(p->messages[0]->spool, back, sizeof back, 0), sizeof back);
    ck_assert_mem_eq(text, back, sizeof back);
    ck_assert_int_eq(p->messages[1]->spool, -1); /* the first is not settled */
    ck_assert_uint_eq(p->messages[1]->body_size, sizeof text);
    broker_ack(p->b, p->messages[0]->delivery);
    broker_give_back(p->b, p->messages[1]->delivery);
    peer_wait_messages(p, 3);
    ck_assert_int_ge(p->messages[2]->spool, 0);
    struct publish copy = {.exchange = "", /* and published from there */
                           .routing_key = queue,
                           .props = p->messages[2]->props,
                           .spool = p->messages[2]->spool,
                           .spool_size = sizeof text,
                           .cookie = (void *)((uintptr_t)9 + 1)};
    ck_assert_int_eq(broker_publish(p->b, &copy), CTASK_OK);
    peer_wait_outcomes(p, 3);
    ck_assert_int_eq(p->outcome[9], CTASK_OK);
}
END_TEST

/* ---- Queues ---------------------------------------------------------------------------------- */

START_TEST(a_missing_queue_is_declared_and_an_existing_one_used)
{
    peer_ready(p, queue);
    ck_assert(p->last[BROKER_QUEUE].created);
    struct peer *other = peer_new(url, NULL);
    peer_ready(other, queue);
    ck_assert(!other->last[BROKER_QUEUE].created);
    peer_free(other);
}
END_TEST

START_TEST(a_message_waits_until_its_queue_is_there)
{
    struct publish first = {.exchange = "",
                            .routing_key = queue,
                            .props = bytes_of("\0\0", 2),
                            .spool = -1,
                            .ensure = queue,
                            .cookie = (void *)(uintptr_t)1};
    ck_assert_int_eq(broker_publish(p->b, &first), CTASK_OK);
    peer_wait_outcomes(p, 1);
    ck_assert_int_eq(p->outcome[0], CTASK_OK);
    struct peer *other = peer_new(url, NULL); /* deleted behind our back: looked at again */
    peer_ready(other, queue);
    broker_delete_queue(other->b, queue);
    peer_turn(other, 0);
    broker_close(other->b);
    peer_wait(other, BROKER_DOWN, 1);
    peer_free(other);
    first.cookie = (void *)(uintptr_t)2;
    ck_assert_int_eq(broker_publish(p->b, &first), CTASK_OK);
    peer_wait_outcomes(p, 2);
    ck_assert_int_eq(p->outcome[1], CTASK_OK);
}
END_TEST

START_TEST(a_refused_queue_fails_only_its_own_messages)
{
    struct publish reserved = {.exchange = "",
                               .routing_key = "amq.test.refused",
                               .props = bytes_of("\0\0", 2),
                               .spool = -1,
                               .ensure = "amq.test.refused",
                               .cookie = (void *)(uintptr_t)1};
    ck_assert_int_eq(broker_publish(p->b, &reserved), CTASK_OK);
    peer_ready(p, queue);
    peer_publish(p, queue, 1);
    peer_wait_outcomes(p, 2);
    ck_assert_int_eq(p->outcome[0], CTASK_EREFUSED);
    ck_assert_ptr_nonnull(strstr(p->why, "ACCESS_REFUSED"));
    ck_assert_int_eq(p->outcome[1], CTASK_OK);
}
END_TEST

START_TEST(a_queue_deleted_while_consumed_is_declared_and_consumed_again)
{
    peer_ready(p, queue);
    broker_consume(p->b, queue, 10);
    peer_wait(p, BROKER_CONSUMING, 1);
    struct peer *other = peer_new(url, NULL);
    peer_ready(other, queue);
    broker_delete_queue(other->b, queue);
    peer_turn(other, 0);
    peer_wait(p, BROKER_CANCELLED, 1);
    peer_free(other);
    peer_wait(p, BROKER_CONSUMING, 2);
    ck_assert(p->last[BROKER_QUEUE].created);
    peer_publish(p, queue, 0);
    peer_wait_messages(p, 1);
}
END_TEST

START_TEST(a_window_may_change_and_stop_while_messages_come)
{
    peer_ready(p, queue);
    for (int i = 0; i < 20; i++) peer_publish(p, queue, i);
    peer_wait_outcomes(p, 20);
    broker_consume(p->b, queue, 1);
    peer_wait_messages(p, 1);
    broker_consume(p->b, queue, 5); /* a further one */
    peer_wait_messages(p, 6);
    ck_assert_uint_ne(p->messages[0]->window, p->messages[5]->window);
    ck_assert_uint_eq(p->seen[BROKER_CANCELLED], 0);
    broker_cancel(p->b, queue, 0, true);
    for (size_t i = 0; i < 6; i++) broker_give_back(p->b, p->messages[i]->delivery);
    peer_publish(p, queue, 20);
    peer_wait_outcomes(p, 21);
    struct peer *other = peer_new(url, NULL);
    peer_ready(other, queue);
    other->ack = true;
    broker_consume(other->b, queue, 100);
    peer_wait_taken(other, 21);
    peer_free(other);
}
END_TEST

START_TEST(a_consuming_channel_that_is_closed_resumes_and_its_deliveries_are_stale)
{
    peer_ready(p, queue);
    broker_consume(p->b, queue, 10);
    peer_publish(p, queue, 0);
    peer_wait_messages(p, 1);
    struct delivery old = p->messages[0]->delivery;
    /* The broker answers an ack of what it never sent by closing the channel. */
    ck_assert_ptr_null(settle_add(&route_intake(p->b, old)->settle, 999));
    broker_ack(p->b, (struct delivery){999, old.generation});
    peer_wait(p, BROKER_STALE, 1);
    ck_assert_ptr_nonnull(strstr(p->last[BROKER_STALE].error.text, "unknown delivery tag 999"));
    peer_wait_messages(p, 2);
    ck_assert(p->messages[1]->redelivered);
    ck_assert_uint_gt(p->messages[1]->delivery.generation, old.generation);
    ck_assert_uint_eq(p->messages[1]->delivery.tag, old.tag);
    broker_ack(p->b, old); /* names the other message now: must do nothing */
    broker_give_back(p->b, p->messages[1]->delivery);
    peer_wait_messages(p, 3);
    ck_assert_uint_eq(p->seen[BROKER_DOWN], 0);
}
END_TEST

START_TEST(a_close_leaves_nothing_behind)
{
    peer_ready(p, queue);
    for (int i = 0; i < 100; i++) peer_publish(p, queue, i);
    broker_close(p->b);
    peer_wait(p, BROKER_DOWN, 1);
    ck_assert_int_eq(p->last[BROKER_DOWN].error.code, CTASK_ECLOSED);
    ck_assert_int_eq(peer_publish(p, queue, 100), CTASK_ECLOSED);
    struct pollfd fd;
    int64_t wake = CLOCK_NEVER;
    broker_poll(p->b, &fd, &wake);
    ck_assert(fd.fd == -1 && wake == CLOCK_NEVER);
    peer_free(p);
    p = peer_new(url, NULL);
    peer_ready(p, queue);
    p->ack = true;
    broker_consume(p->b, queue, 100);
    peer_wait_taken(p, 100);
}
END_TEST

/* ---- Refusals, in words ---------------------------------------------------------------------- */

static void refused(const char *at, int code, const char *words)
{
    peer_free(p);
    p = peer_new(at, NULL);
    peer_wait(p, BROKER_DOWN, 1);
    const struct ctask_error *e = broker_error(p->b);
    ck_assert_msg(strstr(e->text, words) != NULL, "'%s' is not in: %s", words, e->text);
    ck_assert_int_eq(e->code, code);
    ck_assert_str_eq(p->last[BROKER_DOWN].error.text, e->text);
    ck_assert_int_eq(broker_state(p->b), BROKER_IS_DOWN);
}

static const char *with(const char *user, const char *password, unsigned port, const char *vhost)
{
    static char text[1024];
    snprintf(text, sizeof text, "amqp%s://%s:%s@%s:%u/%s", p->url.tls && !port ? "s" : "", user,
             password, p->url.host, port ? port : p->url.port, vhost);
    return text;
}

START_TEST(a_wrong_password_is_said)
{
    refused(with(p->url.user, "not-it", 0, ""), CTASK_EAUTH, "wrong user name or password");
}
END_TEST

START_TEST(a_wrong_vhost_is_said)
{
    refused(with(p->url.user, p->url.password, 0, "no-such-place"), CTASK_EAUTH,
            "has no virtual host \"no-such-place\"");
}
END_TEST

/* A port of this machine; whoever connects gets `answer` and the end. */
static int listener(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

START_TEST(a_port_where_nothing_listens_is_said)
{
    unsigned port;
    int fd = listener(&port); /* bound, not listening */
    refused(with("guest", "guest", port, ""), CTASK_ECONN, "Connection refused (is RabbitMQ");
    close(fd);
}
END_TEST

static void answered(const char *answer, const char *words)
{
    unsigned port;
    int fd = listener(&port);
    ck_assert_int_eq(listen(fd, 4), 0);
    peer_free(p);
    p = peer_new(url, NULL);
    const char *at = with("guest", "guest", port, "");
    peer_free(p);
    p = peer_new(at, NULL);
    peer_turn(p, 100);
    int got = accept(fd, NULL, NULL);
    peer_turn(p, 100);
    char greeting[8];
    ck_assert_int_eq(recv(got, greeting, 8, MSG_WAITALL), 8);
    ck_assert_int_eq(send(got, answer, strlen(answer), MSG_NOSIGNAL), (long)strlen(answer));
    close(got);
    peer_wait(p, BROKER_DOWN, 1);
    const struct ctask_error *e = broker_error(p->b);
    ck_assert_msg(strstr(e->text, words) != NULL, "'%s' is not in: %s", words, e->text);
    close(fd);
}

START_TEST(another_server_is_said)
{
    answered("HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak AMQP 0-9-1");
}
END_TEST

START_TEST(a_server_that_hangs_up_is_said)
{
    answered("", "closed the connection before it said anything");
}
END_TEST

/* ---- Names ----------------------------------------------------------------------------------- */

static unsigned asked_times;

static int resolve(void *ctx, const char *host, uint16_t port, struct addrs *out,
                   struct ctask_error *e)
{
    (void)e;
    const struct url *real = ctx;
    ck_assert_str_eq(host, "somewhere.example");
    if (++asked_times < 3) return CTASK_EAGAIN;
    ck_assert(addrs_literal(real->host, port, out));
    return CTASK_OK;
}

START_TEST(a_name_that_is_still_being_resolved_is_asked_for_again)
{
    struct url real;
    char at[600];
    ck_assert_int_eq(url_parse(peer_plain(), &real, NULL), CTASK_OK);
    snprintf(at, sizeof at, "amqp://%s:%s@somewhere.example:%u/", real.user, real.password,
             real.port);
    peer_free(p);
    p = peer_new(at, &(struct broker_config){.resolve = resolve, .ctx = &real});
    peer_turn(p, 0);
    ck_assert_int_eq(broker_state(p->b), BROKER_IS_CONNECTING);
    struct pollfd fd;
    int64_t wake = CLOCK_NEVER;
    broker_poll(p->b, &fd, &wake);
    /* Each turn asks; a look-up that takes too long is an answer too. */
    ck_assert(fd.fd == -1 && wake > clock_now() + 5 * CLOCK_SECOND && wake != CLOCK_NEVER);
    peer_wait(p, BROKER_UP, 1);
}
END_TEST

int main(void)
{
    url = peer_broker();
    TCase *t = tcase_create("broker");
    tcase_set_timeout(t, 90);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, ten_thousand_are_confirmed_consumed_and_acked);
    tcase_add_test(t, a_message_arrives_as_it_was_sent);
    tcase_add_test(t, what_is_held_leaves_when_it_may);
    tcase_add_test(t, what_is_held_leaves_before_an_orderly_end);
    tcase_add_test(t, more_than_may_fly_leaves_before_an_orderly_end);
    tcase_add_test(t, an_unroutable_message_lands_on_its_cookie);
    tcase_add_test(t, a_message_to_a_missing_exchange_is_refused_and_its_neighbours_are_not);
    tcase_add_test(t, a_large_message_goes_through_in_pieces);
    tcase_add_test(t, a_body_over_the_limit_is_spooled_one_at_a_time);
    tcase_add_test(t, a_missing_queue_is_declared_and_an_existing_one_used);
    tcase_add_test(t, a_message_waits_until_its_queue_is_there);
    tcase_add_test(t, a_refused_queue_fails_only_its_own_messages);
    tcase_add_test(t, a_queue_deleted_while_consumed_is_declared_and_consumed_again);
    tcase_add_test(t, a_window_may_change_and_stop_while_messages_come);
    tcase_add_test(t, a_consuming_channel_that_is_closed_resumes_and_its_deliveries_are_stale);
    tcase_add_test(t, a_close_leaves_nothing_behind);
    tcase_add_test(t, a_wrong_password_is_said);
    tcase_add_test(t, a_wrong_vhost_is_said);
    tcase_add_test(t, a_port_where_nothing_listens_is_said);
    tcase_add_test(t, another_server_is_said);
    tcase_add_test(t, a_server_that_hangs_up_is_said);
    tcase_add_test(t, a_name_that_is_still_being_resolved_is_asked_for_again);
    Suite *s = suite_create("broker");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
