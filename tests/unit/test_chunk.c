/* test_chunk.c - a message of many items in a child: what its sender hears of each of them, and
 * which of them become messages of their own. */
#include "tasks/demo.c" /* before check.h, which has a macro called fail */

#include "support/jobs.h"
#include "task/chunk.h"
#include "wire/starmap.h"

#include <math.h>

/* ---- Tasks ----------------------------------------------------------------------------------- */

static ctask_outcome who(struct ctask_call *t)
{
    return task_return(
        t, ctask_take(json_pack("[s, s, I, b]", ctask_call_id(t), ctask_call_name(t),
                                (json_int_t)ctask_call_retries(t), ctask_call_redelivered(t))));
}

static ctask_outcome nested(struct ctask_call *t)
{
    int64_t levels;
    if (!task_args(t, &levels)) return ctask_failed(t);
    json_t *j = json_array();
    while (--levels > 0) j = json_pack("[o]", j);
    return task_return(t, ctask_take(j));
}

static ctask_outcome nan_of(struct ctask_call *t)
{
    return task_return(t, NAN);
}

static ctask_outcome sends(struct ctask_call *t)
{
    return task_return(t, task_send("other"));
}

CTASK_APP(odd, {TASK_CALL(who)}, {TASK_CALL(nested)}, {TASK_CALL(nan_of)}, {TASK_CALL(sends)});

/* ---- Jobs ------------------------------------------------------------------------------------ */

static char body[4096];

static void items_set(const char *id, const char *task, const char *items)
{
    struct send s = {
        .task = TASK_STARMAP, .item_task = task, .id = id, .reply_to = REPLY_TO, .origin = "o"};
    snprintf(body, sizeof body,
             "[[], {\"task\": {\"task\": \"%s\", \"args\": [], \"kwargs\": {}, \"options\": {}}, "
             "\"it\": %s}, {\"callbacks\": null}]",
             task, items);
    job_set(&s, body);
}

/* Runs the job until so many items of it have run: on a busy machine the first ones may take long.
 */
static void job_run(size_t items)
{
    do run_job();
    while (heard.done.state == DONE_SUCCESS && json_array_size(heard.reply.result) < items);
}

static void items_run_as(const char *id, const char *task, const char *items)
{
    json_t *all = json_loads(items, 0, NULL); /* NULL: none will run */
    items_set(id, task, items);
    job_run(json_array_size(all));
    json_decref(all);
}

static void items_run(const char *task, const char *items)
{
    items_run_as("id-1", task, items);
}

/* What the notes say but for run times, which are told of those that took long, on a busy machine
 * of any. */
static void notes_are(const char *text)
{
    size_t i = 0;
    json_t *said = json_array(), *note;
    json_array_foreach(heard.reply.notes, i, note)
    {
        json_object_del(note, "runtime");
        if (json_object_size(note) > 1) json_array_append(said, note);
    }
    char *is = json_dumps(said, JSON_COMPACT);
    ck_assert_str_eq(is, text);
    free(is);
    json_decref(said);
}

/* The note on an item. */
static struct note note_on(size_t item)
{
    struct note n = {.item = SIZE_MAX};
    const json_t *result;
    for (size_t i = 0; i < json_array_size(heard.reply.notes) && n.item != item; i++)
        ck_assert(note_read(json_array_get(heard.reply.notes, i), &n, &result));
    ck_assert_uint_eq(n.item, item);
    return n;
}

/* Part i is a message with this id, task and body. */
static struct message part_is(size_t i, const char *id, const char *task, const char *text)
{
    ck_assert_uint_lt(i, heard.parts);
    const struct posted *p = &heard.part[i];
    struct message m;
    struct fault f;
    ck_assert_msg(message_read(p->props, &m, &f), "%s", f.text);
    ck_assert_msg(bytes_is(m.id, id), "%.*s", BYTES_ARG(m.id));
    ck_assert(bytes_is(m.correlation_id, id));
    ck_assert(bytes_is(m.task, task));
    ck_assert(bytes_is(m.reply_to, REPLY_TO));
    ck_assert_int_eq(m.item_task.n > 0, starmap_itemized(&m));
    ck_assert_msg(strncmp((const char *)p->body.p, text, strlen(text)) == 0, "%.*s",
                  BYTES_ARG(p->body));
    return m;
}

