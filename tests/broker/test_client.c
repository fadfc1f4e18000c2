/* test_client.c - a client against a real broker and a worker that only answers: results on the
 * right handles whatever their order, failures with their reasons, connections lost in the middle.
 */
#include <ctask.h>

#include "support/fake_worker.h"
#include "support/proxy.h"

#include <check.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

#define WAIT 20.0

static const char *url;
static char queue[64];
static struct fake_worker *worker;
static struct ctask_client *client;

/* A queue, its worker and a client that uses it unless told otherwise. */
static void setup(void)
{
    uuid_t id;
    char text[37];
    struct ctask_error e;
    uuid_generate(id);
    uuid_unparse_lower(id, text);
    snprintf(queue, sizeof queue, "test.%s", text);
    setenv("CTASK_QUEUE", queue, 1);
    setenv("CTASK_BROKER_URL", url, 1);
    worker = fake_worker_start(url, queue);
    client = ctask_open(url, &e);
    ck_assert_msg(client != NULL, "%s", e.text);
    ck_assert_int_eq(e.code, CTASK_OK);
    ctask_set_default(client);
}

static void teardown(void)
{
    ctask_set_default(NULL);
    ctask_close(client);
    fake_worker_stop(worker);
}

/* Waits for r and checks that it succeeded with this JSON value. */
static void expect(AsyncResult *r, const char *json)
{
    int rc = result_wait(r, WAIT);
    ck_assert_msg(rc == CTASK_OK, "%d: %s", rc, result_error(r)->text);
    char *dump = json_dumps(result_json(r), JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(dump, json);
    free(dump);
    ck_assert_int_eq(result_state(r), CTASK_SUCCESS);
    ck_assert_int_eq(result_error(r)->code, CTASK_OK);
}

/* ---- Results --------------------------------------------------------------------------------- */

START_TEST(a_value_comes_back_as_it_was_sent)
{
    AsyncResult *r = task_delay("echo", 112272535095293);
    int64_t n = 0;
    int narrow = 7;
    ck_assert_int_eq(result_get(r, WAIT, &n), CTASK_OK);
    ck_assert(n == 112272535095293);
    ck_assert(result_ready(r));
    ck_assert_int_eq(result_get(r, 0, &narrow), CTASK_ETYPE);
    ck_assert_int_eq(narrow, 7);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, result_id(r)));
    ck_assert_uint_eq(strlen(result_id(r)), 36);
    result_forget(r);
}
END_TEST

START_TEST(every_kind_of_value_travels)
{
    json_t *object = json_pack("{s:[i,n]}", "a", 1);
    AsyncResult *r[] = {
        task_delay("echo", ctask_bool(1)),
        task_delay("echo", 0.5),
        task_delay("echo", "gr\xc3\xbc\xc3\x9f"),
        task_delay("echo", NULL),
        task_delay("echo", object),
        task_delay("echo", ctask_take(json_pack("[s]", "x"))),
        task_delay("echo"),
    };
    const char *json[] = {"true",    "0.5", "\"gr\xc3\xbc\xc3\x9f\"", "null", "{\"a\":[1,null]}",
                          "[\"x\"]", "null"};
    for (size_t i = 0; i < sizeof r / sizeof r[0]; i++) {
        expect(r[i], json[i]);
        result_forget(r[i]);
    }
    ck_assert_uint_eq(object->refcount, 1);
    json_decref(object);
}
END_TEST

START_TEST(keyword_arguments_arrive_by_name)
{
    AsyncResult *r = task_delay("kwargs", ctask_kw("width", 300), 1, ctask_kw("name", "x"));
    expect(r, "{\"name\":\"x\",\"width\":300}");
    result_forget(r);
    r = ctask_send_json(NULL, NULL, "kwargs", NULL, json_pack("{s:b}", "json", 1));
    expect(r, "{\"json\":true}");
    result_forget(r);
}
END_TEST

