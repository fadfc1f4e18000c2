/* test_addresses.c - ways to a broker: a name with several addresses of which some are dead, and
 * two hundred connections that are lost at one moment. */
#include "base/clock.h"
#include "support/peer.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLEET 200
#define ROUND (50 * CLOCK_MS)
#define ROUNDS 20

static const char *url;

/* A socket that listens on a port of 127.0.0.1 that *at then names. */
static int listener(struct sockaddr_in *at, int backlog)
{
    socklen_t n = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)at, n) == 0 && listen(fd, backlog) == 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)at, &n), 0);
    return fd;
}

/* ---- Several addresses ----------------------------------------------------------------------- */

struct road {
    struct url real;
    struct sockaddr_in dead; /* where nobody listens */
};

static int resolve(void *ctx, const char *host, uint16_t port, struct addrs *out,
                   struct ctask_error *e)
{
    struct road *road = ctx;
    (void)host;
    (void)e;
    struct addrs real;
    ck_assert(addrs_literal(road->real.host, port, &real));
    *out = (struct addrs){.count = 2};
    out->at[0].len = sizeof road->dead;
    memcpy(&out->at[0].sa, &road->dead, sizeof road->dead);
    out->at[1] = real.at[0];
    return CTASK_OK;
}

START_TEST(the_second_address_of_a_name_is_tried_when_the_first_is_dead)
{
    struct peer *direct = peer_new(url, NULL);
    struct road road = {.real = direct->url};
    char at[600];
    close(listener(&road.dead, 1));
    snprintf(at, sizeof at, "amqp://%s:%s@somewhere.example:%u/", road.real.user,
             road.real.password, road.real.port);
    struct peer *p = peer_new(at, &(struct broker_config){.resolve = resolve, .ctx = &road});
    peer_wait(p, BROKER_UP, 1);
    ck_assert_uint_eq(p->seen[BROKER_DOWN], 0); /* one attempt over two addresses, not two */
    peer_free(p);
    peer_free(direct);
}
END_TEST

/* ---- Two hundred at once --------------------------------------------------------------------- */

static struct broker *fleet[FLEET];

/* Who connects is told to go. Returns how many did. */
static unsigned turn_away(int door)
{
    unsigned n = 0;
    for (int fd; (fd = accept4(door, NULL, NULL, SOCK_CLOEXEC)) >= 0; n++) close(fd);
    return n;
}

static unsigned fleet_turn(int door, int64_t now)
{
    struct broker_event ev;
    unsigned came = 0;
    for (size_t i = 0; i < FLEET; i++) {
        broker_turn(fleet[i], now);
        while (broker_next(fleet[i], &ev)) continue;
        came += turn_away(door);
    }
    return came;
}

START_TEST(two_hundred_that_are_turned_away_come_back_one_by_one)
{
    struct sockaddr_in at;
    struct url to;
    struct ctask_error e;
    char text[64];
    int door = listener(&at, FLEET);
    snprintf(text, sizeof text, "amqp://127.0.0.1:%u", ntohs(at.sin_port));
    ck_assert_int_eq(url_parse(text, &to, &e), CTASK_OK);
    for (size_t i = 0; i < FLEET; i++) fleet[i] = broker_new(&(struct broker_config){.url = &to});
    unsigned came = 0, most = 0, all = 0;
    int64_t now = clock_now(); /* theirs from then on: when this machine stands still, so do they */
    while (came < FLEET) came += fleet_turn(door, now); /* the loss, of all of them at once */
    for (int i = 0; i < ROUNDS; i++) {
        int64_t end = now + ROUND;
        for (came = 0; now < end; now += CLOCK_MS) came += fleet_turn(door, now);
        if (came > most) most = came;
        all += came;
    }
    ck_assert_uint_ge(all, FLEET); /* each has tried again within a second, on average */
    ck_assert_uint_lt(most, FLEET / 2);
    for (size_t i = 0; i < FLEET; i++) broker_free(fleet[i]);
    close(door);
}
END_TEST

int main(void)
{
    url = peer_broker();
    TCase *t = tcase_create("addresses");
    tcase_set_timeout(t, 90);
    tcase_add_test(t, the_second_address_of_a_name_is_tried_when_the_first_is_dead);
    tcase_add_test(t, two_hundred_that_are_turned_away_come_back_one_by_one);
    Suite *s = suite_create("addresses");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