/* ---- What their sender hears ----------------------------------------------------------------- */

START_TEST(values_come_in_one_list)
{
    items_run("demo.add", "[[1, 2], [3, 4], [-5, 5]]");
    succeeds("[3,7,0]");
    notes_are("[]");
    ck_assert_uint_eq(heard.parts, 0);
    ck_assert(heard.reply.runtime > 0 && heard.reply.runtime == heard.done.runtime);
    items_run("demo.echo", "[[\"\xc3\xa4\\n\"], [null], [[1.5, {}]], [\"x\"], [true]]");
    succeeds("[\"\xc3\xa4\\n\",null,[1.5,{}],\"x\",true]");
}
END_TEST

START_TEST(each_item_knows_who_it_is)
{
    items_run("who", "[[], []]");
    succeeds("[[\"id-1:0\",\"who\",0,false],[\"id-1:1\",\"who\",0,false]]");
    items_set("id-1:40+2", "who", "[[], []]");
    job.redelivered = true;
    job_run(2);
    succeeds("[[\"id-1:40\",\"who\",0,true],[\"id-1:41\",\"who\",0,true]]");
    ck_assert(heard.reply.redelivered);
}
END_TEST

START_TEST(a_failure_is_the_items_own)
{
    items_run("demo.fail", "[[\"ValueError\", \"a\"], [null, \"b\"]]");
    succeeds("[null,null]");
    ck_assert_str_eq(heard.done.fault.type, "ValueError");
    ck_assert_ptr_nonnull(strstr(heard.done.fault.text, "2 of 2 items, the first "));
    ck_assert_ptr_nonnull(strstr(heard.done.fault.text, ":0: a"));
    notes_are("[{\"item\":0,\"status\":\"FAILURE\",\"result\":{\"exc_type\":\"ValueError\","
              "\"exc_message\":[\"a\"],\"exc_module\":\"builtins\"}},"
              "{\"item\":1,\"status\":\"FAILURE\",\"result\":{\"exc_type\":\"RuntimeError\","
              "\"exc_message\":[\"b\"],\"exc_module\":\"builtins\"}}]");
    ck_assert_uint_eq(heard.parts, 0);
    items_run("nan_of", "[[]]");
    ck_assert(note_on(0).failed);
    items_run("nested", "[[1], [127], [126]]");
    ck_assert(note_on(1).failed);
    ck_assert_str_eq(note_on(1).fault.type, "EncodeError");
}
END_TEST

START_TEST(a_long_one_tells_its_run_time)
{
    items_run("demo.sleep", "[[0], [0.01], [0]]");
    succeeds("[0.0,0.01,0.0]");
    ck_assert(note_on(1).runtime >= 0.01 && note_on(1).runtime <= heard.reply.runtime);
}
END_TEST

START_TEST(no_reply_is_made_when_none_is_wanted)
{
    struct send s = {.task = TASK_STARMAP, .item_task = "demo.flaky", .id = "i"};
    job_set(&s, "[[],{\"task\":\"demo.flaky\",\"it\":[[0],[1]]},null]");
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(heard.results, 0);
    ck_assert_uint_eq(heard.parts, 1); /* but it is tried again */
}
END_TEST

START_TEST(a_large_value_travels_alone)
{
    items_set("id-1", "demo.big", "[[10], [1500000], [20]]");
    do run_job();
    while (heard.parts > 0); /* the slice was over */
    ck_assert_uint_eq(heard.results, 2);
    ck_assert_uint_eq(json_string_length(heard.reply.result), 1500000);
    ck_assert_uint_eq(heard.parts, 0);
    items_run("demo.big", "[[16000000]]");
    ck_assert_uint_eq(heard.results, 1);
    notes_are("[{\"item\":0,\"status\":\"FAILURE\",\"result\":{\"exc_type\":\"EncodeError\","
              "\"exc_message\":[\"demo.big() returned a value that is over 15 MiB\"],"
              "\"exc_module\":\"kombu.exceptions\"}}]");
}
END_TEST

START_TEST(what_an_item_sends_has_it_as_its_parent)
{
    struct buf in = {0};
    items_run("sends", "[[], []]");
    succeeds("[0,0]");
    for (int i = 0; i < 2; i++) {
        buf_clear(&in);
        struct message m = message_peek(published(&in).props);
        ck_assert(bytes_is(m.parent_id, i ? "id-1:1" : "id-1:0"));
    }
    buf_done(&in);
}
END_TEST

