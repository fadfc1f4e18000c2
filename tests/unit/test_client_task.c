/* test_client_task.c - a client inside of a task: what it sends goes up at once, says whose child
 * it is and asks for no reply; what would wait for another task returns at once. No broker: the
 * parent is this test. */
#include "client/client.h"

#include "base/line.h"
#include "wire/child.h"
#include "wire/message.h"

#include <check.h>
#include <ctask.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct line up, parents;
static struct transport *x;
static struct ctask_client *client;

static void setup(void)
{
    setenv("CTASK_QUEUE", "q", 1);
    ck_assert(line_pair(&parents, &up));
    x = transport_relay(&up);
    client = client_over(x);
    ck_assert_ptr_nonnull(client);
    x->task_id = "parent";
    x->root_id = "root";
    ctask_set_default(client);
}

static void teardown(void)
{
    ctask_set_default(NULL);
    x->task_id = NULL; /* the task is over */
    ctask_close(client);
    line_close(&up);
    line_close(&parents);
}

/* The next frame that the parent gets; *p borrows from *frame. */
static void parent_gets(struct buf *frame, struct posted *p, struct message *m)
{
    uint8_t header[CHILD_HEADER];
    enum child_frame_type type;
    struct bytes payload;
    struct fault f;
    ck_assert_int_eq(line_get(&parents, header, sizeof header), sizeof header);
    size_t n = child_frame_size(header);
    ck_assert(buf_append(frame, header, sizeof header));
    uint8_t *at = buf_room(frame, n - sizeof header);
    ck_assert_int_eq(line_get(&parents, at, n - sizeof header), n - sizeof header);
    buf_added(frame, n - sizeof header);
    ck_assert_int_eq(child_frame_next(buf_bytes(frame), 0, &type, &payload), 1);
    ck_assert_int_eq(type, CHILD_PUBLISH);
    ck_assert(publish_read(payload, p));
    ck_assert(message_read(p->props, m, &f));
}

START_TEST(a_task_sends_at_once_with_its_ids_and_without_a_reply_address)
{
    struct buf frame = {0};
    struct posted p;
    struct message m;
    AsyncResult *r = task_delay("f", 1, ctask_kw("k", "v"));
    parent_gets(&frame, &p, &m);
    ck_assert(bytes_is(p.routing_key, "q") && bytes_is(p.ensure, "q"));
    ck_assert(bytes_is(m.task, "f") && bytes_is(m.id, result_id(r)));
    ck_assert(bytes_is(m.parent_id, "parent") && bytes_is(m.root_id, "root"));
    ck_assert_uint_eq(m.reply_to.n, 0);
    ck_assert(!m.ignore_result);
    ck_assert_int_eq(strncmp((const char *)p.body.p, "[[1],{\"k\":\"v\"},", 15), 0);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    result_forget(r);
    buf_done(&frame);
}
END_TEST

START_TEST(waiting_inside_a_task_returns_at_once)
{
    AsyncResult *r = task_delay("f"), *item;
    size_t index;
    int in = 1, out = 2;
    ck_assert_int_eq(result_wait(r, -1), CTASK_EINTASK);
    ck_assert_int_eq(result_get(r, 60, &out), CTASK_EINTASK);
    ck_assert_int_eq(result_wait_any(&r, 1, -1), CTASK_EINTASK);
    ck_assert_int_eq(ctask_error()->code, CTASK_EINTASK);
    ck_assert_int_eq(task_map(-1, "f", &in, &out, 1), CTASK_EINTASK);
    struct ctask_map *m = ctask_map_open(NULL, NULL, "f", 0);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_next(m, -1, &index, &item), CTASK_EINTASK);
    ctask_map_close(m);
    struct ctask_group *g = ctask_group_of(&r, 1);
    ck_assert_int_eq(ctask_group_wait(g, -1), CTASK_EINTASK);
    ck_assert_ptr_null(ctask_group_next(g, -1, NULL));
    ck_assert_int_eq(ctask_error()->code, CTASK_EINTASK);
    ctask_group_forget(g);
    ck_assert_int_eq(out, 2);
}
END_TEST

START_TEST(what_needs_no_result_is_done_when_it_is_sent)
{
    AsyncResult *r = task_apply(TASK_OPTIONS(.no_result = true), "f");
    ck_assert_int_eq(result_get(r, 0, NULL), CTASK_OK);
    result_forget(r);
    ck_assert_int_eq(task_send("f"), CTASK_OK);
    ck_assert_int_eq(ctask_flush(NULL, -1), 0);
    ck_assert_int_eq(ctask_poll(NULL, -1), CTASK_OK);
    ck_assert_int_eq(ctask_fd(NULL), CTASK_EINTASK);
    ctask_cork(NULL);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
}
END_TEST

START_TEST(a_default_queue_whose_name_is_too_long_is_refused)
{
    char name[300];
    memset(name, 'q', sizeof name - 1);
    name[sizeof name - 1] = 0;
    setenv("CTASK_QUEUE", name, 1);
    struct ctask_client *c = client_over(transport_relay(&up));
    AsyncResult *r = ctask_delay(c, "f");
    ck_assert_int_eq(result_wait(r, -1), CTASK_EINVAL);
    result_forget(r);
    ctask_close(c);
}
END_TEST

START_TEST(a_parent_that_is_gone_fails_the_send_that_there_is_no_room_for)
{
    AsyncResult *r = NULL;
    shutdown(parents.bell, SHUT_RDWR);
    do {
        result_forget(r);
        r = task_delay("f");
    } while (result_state(r) == CTASK_PENDING);
    ck_assert_int_eq(result_state(r), CTASK_FAILURE);
    ck_assert_int_eq(result_wait(r, -1), CTASK_ECLOSED);
    result_forget(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client: in a task");
    TCase *tests = tcase_create("in a task");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_task_sends_at_once_with_its_ids_and_without_a_reply_address);
    tcase_add_test(tests, waiting_inside_a_task_returns_at_once);
    tcase_add_test(tests, what_needs_no_result_is_done_when_it_is_sent);
    tcase_add_test(tests, a_default_queue_whose_name_is_too_long_is_refused);
    tcase_add_test(tests, a_parent_that_is_gone_fails_the_send_that_there_is_no_room_for);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