START_TEST(results_are_collected_in_any_order)
{
    AsyncResult *r[100];
    for (int i = 0; i < 100; i++) r[i] = task_delay("hold", i);
    ck_assert_int_eq(result_wait(r[99], 0), CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_flush(client, WAIT), 0);
    fake_worker_release(worker, 100); /* answered backwards */
    for (int k = 0; k < 100; k++) {
        int i = k * 37 % 100, n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
    }
    for (int i = 0; i < 100; i++) result_forget(r[i]);
}
END_TEST

START_TEST(a_failed_task_says_type_and_text)
{
    AsyncResult *r = task_delay("fail");
    ck_assert_int_eq(result_get(r, WAIT, NULL), CTASK_ETASK);
    ck_assert_int_eq(result_state(r), CTASK_FAILURE);
    ck_assert_int_eq(result_error(r)->code, CTASK_ETASK);
    ck_assert_str_eq(result_error(r)->type, "ValueError");
    ck_assert_str_eq(result_error(r)->text, "no good");
    ck_assert_str_eq(ctask_error()->text, "no good");
    ck_assert_str_eq(json_string_value(json_object_get(result_json(r), "exc_type")), "ValueError");
    result_forget(r);
}
END_TEST

START_TEST(only_the_first_end_of_a_task_counts)
{
    AsyncResult *r = task_delay("twice"), *after = task_delay("echo", 1);
    expect(r, "1");
    expect(after, "1"); /* the other answers came before this one */
    expect(r, "1");
    result_forget(r);
    result_forget(after);
}
END_TEST

START_TEST(states_before_the_end_are_seen_and_do_not_end_the_wait)
{
    AsyncResult *r = task_delay("retry"), *p = task_delay("progress");
    expect(r, "true");
    expect(p, "true");
    ck_assert_int_eq(json_integer_value(result_progress(p)), 2);
    ck_assert_ptr_null(result_progress(r));
    result_forget(r);
    result_forget(p);
}
END_TEST

START_TEST(a_reply_for_nobody_is_dropped)
{
    AsyncResult *r = task_delay("stray");
    expect(r, "2");
    result_forget(r);
}
END_TEST

START_TEST(a_reply_that_is_no_result_fails_its_handle_only)
{
    AsyncResult *r = task_delay("junk"), *other = task_delay("echo", 1);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_EPROTO);
    expect(other, "1");
    result_forget(r);
    result_forget(other);
}
END_TEST

START_TEST(a_late_reply_after_forget_is_dropped)
{
    result_forget(task_delay("hold", 1));
    fake_worker_release(worker, 1);
    AsyncResult *r = task_delay("echo", 2);
    expect(r, "2");
    result_forget(r);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline_and_may_be_repeated)
{
    AsyncResult *r = task_delay("hold", 5);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_wait(r, 0.05), CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_error()->code, CTASK_ETIMEDOUT);
    ck_assert(ctask_error()->flags & CTASK_RETRIABLE);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    ck_assert_int_eq(result_error(r)->code, CTASK_OK);
    ck_assert_ptr_null(result_json(r));
    fake_worker_release(worker, 1);
    expect(r, "5");
    result_forget(r);
}
END_TEST

START_TEST(wait_any_gives_the_one_that_is_ready)
{
    AsyncResult *r[] = {task_delay("hold", 1), NULL, task_delay("echo", 2)};
    ck_assert_int_eq(result_wait_any(r, 3, WAIT), 2);
    ck_assert_int_eq(result_wait_any(r, 2, 0.05), CTASK_ETIMEDOUT);
    ck_assert_int_eq(result_wait_any(&r[1], 1, 0), CTASK_EINVAL);
    fake_worker_release(worker, 1);
    ck_assert_int_eq(result_wait_any(r, 2, WAIT), 0);
    result_forget(r[0]);
    result_forget(r[2]);
}
END_TEST

START_TEST(a_handle_outlives_its_client)
{
    struct ctask_client *c = ctask_open(url, NULL);
    AsyncResult *done = ctask_delay(c, "echo", "kept"), *open = ctask_delay(c, "drop");
    const char *s = NULL;
    ck_assert_int_eq(result_wait(done, WAIT), CTASK_OK);
    ctask_close(c);
    ck_assert_int_eq(result_get(done, 0, &s), CTASK_OK);
    ck_assert_str_eq(s, "kept");
    ck_assert_int_eq(result_wait(open, -1), CTASK_ECLOSED);
    result_forget(done);
    result_forget(open);
}
END_TEST