/* ---- What goes on ---------------------------------------------------------------------------- */

START_TEST(an_item_that_is_tried_again_goes_alone)
{
    items_run("demo.retry", "[[0], [2, 7.5], [0]]");
    succeeds("[0,null,0]");
    notes_are("[{\"item\":1,\"status\":\"RETRY\"}]");
    ck_assert_uint_eq(heard.parts, 1);
    struct message m = part_is(0, "id-1:1", "demo.retry", "[[2,7.5],{},{");
    ck_assert_int_eq(m.retries, 1);
    ck_assert_uint_eq(heard.part[0].delay, 7);
    ck_assert(m.eta > 0 && !m.again);
    items_run("demo.flaky", "[[1], [0]]");
    succeeds("[null,0]");
    part_is(0, "id-1:0", "demo.flaky", "[[1],{},{");
}
END_TEST

START_TEST(one_whose_arguments_do_not_fit_goes_alone_to_be_kept)
{
    items_run("demo.add", "[[1, 2], [1], [\"x\", 1]]");
    succeeds("[3,null,null]");
    notes_are("[{\"item\":1,\"status\":\"RETRY\"},{\"item\":2,\"status\":\"RETRY\"}]");
    struct message m = part_is(1, "id-1:2", "demo.add", "[[\"x\",1],{},{");
    ck_assert_int_eq(m.retries, 0);
    ck_assert_uint_eq(heard.parts, 2);
}
END_TEST

START_TEST(what_is_left_after_a_while_goes_on_in_messages_of_a_moment)
{
    items_set("id-1", "demo.sleep", "[[0.11], [0.5], [0.6]]");
    run_job();
    succeeds("[0.11]");
    ck_assert_uint_eq(heard.parts, 2);
    part_is(0, "id-1:1", "demo.sleep", "[[0.5],{},{");
    part_is(1, "id-1:2", "demo.sleep", "[[0.59999999999999998],{},{");
    /* The first ones were quick: several at a time. */
    items_set("id-1:100+203", "demo.sleep", "[]");
    char *end = strstr(body, "\"it\": []") + 7;
    for (int i = 0; i < 200; i++) end += sprintf(end, "[%s],", i < 199 ? "0" : "0.11");
    strcpy(end, "[1],[2],[3]]}, null]");
    struct send s = {.task = TASK_STARMAP,
                     .item_task = "demo.sleep",
                     .id = "id-1:100+203",
                     .reply_to = REPLY_TO};
    job_set(&s, body);
    job_run(200);
    ck_assert_uint_eq(json_array_size(heard.reply.result), 200);
    ck_assert_uint_eq(heard.parts, 1);
    part_is(0, "id-1:300+3", TASK_STARMAP, "[[],{\"task\":{\"task\":\"demo.sleep\",");
}
END_TEST

START_TEST(a_worker_that_goes_sends_on_what_has_not_begun)
{
    task_cancel();
    items_set("id-1", "demo.echo", "[[1], [2], [3], [4]]");
    run_job();
    succeeds("[1]");
    ck_assert_uint_eq(heard.parts, 1);
    struct message m =
        part_is(0, "id-1:1+3", TASK_STARMAP, "[[],{\"task\":{\"task\":\"demo.echo\",");
    ck_assert(bytes_is(m.item_task, "demo.echo"));
    ck_assert_ptr_nonnull(strstr((const char *)heard.part[0].body.p, "\"it\":[[2],[3],[4]]"));
}
END_TEST

START_TEST(one_that_has_cost_its_process_its_life_is_taken_apart)
{
    struct buf props = {0};
    items_set("id-1", "who", "[[], []]");
    ck_assert(
        message_copy(job.props, &(struct copy){.again = true, .attempt = 1, .crashes = 1}, &props));
    job.props = buf_bytes(&props);
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_RETRY);
    ck_assert_uint_eq(heard.results, 0);
    ck_assert_uint_eq(heard.parts, 2);
    struct message m = part_is(1, "id-1:1", "who", "[[],{},{");
    ck_assert(m.again && m.attempt == 1 && m.crashes == 1 && m.item_task.n == 0);
    buf_done(&props);
}
END_TEST

