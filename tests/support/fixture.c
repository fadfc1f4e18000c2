/* fixture.c - see fixture.h. */
#include "support/fixture.h"

#include "base/clock.h"
#include "base/ids.h"
#include "transport/broker.h"

#include <stdio.h>
#include <stdlib.h>

const char *broker_url;
char queue[64];
struct fake_worker *worker;

void fixture_setup(void)
{
    char id[ID_SIZE];
    id_new(id);
    snprintf(queue, sizeof queue, "test.%s", id);
    setenv("CTASK_QUEUE", queue, 1);
    setenv("CTASK_BROKER_URL", broker_url, 1);
    worker = fake_worker_start(broker_url, queue);
}

void fixture_teardown(void)
{
    ctask_close(ctask_default());
    fake_worker_stop(worker);
}

/* Turns b until an event of that kind comes. */
static void turn_until(struct broker *b, enum broker_event_kind kind)
{
    int64_t deadline = clock_now() + (int64_t)(WAIT * 1e9);
    struct broker_event ev = {0};
    for (;;) {
        struct pollfd p = {.fd = -1};
        int64_t wake = deadline;
        ck_assert(clock_now() < deadline);
        broker_turn(b, clock_now());
        while (broker_next(b, &ev))
            if (ev.kind == kind) return;
        broker_poll(b, &p, &wake);
        poll(&p, 1, clock_poll_ms(wake, clock_now()));
    }
}

void queue_delete(const char *name)
{
    struct url u;
    struct ctask_error e;
    ck_assert_int_eq(url_parse(broker_url, &u, &e), CTASK_OK);
    struct broker *b = broker_new(&(struct broker_config){.url = &u, .name = "operator"});
    ck_assert_int_eq(broker_queue(b, name, QUEUE_REPLY), CTASK_OK);
    turn_until(b, BROKER_QUEUE);
    broker_delete_queue(b, name);
    broker_close(b);
    turn_until(b, BROKER_DOWN);
    broker_free(b);
}

void expect(struct ctask_result *r, const char *json)
{
    int rc = ctask_result_wait(r, WAIT);
    ck_assert_msg(rc == CTASK_OK, "%d: %s", rc, ctask_error()->text);
    char *dump = json_dumps(ctask_result_json(r), JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(dump, json);
    free(dump);
    ck_assert_int_eq(ctask_result_state(r), CTASK_SUCCESS);
    ck_assert_int_eq(ctask_result_error(r)->code, CTASK_OK);
}

int fixture_main(Suite *suite)
{
    broker_url = getenv("CTASK_TEST_BROKER");
    SRunner *runner = srunner_create(suite);
    int failed = 77;
    if (broker_url) {
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner) != 0;
    } else {
        puts("skipped: CTASK_TEST_BROKER is not set");
    }
    srunner_free(runner);
    return failed;
}