START_TEST(the_run_time_comes_with_the_result)
{
    AsyncResult *r = task_delay("timed");
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    ck_assert(fabs(ctask_result_runtime(r) - 1.5) < 1e-9);
    result_forget(r);
}
END_TEST

/* ---- Sending --------------------------------------------------------------------------------- */

START_TEST(options_become_headers)
{
    AsyncResult *r =
        task_apply(TASK_OPTIONS(.id = "my-own-id", .countdown = 60, .expires = 90), "head");
    double now = (double)time(NULL);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    const json_t *h = result_json(r);
    double eta = json_number_value(json_object_get(h, "eta"));
    double expires = json_number_value(json_object_get(h, "expires"));
    ck_assert(fabs(eta - now - 60) < 5);
    ck_assert(fabs(expires - now - 90) < 5);
    ck_assert_str_eq(result_id(r), "my-own-id");
    char origin[32];
    snprintf(origin, sizeof origin, "gen%d@", (int)getpid());
    ck_assert_ptr_eq(strstr(json_string_value(json_object_get(h, "origin")), origin),
                     json_string_value(json_object_get(h, "origin")));
    ck_assert_int_eq(strncmp(json_string_value(json_object_get(h, "reply_to")), "ctask.reply.", 12),
                     0);
    ck_assert(json_is_false(json_object_get(h, "ignore_result")));
    ck_assert(json_is_null(json_object_get(h, "parent_id")));
    result_forget(r);
}
END_TEST

START_TEST(a_task_for_a_queue_that_nobody_made_waits_in_it)
{
    char name[80];
    snprintf(name, sizeof name, "%s.later", queue);
    AsyncResult *r = task_apply(TASK_OPTIONS(.queue = name), "echo", 3);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    struct fake_worker *late = fake_worker_start(url, name);
    expect(r, "3");
    result_forget(r);
    fake_worker_stop(late);
}
END_TEST

START_TEST(what_cannot_be_sent_fails_at_once_with_a_reason)
{
    char longname[300];
    memset(longname, 'x', sizeof longname - 1);
    longname[sizeof longname - 1] = 0;
    json_t *taken = json_array();
    json_incref(taken);
    struct {
        AsyncResult *r;
        int code;
        const char *says;
    } bad[] = {
        {task_delay(longname), CTASK_EINVAL, "over 255 bytes"},
        {task_delay(""), CTASK_EINVAL, "empty"},
        {task_delay("a\nb"), CTASK_EINVAL, "plain"},
        {task_delay(NULL), CTASK_EINVAL, "first argument"},
        {task_delay(7), CTASK_EINVAL, "first argument"},
        {task_delay("f", 1, NAN), CTASK_EINVAL, "argument 2"},
        {task_delay("f", NAN, ctask_take(taken)), CTASK_EINVAL, "argument 1"},
        {task_delay("f", ctask_kw("a", 1), ctask_kw("a", 2)), CTASK_EINVAL, "before"},
        {task_delay("f", ctask_kw("a", "\xff")), CTASK_EINVAL, "'a'"},
        {task_apply(TASK_OPTIONS(.id = longname), "f"), CTASK_EINVAL, "id"},
        {task_apply(TASK_OPTIONS(.queue = ""), "f"), CTASK_EINVAL, "queue"},
        {task_apply(TASK_OPTIONS(.countdown = -1), "f"), CTASK_EINVAL, "countdown"},
        {task_apply(TASK_OPTIONS(.expires = NAN), "f"), CTASK_EINVAL, "expires"},
        {ctask_send_json(NULL, NULL, "f", json_object(), NULL), CTASK_EINVAL, "array"},
        {ctask_send_json(NULL, NULL, "f", NULL, json_array()), CTASK_EINVAL, "object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_ptr_nonnull(bad[i].r);
        ck_assert_int_eq(result_state(bad[i].r), CTASK_FAILURE);
        ck_assert_int_eq(result_wait(bad[i].r, -1), bad[i].code);
        ck_assert_msg(strstr(result_error(bad[i].r)->text, bad[i].says) != NULL, "%zu: %s", i,
                      result_error(bad[i].r)->text);
        result_forget(bad[i].r);
    }
    ck_assert_uint_eq(taken->refcount, 1);
    json_decref(taken);
}
END_TEST

START_TEST(a_body_over_15_MiB_is_refused_before_the_wire)
{
    size_t n = (15u << 20) + 1;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    AsyncResult *r = task_delay("echo", text);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETOOBIG);
    result_forget(r);
    text[n - 1000] = 0;
    r = task_delay("echo", text);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    ck_assert_uint_eq(json_string_length(result_json(r)), n - 1000);
    result_forget(r);
    free(text);
}
END_TEST