static char many[1 << 20];

/* So many items of `task`, of a message that has cost its process its life. */
static void crashed_set(const char *id, const char *task, size_t n, const char *item,
                        struct buf *props)
{
    struct send s = {.task = TASK_STARMAP, .item_task = task, .id = id, .reply_to = REPLY_TO};
    char *end = many + sprintf(many, "[[], {\"task\": {\"task\": \"%s\"}, \"it\": [", task);
    for (size_t i = 0; i < n; i++) end += sprintf(end, "%s%s", i ? "," : "", item);
    strcpy(end, "]}, null]");
    job_set(&s, many);
    ck_assert(message_copy(job.props, &(struct copy){.attempt = 1, .crashes = 1}, props));
    job.props = buf_bytes(props);
}

START_TEST(many_are_taken_apart_in_parts)
{
    struct buf props = {0};
    crashed_set("id-1", "who", 10000, "[]", &props);
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_RETRY);
    ck_assert_uint_eq(heard.results, 0);
    ck_assert_uint_eq(heard.parts, 64); /* of 157, and what is left */
    struct message m = part_is(0, "id-1:0+157", TASK_STARMAP, "[[],{\"task\":{\"task\":\"who\",");
    ck_assert(m.attempt == 1 && m.crashes == 1 && bytes_is(m.item_task, "who"));
    part_is(63, "id-1:9891+109", TASK_STARMAP, "[[],{");
    buf_done(&props);
    props = (struct buf){0};
    crashed_set("id-1:157+157", "who", 157, "[]", &props);
    run_job();
    ck_assert_uint_eq(heard.parts, 53); /* of 3 */
    buf_done(&props);
    props = (struct buf){0};
    crashed_set("id-1:157+3", "who", 3, "[]", &props);
    run_job();
    ck_assert_uint_eq(heard.parts, 3);
    part_is(2, "id-1:159", "who", "[[],{},{");
    buf_done(&props);
}
END_TEST

START_TEST(no_more_goes_on_alone_than_one_done_may_publish)
{
    struct send s = {
        .task = TASK_STARMAP, .item_task = "demo.add", .id = "id-1", .reply_to = REPLY_TO};
    size_t n = 20000; /* none of them fits, so each is to be kept by itself */
    char *end = many + sprintf(many, "[[], {\"task\": {\"task\": \"demo.add\"}, \"it\": [");
    for (size_t i = 0; i < n; i++) end += sprintf(end, "%s1", i ? "," : "");
    strcpy(end, "]}, null]");
    job_set(&s, many);
    run_job();
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(heard.results, 1);
    ck_assert_uint_ge(heard.parts, 65);
    ck_assert_uint_le(heard.parts, 256 + 64);
}
END_TEST

/* ---- What does not fit ----------------------------------------------------------------------- */

