/* test_starmap.c - many calls in one message: Celery's are read as they are meant, ours are written
 * as Celery reads them, and each item of a reply has its end. */
#include "support/cases.h"
#include "wire/starmap.h"

#include <check.h>
#include <stdlib.h>

#define ID "11111111-2222-4333-8444-555555555555"

static char *text_of(const json_t *j)
{
    return json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void is_text(const json_t *j, const char *text)
{
    char *is = text_of(j);
    ck_assert_str_eq(is, text);
    free(is);
}

START_TEST(the_maps_of_celery_are_read)
{
    static const struct {
        const char *name, *task, *items;
    } rows[] = {{"chunks", TASK_STARMAP, "[[0,0],[1,1]]"},
                {"starmap", TASK_STARMAP, "[[1,2],[3,4]]"},
                {"map", TASK_MAP, "[1,2]"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wire_case *c = case_named(rows[i].name);
        struct message m;
        struct message_body b;
        struct starmap s;
        struct fault f;
        ck_assert(message_read(buf_bytes(&c->props), &m, &f));
        ck_assert(bytes_is(m.task, rows[i].task));
        ck_assert(!starmap_itemized(&m));
        ck_assert(message_body_read(buf_bytes(&c->body), &b, &f));
        ck_assert(starmap_read(&b, &s, &f));
        ck_assert(bytes_is(s.task, "tasks.add"));
        is_text(s.items, rows[i].items);
        message_body_done(&b);
    }
}
END_TEST

START_TEST(arguments_may_come_by_place_and_what_is_no_map_is_refused)
{
    static const struct {
        const char *body;
        bool sound;
    } rows[] = {
        {"[[{\"task\":\"f\"},[[1]]],{},null]", true},
        {"[[\"f\",[]],{},null]", true},
        {"[[\"f\"],{\"it\":[]},null]", true},
        {"[[[]],{\"task\":\"f\"},null]", true},
        {"[[],{},null]", false},
        {"[[],{\"task\":\"f\"},null]", false},
        {"[[],{\"it\":[]},null]", false},
        {"[[],{\"task\":{},\"it\":[]},null]", false},
        {"[[],{\"task\":{\"task\":1},\"it\":[]},null]", false},
        {"[[],{\"task\":\"f\",\"it\":{}},null]", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message_body b;
        struct starmap s;
        struct fault f = {0};
        ck_assert(message_body_read(bytes_text(rows[i].body), &b, &f));
        ck_assert_msg(starmap_read(&b, &s, &f) == rows[i].sound, "%s", rows[i].body);
        ck_assert_str_eq(f.type, rows[i].sound ? "" : "TypeError");
        message_body_done(&b);
    }
}
END_TEST

START_TEST(ours_is_what_celery_was_shown_to_read)
{
    struct buf props = {0}, body = {0};
    struct send s = {.task = TASK_STARMAP,
                     .item_task = "add",
                     .id = ID,
                     .reply_to = "ctask.reply." ID,
                     .origin = "gen7@host"};
    ck_assert(message_write(&s, &props));
    ck_assert(starmap_begin(bytes_text("add"), &body));
    ck_assert(buf_append(&body, "[1,2],[3,\"x\"]", 13));
    ck_assert(starmap_end(&body));
    cases_match("starmap", &props, &body);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&props), &m, &f));
    ck_assert(starmap_itemized(&m));
    ck_assert(bytes_is(m.item_task, "add"));
    buf_done(&props);
    buf_done(&body);
}
END_TEST

START_TEST(only_a_starmap_has_items)
{
    struct buf props = {0};
    struct message m;
    struct fault f;
    ck_assert(message_write(&(struct send){.task = "add", .item_task = "add", .id = ID}, &props));
    ck_assert(message_read(buf_bytes(&props), &m, &f));
    ck_assert(!starmap_itemized(&m));
    buf_done(&props);
}
END_TEST