START_TEST(the_same_id_cannot_be_awaited_twice)
{
    AsyncResult *a = task_apply(TASK_OPTIONS(.id = "one"), "hold", 1);
    AsyncResult *b = task_apply(TASK_OPTIONS(.id = "one"), "hold", 2);
    ck_assert_int_eq(result_wait(b, 0), CTASK_EINVAL);
    result_forget(b);
    fake_worker_release(worker, 1);
    expect(a, "1");
    result_forget(a);
}
END_TEST

START_TEST(a_task_without_result_is_ready_when_confirmed)
{
    AsyncResult *r = task_apply(TASK_OPTIONS(.no_result = true), "head");
    ck_assert_int_eq(result_get(r, WAIT, NULL), CTASK_OK);
    ck_assert_ptr_null(result_json(r));
    result_forget(r);
    ck_assert_int_eq(task_send("echo", 1), CTASK_OK);
    ck_assert_int_eq(ctask_flush(NULL, WAIT), 0);
    ck_assert_int_eq(task_send("f", NAN), CTASK_EINVAL);
}
END_TEST

START_TEST(what_is_corked_leaves_together_at_uncork)
{
    AsyncResult *r[3], *first = task_delay("echo", 0);
    expect(first, "0");
    result_forget(first);
    size_t seen = fake_worker_seen(worker);
    ctask_cork(NULL);
    ctask_cork(NULL);
    for (int i = 0; i < 3; i++) r[i] = task_delay("echo", i);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
    ck_assert_uint_eq(fake_worker_seen(worker), seen);
    ck_assert_int_eq(ctask_uncork(NULL), CTASK_OK);
    expect(r[2], "2");
    ck_assert_uint_eq(fake_worker_seen(worker), seen + 3);
    for (int i = 0; i < 3; i++) result_forget(r[i]);
}
END_TEST