START_TEST(messages_that_are_no_maps_fail_as_a_whole_and_are_kept)
{
    static const struct {
        const char *id, *items, *type, *text;
    } rows[] = {
        {"id-1", "{}", "TypeError", "needs the signature"},
        {"id-1", "[]", "InvalidTaskError", "no items"},
        {"id-1:5+3", "[[], []]", "InvalidTaskError", "says 3 items and its body has 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        items_run_as(rows[i].id, "who", rows[i].items);
        fails(DONE_DEAD, rows[i].type, rows[i].text);
    }
    struct send s = {.task = TASK_STARMAP, .item_task = "who", .id = "id-1", .reply_to = REPLY_TO};
    job_set(&s, "[[],{\"task\":\"demo.add\",\"it\":[[]]},null]");
    run_job();
    fails(DONE_DEAD, "InvalidTaskError", "demo.add");
    items_run("nobody", "[[]]");
    fails(DONE_DEAD, "NotRegistered", "nobody");
    items_run("who", "[[}]]");
    fails(DONE_DEAD, "DecodeError", "not JSON");
}
END_TEST

START_TEST(an_item_that_is_none_goes_alone_to_be_kept)
{
    items_run("demo.echo", "[[1], 2, [3]]");
    succeeds("[1,null,3]");
    notes_are("[{\"item\":1,\"status\":\"RETRY\"}]");
    part_is(0, "id-1:1", "demo.echo", "[2,{},{");
    /* As our producers write it, where items are not looked at before their turn. */
    struct buf text = {0};
    ck_assert(starmap_begin(bytes_text("demo.echo"), &text) &&
              buf_append(&text, "[1],[2,,],[x],[\"\\u0041\"]", 24) && starmap_end(&text));
    ck_assert(buf_u8(&text, 0));
    struct send s = {
        .task = TASK_STARMAP, .item_task = "demo.echo", .id = "id-1", .reply_to = REPLY_TO};
    job_set(&s, (const char *)buf_head(&text));
    job_run(4);
    succeeds("[1,null,null,\"A\"]");
    part_is(0, "id-1:1", "demo.echo", "[[2,,],{},{");
    part_is(1, "id-1:2", "demo.echo", "[[x],{},{");
    buf_done(&text);
}
END_TEST

/* ---- Celery's own ---------------------------------------------------------------------------- */

static void celery_run(const char *name, const char *task, const char *items)
{
    char kwargs[512];
    snprintf(kwargs, sizeof kwargs, "{\"task\": {\"task\": \"%s\"}, \"it\": %s}", task, items);
    run(name, "[]", kwargs);
}

START_TEST(a_map_from_python_has_one_result)
{
    celery_run(TASK_STARMAP, "demo.add", "[[1, 2], [3, 4]]");
    succeeds("[3,7]");
    ck_assert_ptr_null(heard.reply.notes);
    celery_run(TASK_MAP, "demo.echo", "[1, [2], null]");
    succeeds("[1,[2],null]");
    celery_run(TASK_STARMAP, "demo.add", "[]");
    succeeds("[]");
}
END_TEST

START_TEST(its_first_failure_is_that_of_all)
{
    celery_run(TASK_STARMAP, "demo.fail", "[[\"ValueError\", \"a\"], [\"OSError\", \"b\"]]");
    fails(DONE_FAILURE, "ValueError", "a");
    celery_run(TASK_STARMAP, "demo.retry", "[[0], [1]]");
    fails(DONE_FAILURE, "ConnectionError", "attempt 1 of 1");
    celery_run(TASK_STARMAP, "demo.add", "[[1, 2], [3]]");
    fails(DONE_DEAD, "TypeError", "missing required argument 'b'");
    celery_run(TASK_STARMAP, "demo.add", "[1]");
    fails(DONE_DEAD, "TypeError", "item 0");
    celery_run(TASK_MAP, "nobody", "[1]");
    fails(DONE_DEAD, "NotRegistered", "nobody");
    run(TASK_MAP, "[]", "{}");
    fails(DONE_DEAD, "TypeError", "needs the signature");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chunk");
    const struct ctask_app *const apps[] = {ctask_app_demo(), ctask_app_odd(), NULL};
    TCase *t = job_case(suite, "what their sender hears", apps);
    tcase_add_test(t, values_come_in_one_list);
    tcase_add_test(t, each_item_knows_who_it_is);
    tcase_add_test(t, a_failure_is_the_items_own);
    tcase_add_test(t, a_long_one_tells_its_run_time);
    tcase_add_test(t, no_reply_is_made_when_none_is_wanted);
    tcase_add_test(t, a_large_value_travels_alone);
    tcase_add_test(t, what_an_item_sends_has_it_as_its_parent);
    t = job_case(suite, "what goes on", apps);
    tcase_add_test(t, an_item_that_is_tried_again_goes_alone);
    tcase_add_test(t, one_whose_arguments_do_not_fit_goes_alone_to_be_kept);
    tcase_add_test(t, what_is_left_after_a_while_goes_on_in_messages_of_a_moment);
    tcase_add_test(t, a_worker_that_goes_sends_on_what_has_not_begun);
    tcase_add_test(t, one_that_has_cost_its_process_its_life_is_taken_apart);
    tcase_add_test(t, many_are_taken_apart_in_parts);
    tcase_add_test(t, no_more_goes_on_alone_than_one_done_may_publish);
    t = job_case(suite, "what does not fit", apps);
    tcase_add_test(t, messages_that_are_no_maps_fail_as_a_whole_and_are_kept);
    tcase_add_test(t, an_item_that_is_none_goes_alone_to_be_kept);
    t = job_case(suite, "Celery's own", apps);
    tcase_add_test(t, a_map_from_python_has_one_result);
    tcase_add_test(t, its_first_failure_is_that_of_all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