START_TEST(names_are_quoted_as_json)
{
    struct buf body = {0};
    struct message_body b;
    struct starmap s;
    struct fault f;
    ck_assert(starmap_begin(bytes_text("a\"\\\xc3\xa4"), &body) && starmap_end(&body));
    ck_assert(message_body_read(buf_bytes(&body), &b, &f) && starmap_read(&b, &s, &f));
    ck_assert(bytes_is(s.task, "a\"\\\xc3\xa4"));
    message_body_done(&b);
    buf_done(&body);
}
END_TEST

START_TEST(a_part_is_written_and_read_and_what_is_none_is_a_whole)
{
    static const struct {
        size_t first, count;
        const char *id;
    } sound[] = {{0, 0, ID ":0"}, {17, 0, ID ":17"}, {4095, 1, ID ":4095+1"}, {0, 20, ID ":0+20"}};
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++) {
        char id[PART_SIZE];
        part_write(id, bytes_text(ID), sound[i].first, sound[i].count);
        ck_assert_str_eq(id, sound[i].id);
        struct part p = part_read(bytes_text(id));
        ck_assert(bytes_is(p.whole, ID));
        ck_assert_uint_eq(p.first, sound[i].first);
        ck_assert_uint_eq(p.count, sound[i].count ? sound[i].count : 1);
        ck_assert_int_eq(p.one, sound[i].count == 0);
    }
    static const char *const whole[] = {
        "",       ID,        ID ":",     ID ":x",  ID ":-1",  ":1",       ID ":01",
        ID ":1+", ID ":1+0", ID ":1+2x", ID ":1x", ID ":1++", ID ":1+01", ID ":1000000000"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        struct part p = part_read(bytes_text(whole[i]));
        ck_assert_msg(bytes_is(p.whole, whole[i]) && p.count == 0 && p.first == 0 && !p.one, "%s",
                      whole[i]);
    }
}
END_TEST

static struct message asked_by(struct buf *props)
{
    struct send s = {
        .task = TASK_STARMAP, .item_task = "add", .id = ID, .reply_to = "ctask.reply." ID};
    ck_assert(message_write(&s, props));
    return message_peek(buf_bytes(props));
}

START_TEST(a_reply_has_a_value_or_a_note_for_each_item)
{
    struct buf asked = {0}, notes = {0}, props = {0}, body = {0};
    struct message m = asked_by(&asked);
    struct note failed = {.item = 1, .failed = true, .runtime = 0.5};
    fault_set(&failed.fault, "ValueError", "7 is no \"prime\"");
    ck_assert(note_write(&notes, &failed));
    ck_assert(note_write(&notes, &(struct note){.item = 2, .elsewhere = true}));
    ck_assert(note_write(&notes, &(struct note){.item = 3, .runtime = 0.25}));
    ck_assert(starmap_reply_write(&m, 4, bytes_text("3,null,null,\"x\""), buf_bytes(&notes), 0.75,
                                  true, &props, &body));
    cases_match("starmap reply", &props, &body);

    struct reply r;
    struct fault f;
    ck_assert(reply_read(buf_bytes(&body), &r, &f));
    ck_assert(r.success && r.redelivered);
    ck_assert_double_eq(r.runtime, 0.75);
    is_text(r.result, "[3,null,null,\"x\"]");
    ck_assert_uint_eq(json_array_size(r.notes), 3);
    struct note n;
    const json_t *result;
    ck_assert(note_read(json_array_get(r.notes, 0), &n, &result));
    ck_assert(n.item == 1 && n.failed && !n.elsewhere && n.runtime == 0.5);
    ck_assert_str_eq(n.fault.type, "ValueError");
    ck_assert_str_eq(n.fault.text, "7 is no \"prime\"");
    ck_assert_ptr_eq(result, json_object_get(json_array_get(r.notes, 0), "result"));
    ck_assert(note_read(json_array_get(r.notes, 1), &n, &result));
    ck_assert(n.item == 2 && !n.failed && n.elsewhere);
    ck_assert(note_read(json_array_get(r.notes, 2), &n, &result));
    ck_assert(n.item == 3 && !n.failed && !n.elsewhere && n.runtime == 0.25);
    reply_done(&r);
    struct starmap_reply items;
    ck_assert(starmap_reply_read(buf_bytes(&body), &items, &f));
    ck_assert(items.listed && items.reply.redelivered && !items.reply.result);
    ck_assert_uint_eq(items.count, 4);
    ck_assert(bytes_is(items.list, "3,null,null,\"x\""));
    ck_assert_uint_eq(items.text.len + items.list.n + 12, body.len); /* not parsed */
    starmap_reply_done(&items);
    buf_done(&asked);
    buf_done(&notes);
    buf_done(&props);
    buf_done(&body);
}
END_TEST