START_TEST(ten_thousand_sends_pass_through_the_window)
{
    enum { N = 10000 };
    AsyncResult **r = calloc(N, sizeof *r);
    for (int i = 0; i < N; i++) r[i] = task_delay("echo", i);
    for (int i = N; i-- > 0;) {
        int n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
    free(r);
}
END_TEST

/* ---- A loop of one's own --------------------------------------------------------------------- */

START_TEST(the_descriptor_tells_an_outside_loop_when_to_poll)
{
    int fd = ctask_fd(NULL);
    ck_assert_int_ge(fd, 0);
    AsyncResult *r = task_delay("echo", 1);
    while (!result_ready(r)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ck_assert_int_eq(ctask_poll(NULL, 0), CTASK_OK);
    }
    expect(r, "1");
    result_forget(r);
    /* The acknowledgement leaves, and then it is silent. */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rounds = 0;
    while (poll(&p, 1, 200) == 1 && rounds++ < 100) ck_assert_int_eq(ctask_poll(NULL, 0), CTASK_OK);
    ck_assert_int_lt(rounds, 100);
    ck_assert_int_eq(ctask_fd(NULL), fd);
}
END_TEST

/* ---- Groups and maps ------------------------------------------------------------------------- */

START_TEST(a_group_gives_its_members_as_they_end)
{
    AsyncResult *r[] = {task_delay("hold", 0), task_delay("echo", 1), task_delay("hold", 2)};
    struct ctask_group *g = ctask_group_of(r, 3);
    size_t index = 9;
    ck_assert_uint_eq(ctask_group_size(g), 3);
    ck_assert_ptr_eq(ctask_group_next(g, WAIT, &index), r[1]);
    ck_assert_uint_eq(index, 1);
    ck_assert_ptr_null(ctask_group_next(g, 0.02, &index));
    ck_assert_int_eq(ctask_error()->code, CTASK_ETIMEDOUT);
    ck_assert_int_eq(ctask_group_wait(g, 0), CTASK_ETIMEDOUT);
    fake_worker_release(worker, 2);
    ck_assert_int_eq(ctask_group_wait(g, WAIT), CTASK_OK);
    ck_assert_ptr_eq(ctask_group_next(g, 0, &index), r[2]);
    ck_assert_ptr_eq(ctask_group_next(g, 0, &index), r[0]);
    ck_assert_ptr_null(ctask_group_next(g, -1, &index));
    ck_assert_int_eq(ctask_error()->code, CTASK_OK);
    ck_assert_ptr_eq(ctask_group_at(g, 2), r[2]);
    ck_assert_ptr_null(ctask_group_at(g, 3));
    ctask_group_forget(g);
}
END_TEST

START_TEST(a_group_with_a_failure_says_which)
{
    AsyncResult *r[] = {task_delay("echo", 0), task_delay("fail"), task_delay("f", NAN)};
    struct ctask_group *g = ctask_group_of(r, 3);
    ck_assert_int_eq(ctask_group_wait(g, WAIT), CTASK_ETASK);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "task 1 "));
    ck_assert_str_eq(ctask_error()->type, "ValueError");
    ctask_group_forget(g);
    g = ctask_group_of(NULL, 0);
    ck_assert_int_eq(ctask_group_wait(g, -1), CTASK_OK);
    ck_assert_ptr_null(ctask_group_next(g, -1, NULL));
    ctask_group_forget(g);
    r[0] = NULL;
    ck_assert_ptr_null(ctask_group_of(r, 1));
    ck_assert_int_eq(ctask_error()->code, CTASK_EINVAL);
    ctask_group_forget(NULL);
}
END_TEST

START_TEST(a_group_is_forgotten_with_its_pending_members)
{
    AsyncResult *r[] = {task_delay("hold", 0), task_delay("drop")};
    ctask_group_forget(ctask_group_of(r, 2));
    fake_worker_release(worker, 1);
    AsyncResult *after = task_delay("echo", 1);
    expect(after, "1");
    result_forget(after);
}
END_TEST

START_TEST(a_map_streams_in_bounded_memory)
{
    enum { N = 5000, WINDOW = 50 };
    struct ctask_map *m = ctask_map_open(NULL, NULL, "echo", WINDOW);
    size_t sent = 0, index, taken = 0;
    static bool seen[N];
    AsyncResult *r;
    ck_assert_int_eq(ctask_map_next(m, 0, &index, &r), CTASK_EAGAIN);
    for (;;) {
        while (sent < N) {
            int rc = ctask_map_put(m, (int)sent);
            if (rc == CTASK_EAGAIN) break;
            ck_assert_int_eq(rc, CTASK_OK);
            sent++;
        }
        ck_assert_uint_le(sent - taken, WINDOW);
        if (sent == N) ctask_map_end(m);
        int rc = ctask_map_next(m, WAIT, &index, &r);
        if (rc == 0) break;
        ck_assert_int_eq(rc, 1);
        size_t n = N;
        ck_assert_int_eq(result_get(r, 0, &n), CTASK_OK);
        ck_assert_uint_eq(n, index);
        ck_assert(!seen[n]);
        seen[n] = true;
        taken++;
    }
    ck_assert_uint_eq(taken, N);
    struct ctask_map_stat s = ctask_map_stat(m);
    ck_assert_uint_eq(s.sent, N);
    ck_assert_uint_eq(s.done, N);
    ck_assert_uint_eq(s.failed, 0);
    ck_assert(s.wall > 0);
    ctask_map_close(m);
}
END_TEST

