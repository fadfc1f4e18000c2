/* test_client_half_open.c - a broker whose machine is gone without a word: a client finds out,
 * though it has no heartbeats. All that may be under way when it happens is tried at once, since
 * finding out takes 20 s. */
#include "base/clock.h"
#include "client/inside.h"
#include "support/fixture.h"
#include "support/proxy.h"

#include <stdio.h>
#include <stdlib.h>

/* The kernel's probes take 25 s. Under a sanitizer on a busy machine the client takes some more;
 * without probes it takes 15 min. */
#define FOUND_WITHIN (60 * CLOCK_SECOND)

static struct proxy *proxy;

static void setup_proxy(void)
{
    fixture_setup();
    proxy = proxy_start(broker_url);
}

static void teardown_proxy(void)
{
    proxy_stop(proxy);
    fixture_teardown();
}

static struct ctask_client *client_ready(void)
{
    struct ctask_error e;
    struct ctask_client *c = ctask_open(proxy_url(proxy), &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    AsyncResult *r = ctask_delay(c, "echo", 1);
    expect(r, "1");
    result_forget(r);
    ck_assert_int_eq(ctask_flush(c, WAIT), 0);
    return c;
}

static struct ctask_result *send_large(struct ctask_client *c, size_t n)
{
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    AsyncResult *r = ctask_delay(c, "timed", (const char *)text);
    free(text);
    return r;
}

/* Each client is in another situation when its packets stop to arrive. */
enum situation { IDLE, PUBLISHED, MID_BODY, ASKING, SITUATIONS };

static struct ctask_result *situation_begin(struct ctask_client *c, enum situation s)
{
    switch (s) {
    case PUBLISHED: return ctask_delay(c, "echo", 2);
    case MID_BODY: return send_large(c, (size_t)12 << 20);
    case ASKING: /* a queue that it has not looked at */
        ctask_set_publish_timeout(c, 0.2);
        AsyncResult *r = ctask_apply(c, TASK_OPTIONS(.queue = "test.never.made"), "echo", 2);
        ck_assert_int_eq(result_wait(r, 0), CTASK_EBLOCKED);
        result_forget(r);
        ctask_set_publish_timeout(c, WAIT);
        return NULL;
    default: return NULL;
    }
}

START_TEST(a_broker_that_is_gone_is_found_within_25_s_and_nothing_is_lost)
{
    struct ctask_client *c[SITUATIONS];
    struct ctask_result *r[SITUATIONS];
    int64_t found[SITUATIONS] = {0};
    for (int i = 0; i < SITUATIONS; i++) c[i] = client_ready();
    size_t seen = fake_worker_seen(worker);
    proxy_swallow(proxy, true);
    int64_t begun = clock_now();
    /* A send that is held up would end with CTASK_EBLOCKED. */
    for (int i = 0; i < SITUATIONS; i++) r[i] = situation_begin(c[i], (enum situation)i);
    for (int left = SITUATIONS; left > 0;) {
        ck_assert_int_lt(clock_now() - begun, FOUND_WITHIN);
        for (int i = 0; i < SITUATIONS; i++) {
            ck_assert_int_eq(ctask_poll(c[i], 0.05), CTASK_OK);
            if (found[i] || broker_error(c[i]->x->broker)->code == CTASK_OK) continue;
            found[i] = clock_now() - begun;
            left--;
        }
    }
    for (int i = 0; i < SITUATIONS; i++) {
        printf("situation %d: found after %.1f s\n", i, (double)found[i] / CLOCK_SECOND);
        if (r[i]) ck_assert_int_eq(result_wait(r[i], WAIT), CTASK_OK);
        result_forget(r[i]);
        AsyncResult *after = ctask_delay(c[i], "echo", 3);
        expect(after, "3");
        result_forget(after);
        ctask_close(c[i]);
    }
    ck_assert_uint_ge(fake_worker_seen(worker), seen + SITUATIONS + 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: half-open connections");
    TCase *tests = tcase_create("half-open connections");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup_proxy, teardown_proxy);
    tcase_add_test(tests, a_broker_that_is_gone_is_found_within_25_s_and_nothing_is_lost);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