START_TEST(a_reply_of_celery_has_no_notes)
{
    cases_unload();
    cases_load_results();
    struct reply r;
    struct fault f;
    ck_assert(reply_read(buf_bytes(&case_named("chunk")->body), &r, &f));
    ck_assert(r.success);
    is_text(r.result, "[3]");
    ck_assert_ptr_null(r.notes);
    reply_done(&r);
    struct starmap_reply items;
    ck_assert(starmap_reply_read(buf_bytes(&case_named("chunk")->body), &items, &f));
    ck_assert(items.listed && items.count == 1 && !items.reply.notes);
    ck_assert(bytes_is(items.list, "3"));
    starmap_reply_done(&items);
    ck_assert(starmap_reply_read(buf_bytes(&case_named("failure")->body), &items, &f));
    ck_assert(!items.listed && items.reply.ready && !items.reply.success);
    starmap_reply_done(&items);
}
END_TEST

START_TEST(replies_cut_anywhere_or_changed_do_no_harm)
{
    static const char whole[] =
        "{\"status\":\"SUCCESS\",\"items\":[{\"item\":1,\"status\":\"RETRY\"}],\"count\":2,"
        "\"traceback\":null,\"children\":[],\"task_id\":\"a\",\"runtime\":1,\"result\":[1,null]}";
    for (size_t n = 0; n < sizeof whole; n++) {
        for (int c = 0; c < 256; c += 5) {
            char *text = malloc(n + 1); /* of exact size, for the sanitizer */
            struct starmap_reply r;
            struct fault f;
            memcpy(text, whole, n);
            if (n > 0) text[n - 1] = (char)c;
            if (starmap_reply_read(bytes_of(text, n), &r, &f)) starmap_reply_done(&r);
            memcpy(text, whole, n);
            bool read = starmap_reply_read(bytes_of(text, n), &r, &f);
            ck_assert_int_eq(read, n == sizeof whole - 1);
            if (read) starmap_reply_done(&r);
            free(text);
        }
    }
}
END_TEST

START_TEST(what_is_no_note_is_refused)
{
    static const char *const bad[] = {"null", "1",       "{}", "{\"item\": -1}", "{\"item\": 1.5}",
                                      "[]",   "\"item\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct note n;
        const json_t *result;
        json_t *j = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        ck_assert_msg(!note_read(j, &n, &result), "%s", bad[i]);
        json_decref(j);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("starmap");
    TCase *t = tcase_create("starmap");
    tcase_add_checked_fixture(t, cases_load_tasks, cases_unload);
    tcase_add_test(t, the_maps_of_celery_are_read);
    tcase_add_test(t, arguments_may_come_by_place_and_what_is_no_map_is_refused);
    tcase_add_test(t, ours_is_what_celery_was_shown_to_read);
    tcase_add_test(t, only_a_starmap_has_items);
    tcase_add_test(t, names_are_quoted_as_json);
    tcase_add_test(t, a_part_is_written_and_read_and_what_is_none_is_a_whole);
    tcase_add_test(t, a_reply_has_a_value_or_a_note_for_each_item);
    tcase_add_test(t, a_reply_of_celery_has_no_notes);
    tcase_add_test(t, replies_cut_anywhere_or_changed_do_no_harm);
    tcase_add_test(t, what_is_no_note_is_refused);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