START_TEST(a_map_tells_timeout_failure_and_a_wrong_item_apart)
{
    struct ctask_map *m = ctask_map_open(NULL, NULL, "fail", 0);
    size_t index;
    AsyncResult *r;
    ck_assert_int_eq(ctask_map_put(m, NAN), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 1);
    ck_assert_uint_eq(index, 0);
    ck_assert_int_eq(result_wait(r, 0), CTASK_ETASK);
    ck_assert_uint_eq(ctask_map_stat(m).failed, 1);
    ctask_map_end(m);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_EINVAL);
    ck_assert_int_eq(ctask_map_next(m, WAIT, &index, &r), 0);
    ctask_map_close(m);
    m = ctask_map_open(NULL, NULL, "drop", 0);
    ck_assert_int_eq(ctask_map_put(m, 1), CTASK_OK);
    ck_assert_int_eq(ctask_map_next(m, 0.05, &index, &r), CTASK_ETIMEDOUT);
    ctask_map_close(m);
    ctask_map_close(NULL);
    ck_assert_ptr_null(ctask_map_open(NULL, NULL, "", 0));
    ck_assert_ptr_null(ctask_map_open(NULL, NULL, NULL, 0));
}
END_TEST

START_TEST(a_map_adds_up_run_times)
{
    struct ctask_map *m = ctask_map_open(NULL, NULL, "timed", 0);
    size_t index;
    AsyncResult *r;
    for (int i = 0; i < 4; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
    ctask_map_end(m);
    while (ctask_map_next(m, WAIT, &index, &r) == 1) {
    }
    ck_assert(fabs(ctask_map_stat(m).serial - 6) < 1e-9);
    ctask_map_close(m);
}
END_TEST

START_TEST(items_of_a_map_without_results_end_when_confirmed)
{
    struct ctask_map *m = ctask_map_open(NULL, TASK_OPTIONS(.no_result = true), "echo", 0);
    size_t index;
    AsyncResult *r;
    for (int i = 0; i < 100; i++) ck_assert_int_eq(ctask_map_put(m, i), CTASK_OK);
    ctask_map_end(m);
    int rc, n = 0;
    while ((rc = ctask_map_next(m, WAIT, &index, &r)) == 1) n++;
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(n, 100);
    ctask_map_close(m);
}
END_TEST

START_TEST(plain_arrays_are_mapped_in_order)
{
    enum { N = 3000 };
    static int64_t in[N], out[N];
    for (int i = 0; i < N; i++) in[i] = (int64_t)i * i;
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, N), CTASK_OK);
    ck_assert_int_eq(memcmp(in, out, sizeof in), 0);
    bool flags[2] = {true, false}, back[2] = {false, true};
    ck_assert_int_eq(task_map(WAIT, "echo", flags, back, 2), CTASK_OK);
    ck_assert(back[0] && !back[1]);
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, 0), CTASK_OK);
}
END_TEST

START_TEST(a_map_of_arrays_names_the_first_failure_and_fills_the_rest)
{
    double in[4] = {0, NAN, 2, 3};
    int out[4] = {-1, -1, -1, -1};
    ck_assert_int_eq(task_map(WAIT, "echo", in, out, 4), CTASK_EINVAL);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "item 1:"));
    ck_assert_int_eq(out[0], 0);
    ck_assert_int_eq(out[1], -1);
    ck_assert_int_eq(out[3], 3);
    double halves[3] = {1, 2.5, 3.5};
    ck_assert_int_eq(task_map(WAIT, "echo", halves, out, 3), CTASK_ETYPE);
    ck_assert_ptr_nonnull(strstr(ctask_error()->text, "item 1:"));
    ck_assert_int_eq(task_map(WAIT, "fail", in, out, 1), CTASK_ETASK);
    ck_assert_str_eq(ctask_error()->type, "ValueError");
    ck_assert_int_eq(task_map(0.05, "drop", in, out, 1), CTASK_ETIMEDOUT);
    const char *words[1];
    ck_assert_int_eq(task_map(WAIT, "echo", words, words, 1), CTASK_EINVAL);
}
END_TEST

/* ---- The connection is lost ------------------------------------------------------------------ */

static struct proxy *proxy;
static struct ctask_client *through;

static void setup_proxy(void)
{
    struct ctask_error e;
    setup();
    proxy = proxy_start(url);
    through = ctask_open(proxy_url(proxy), &e);
    ck_assert_msg(through != NULL, "%s", e.text);
}

static void teardown_proxy(void)
{
    ctask_close(through);
    proxy_stop(proxy);
    teardown();
}

START_TEST(results_that_came_while_the_connection_was_away_arrive)
{
    AsyncResult *r[20];
    for (int i = 0; i < 20; i++) r[i] = ctask_delay(through, "hold", i);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_close(proxy, true);
    proxy_cut(proxy);
    fake_worker_release(worker, 20);
    ck_assert_int_eq(result_wait(r[0], 0.05), CTASK_ETIMEDOUT);
    proxy_close(proxy, false);
    for (int i = 0; i < 20; i++) {
        int n = -1;
        ck_assert_int_eq(result_get(r[i], WAIT, &n), CTASK_OK);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
}
END_TEST

START_TEST(no_handle_is_lost_over_twenty_resets)
{
    enum { N = 2000 };
    AsyncResult **r = calloc(N, sizeof *r);
    for (int i = 0; i < N; i++) {
        if (i % 100 == 50) proxy_cut(proxy);
        r[i] = ctask_delay(through, "echo", i);
    }
    for (int i = 0; i < N; i++) {
        int n = -1;
        ck_assert_msg(result_get(r[i], WAIT, &n) == CTASK_OK, "%d: %s", i, ctask_error()->text);
        ck_assert_int_eq(n, i);
        result_forget(r[i]);
    }
    free(r);
    ck_assert_uint_ge(proxy_connections(proxy), 10);
}
END_TEST

START_TEST(the_outside_descriptor_survives_a_reconnect)
{
    int fd = ctask_fd(through);
    AsyncResult *r = ctask_delay(through, "hold", 1);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_cut(proxy);
    fake_worker_release(worker, 1);
    while (!result_ready(r)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ck_assert_int_eq(ctask_poll(through, 0), CTASK_OK);
    }
    ck_assert_int_eq(ctask_fd(through), fd);
    result_forget(r);
}
END_TEST

START_TEST(sends_fail_at_once_while_the_broker_is_known_to_be_down_and_recover)
{
    proxy_close(proxy, true);
    proxy_cut(proxy);
    AsyncResult *r = ctask_delay(through, "echo", 1); /* learns of it */
    ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
    ck_assert_uint_gt(strlen(result_error(r)->text), 10);
    result_forget(r);
    for (int i = 0; i < 100; i++) {
        r = ctask_delay(through, "echo", 1);
        ck_assert_int_eq(result_wait(r, 0), CTASK_ECONN);
        result_forget(r);
    }
    proxy_close(proxy, false);
    for (;;) {
        ck_assert_int_eq(ctask_poll(through, 6), CTASK_OK);
        r = ctask_delay(through, "echo", 1);
        if (result_wait(r, WAIT) == CTASK_OK) break;
        ck_assert_int_eq(result_error(r)->code, CTASK_ECONN);
        result_forget(r);
    }
    result_forget(r);
}
END_TEST

START_TEST(a_broker_that_says_nothing_holds_a_send_for_publish_timeout_only)
{
    struct ctask_client *c = ctask_open(proxy_url(proxy), NULL);
    ctask_set_publish_timeout(c, 0.3);
    proxy_freeze(proxy, true);
    AsyncResult *r = ctask_delay(c, "echo", 1); /* its reply queue is not declared */
    ck_assert_int_eq(result_wait(r, 0), CTASK_EBLOCKED);
    result_forget(r);
    ctask_close(c);
    proxy_freeze(proxy, false);
}
END_TEST

START_TEST(unconfirmed_messages_are_counted_at_the_deadline)
{
    AsyncResult *r = ctask_delay(through, "echo", 1);
    ck_assert_int_eq(result_wait(r, WAIT), CTASK_OK);
    result_forget(r);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
    proxy_freeze(proxy, true);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ctask_post(through, NULL, CTASK_LIST("echo", i)), CTASK_OK);
    ck_assert_int_eq(ctask_flush(through, 0.1), 3);
    proxy_freeze(proxy, false);
    ck_assert_int_eq(ctask_flush(through, WAIT), 0);
}
END_TEST

int main(void)
{
    url = getenv("CTASK_TEST_BROKER");
    if (!url) {
        puts("skipped: CTASK_TEST_BROKER is not set");
        return 77;
    }
    Suite *suite = suite_create("client");
    TCase *plain = tcase_create("client"), *lost = tcase_create("lost connections");
    tcase_set_timeout(plain, 60);
    tcase_set_timeout(lost, 120);
    tcase_add_checked_fixture(plain, setup, teardown);
    tcase_add_checked_fixture(lost, setup_proxy, teardown_proxy);
    tcase_add_test(plain, a_value_comes_back_as_it_was_sent);
    tcase_add_test(plain, every_kind_of_value_travels);
    tcase_add_test(plain, keyword_arguments_arrive_by_name);
    tcase_add_test(plain, results_are_collected_in_any_order);
    tcase_add_test(plain, a_failed_task_says_type_and_text);
    tcase_add_test(plain, only_the_first_end_of_a_task_counts);
    tcase_add_test(plain, states_before_the_end_are_seen_and_do_not_end_the_wait);
    tcase_add_test(plain, a_reply_for_nobody_is_dropped);
    tcase_add_test(plain, a_reply_that_is_no_result_fails_its_handle_only);
    tcase_add_test(plain, a_late_reply_after_forget_is_dropped);
    tcase_add_test(plain, a_wait_ends_at_its_deadline_and_may_be_repeated);
    tcase_add_test(plain, wait_any_gives_the_one_that_is_ready);
    tcase_add_test(plain, a_handle_outlives_its_client);
    tcase_add_test(plain, the_run_time_comes_with_the_result);
    tcase_add_test(plain, options_become_headers);
    tcase_add_test(plain, a_task_for_a_queue_that_nobody_made_waits_in_it);
    tcase_add_test(plain, what_cannot_be_sent_fails_at_once_with_a_reason);
    tcase_add_test(plain, a_body_over_15_MiB_is_refused_before_the_wire);
    tcase_add_test(plain, the_same_id_cannot_be_awaited_twice);
    tcase_add_test(plain, a_task_without_result_is_ready_when_confirmed);
    tcase_add_test(plain, what_is_corked_leaves_together_at_uncork);
    tcase_add_test(plain, ten_thousand_sends_pass_through_the_window);
    tcase_add_test(plain, the_descriptor_tells_an_outside_loop_when_to_poll);
    tcase_add_test(plain, a_group_gives_its_members_as_they_end);
    tcase_add_test(plain, a_group_with_a_failure_says_which);
    tcase_add_test(plain, a_group_is_forgotten_with_its_pending_members);
    tcase_add_test(plain, a_map_streams_in_bounded_memory);
    tcase_add_test(plain, a_map_tells_timeout_failure_and_a_wrong_item_apart);
    tcase_add_test(plain, a_map_adds_up_run_times);
    tcase_add_test(plain, items_of_a_map_without_results_end_when_confirmed);
    tcase_add_test(plain, plain_arrays_are_mapped_in_order);
    tcase_add_test(plain, a_map_of_arrays_names_the_first_failure_and_fills_the_rest);
    tcase_add_test(lost, results_that_came_while_the_connection_was_away_arrive);
    tcase_add_test(lost, no_handle_is_lost_over_twenty_resets);
    tcase_add_test(lost, the_outside_descriptor_survives_a_reconnect);
    tcase_add_test(lost, sends_fail_at_once_while_the_broker_is_known_to_be_down_and_recover);
    tcase_add_test(lost, a_broker_that_says_nothing_holds_a_send_for_publish_timeout_only);
    tcase_add_test(lost, unconfirmed_messages_are_counted_at_the_deadline);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, lost);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
