/* test_message.c - task messages: those of Celery are read as they are meant, ours are written as
 * Celery reads them, and any other bytes have a defined outcome. */
#include "support/cases.h"
#include "wire/body.h"
#include "wire/message.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

/* ---- Heads made for a test ------------------------------------------------------------------- */

#define ID "11111111-2222-4333-8444-555555555555"

/* A sound head; a test changes what it is about. */
struct head {
    struct buf table;
    struct props p;
};

static struct head head_of(const char *task, const char *id)
{
    struct head h = {.p = {.content_type = bytes_text("application/json"),
                           .content_encoding = bytes_text("utf-8"),
                           .has_headers = true,
                           .correlation_id = bytes_text("corr"),
                           .reply_to = bytes_text("amq.gen-1")}};
    if (task) table_put_text(&h.table, "task", bytes_text(task));
    if (id) table_put_text(&h.table, "id", bytes_text(id));
    return h;
}

/* The bytes of h, which is spent. */
static struct buf head_bytes(struct head *h)
{
    struct buf raw = {0};
    h->p.headers = buf_bytes(&h->table);
    ck_assert(props_write(&raw, &h->p));
    buf_done(&h->table);
    return raw;
}

/* Reads h, checks that it is refused with that type, and frees it. */
static void refused(struct head *h, const char *type, const char *word)
{
    struct message m;
    struct fault f = {0};
    struct buf raw = head_bytes(h);
    ck_assert(!message_read(buf_bytes(&raw), &m, &f));
    ck_assert_str_eq(f.type, type);
    ck_assert_msg(strstr(f.text, word), "'%s' does not name %s", f.text, word);
    ck_assert(bytes_is(m.correlation_id, "corr")); /* the asker can be told in any case */
    ck_assert(bytes_is(m.reply_to, "amq.gen-1"));
    buf_done(&raw);
}

/* ---- Celery's messages ----------------------------------------------------------------------- */

static struct message read_case(const char *name)
{
    struct message m;
    struct fault f = {0};
    struct wire_case *c = case_named(name);
    ck_assert_msg(message_read(buf_bytes(&c->props), &m, &f), "%s: %s", name, f.text);
    return m;
}

START_TEST(a_task_of_celery_is_read_as_it_is_meant)
{
    struct message m = read_case("delay");
    ck_assert(bytes_is(m.task, "tasks.is_prime"));
    ck_assert(bytes_is(m.id, ID));
    ck_assert(bytes_is(m.root_id, ID));
    ck_assert(bytes_is(m.correlation_id, ID));
    ck_assert(bytes_is(m.reply_to, "311cfb20-426c-31da-b53f-1e45638b249f"));
    ck_assert(bytes_is(m.origin, "gen32394@vm"));
    ck_assert(m.parent_id.n == 0 && m.group.n == 0);
    ck_assert(m.eta == 0 && m.expires == 0 && m.retries == 0 && !m.ignore_result);
    ck_assert(!m.again && m.attempt == 0 && m.unknown == 0 && m.delivery_count == 0);
    ck_assert_int_eq(m.props.delivery_mode, 2);
}
END_TEST

START_TEST(options_of_celery_are_read)
{
    struct message m = read_case("options");
    ck_assert_double_eq_tol(m.eta, 1795362358.883450, 1e-6);
    ck_assert_double_eq_tol(m.expires, 1795362408.883450, 1e-6);
    ck_assert_int_eq(m.props.priority, 5);
    ck_assert(bytes_is(m.props.expiration, "60000"));
    m = read_case("eta and no result");
    ck_assert_double_eq(m.eta, 1795359600);
    ck_assert(m.ignore_result);
    m = read_case("group");
    ck_assert(bytes_is(m.group, "2158fde6-efea-4737-bc54-39ec274390c6"));
    m = read_case("retried");
    ck_assert_int_eq(m.retries, 1);
    ck_assert(bytes_equal(m.parent_id, m.id));
}
END_TEST

START_TEST(protocol_1_is_refused_and_answered)
{
    struct wire_case *c = case_named("protocol 1");
    struct message m;
    struct fault f;
    ck_assert(!message_read(buf_bytes(&c->props), &m, &f));
    ck_assert_str_eq(f.type, "InvalidTaskError");
    ck_assert(bytes_is(m.correlation_id, "cbdb192e-79f4-4e1a-8347-716f861491f0"));
    ck_assert(message_reply_sane(m.reply_to));
}
END_TEST

START_TEST(heads_cut_or_bent_anywhere_are_read_or_refused_within_their_bytes)
{
    for (size_t c = 0; c < case_count; c++) {
        struct bytes whole = buf_bytes(&cases[c].props);
        for (size_t n = 0; n <= whole.n; n++) {
            uint8_t *cut = malloc(n + !n); /* of exact size, for the sanitizer */
            ck_assert_ptr_nonnull(cut);
            memcpy(cut, whole.p, n);
            struct message m;
            struct fault f = {0};
            bool sound = message_read(bytes_of(cut, n), &m, &f);
            ck_assert(sound == (n == whole.n) || strcmp(cases[c].name, "protocol 1") == 0);
            for (size_t v = 0; n > 0 && v < 256; v += 17) {
                cut[n - 1] = (uint8_t)v;
                message_read(bytes_of(cut, n), &m, &f);
            }
            free(cut);
        }
    }
}
END_TEST

/* ---- Odd heads ------------------------------------------------------------------------------- */

START_TEST(the_least_a_head_needs_is_task_and_id)
{
    struct message m;
    struct fault f;
    struct head h = head_of("add", "1");
    h.p.correlation_id = h.p.reply_to = h.p.content_encoding = bytes_of(NULL, 0);
    struct buf raw = head_bytes(&h);
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    ck_assert(bytes_is(m.correlation_id, "1"));
    ck_assert_uint_eq(m.reply_to.n, 0);
    buf_done(&raw);
    for (int subset = 0; subset < 3; subset++) {
        h = head_of(subset & 1 ? "add" : NULL, subset & 2 ? "1" : NULL);
        refused(&h, "InvalidTaskError", subset & 1 ? "'id'" : "'task'");
    }
    h = head_of("", "1");
    refused(&h, "InvalidTaskError", "'task'");
    h = head_of("add", NULL);
    table_put_null(&h.table, "id");
    refused(&h, "InvalidTaskError", "'id'");
}
END_TEST

START_TEST(ids_and_names_are_short_printable_text)
{
    char long_name[257];
    memset(long_name, 'n', 256);
    long_name[256] = '\0';
    const char *const bad[] = {long_name, "a\nb",  "a\x1b[2J",     "\x7f",     "\xc2\x9b",
                               "\xff",    "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct head h = head_of(bad[i], "1");
        refused(&h, "InvalidTaskError", "'task'");
        h = head_of("add", bad[i]);
        refused(&h, "InvalidTaskError", "'id'");
    }
    struct head h = head_of("t\xc3\xa4sk.\xf0\x9f\x90\x99", long_name + 1);
    struct message m;
    struct fault f;
    struct buf raw = head_bytes(&h);
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    buf_done(&raw);
}
END_TEST

START_TEST(foreign_content_is_refused)
{
    struct head h = head_of("add", "1");
    h.p.content_type = bytes_text("application/x-python-serialize");
    refused(&h, "ContentDisallowed", "x-python-serialize");
    h = head_of("add", "1");
    h.p.content_type = bytes_of(NULL, 0);
    refused(&h, "ContentDisallowed", "only application/json");
    h = head_of("add", "1");
    h.p.content_encoding = bytes_text("utf-16");
    refused(&h, "DecodeError", "utf-16");
    h = head_of("add", "1");
    table_put_text(&h.table, "compression", bytes_text("application/x-gzip"));
    refused(&h, "ContentDisallowed", "application/x-gzip");
    h = head_of("add", "1");
    h.p.content_encoding = bytes_text("UTF-8");
    struct message m;
    struct fault f;
    struct buf raw = head_bytes(&h);
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    buf_done(&raw);
}
END_TEST

START_TEST(headers_of_the_wrong_kind_are_refused)
{
    struct head h = head_of("add", NULL);
    table_put_int(&h.table, "id", 7);
    refused(&h, "InvalidTaskError", "'id'");
    static const char *const dates[] = {"eta", "expires"};
    for (size_t i = 0; i < 2; i++) {
        h = head_of("add", "1");
        table_put_text(&h.table, dates[i], bytes_text("tomorrow"));
        refused(&h, "InvalidTaskError", dates[i]);
        h = head_of("add", "1");
        table_put_int(&h.table, dates[i], 5);
        refused(&h, "InvalidTaskError", dates[i]);
    }
    h = head_of("add", "1");
    table_put_int(&h.table, "retries", -1);
    refused(&h, "InvalidTaskError", "'retries'");
    h = head_of("add", "1");
    table_put_text(&h.table, "retries", bytes_text("3"));
    refused(&h, "InvalidTaskError", "'retries'");
    h = head_of("add", "1");
    table_put_text(&h.table, "ignore_result", bytes_text("yes"));
    refused(&h, "InvalidTaskError", "'ignore_result'");
}
END_TEST

START_TEST(null_headers_count_as_absent)
{
    static const char *const names[] = {"root_id", "parent_id", "group",          "origin",
                                        "eta",     "expires",   "retries",        "ignore_result",
                                        "shadow",  "timelimit", "x-ctask-attempt"};
    struct head h = head_of("add", "1");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) table_put_null(&h.table, names[i]);
    struct buf raw = head_bytes(&h);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    ck_assert(m.root_id.n == 0 && m.eta == 0 && m.retries == 0 && !m.ignore_result);
    buf_done(&raw);
}
END_TEST

START_TEST(odd_counters_are_no_reason_to_refuse_a_task)
{
    struct head h = head_of("add", "1");
    table_put_text(&h.table, "x-ctask-attempt", bytes_text("many"));
    table_put_int(&h.table, "x-ctask-unknown", -4);
    table_put_bool(&h.table, "x-ctask-again", true);
    table_put_int(&h.table, "x-delivery-count", 9);
    table_put_text(&h.table, "origin", bytes_text("a\nb"));
    struct buf raw = head_bytes(&h);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    ck_assert(m.attempt == 0 && m.unknown == 0 && m.again && m.delivery_count == 9);
    ck_assert_uint_eq(m.origin.n, 0);
    buf_done(&raw);
}
END_TEST

/* Any table entry with this name and these bytes, kind first. */
static void put_raw(struct buf *table, const char *key, const void *value, size_t n)
{
    buf_u8(table, (uint8_t)strlen(key));
    buf_append(table, key, strlen(key));
    buf_append(table, value, n);
}

static struct limits limits_read_from(struct head *h)
{
    struct buf raw = head_bytes(h);
    struct message m;
    struct fault f = {0};
    ck_assert_msg(message_read(buf_bytes(&raw), &m, &f), "%s", f.text);
    buf_done(&raw);
    return m.limits;
}

START_TEST(time_limits_are_read_hard_one_first)
{
    static const struct {
        double said[2];
        struct limits meant;
    } cases[] = {{{5, 2}, {5, 2}},     {{0.25, NAN}, {0.25, 0}}, {{NAN, 1e300}, {0, 1e300}},
                 {{NAN, NAN}, {0, 0}}, {{0, 0.0}, {0, 0}},       {{INFINITY, 3}, {INFINITY, 3}},
                 {{1, 100}, {1, 100}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct head h = head_of("add", "1");
        ck_assert(table_put_numbers(&h.table, "timelimit", cases[i].said, 2));
        struct limits l = limits_read_from(&h);
        ck_assert(l.hard == cases[i].meant.hard && l.soft == cases[i].meant.soft);
    }
    static const char single[] = "A\0\0\0\6f\x3f\0\0\0V"; /* 0.5f and null */
    struct head h = head_of("add", "1");
    put_raw(&h.table, "timelimit", single, sizeof single - 1);
    ck_assert_double_eq(limits_read_from(&h).hard, 0.5);
}
END_TEST

START_TEST(a_time_limit_that_cannot_be_meant_is_refused)
{
    static const double numbers[][3] = {{-1, 5}, {5, -0.5}, {-INFINITY, 5}, {1, 2, 3}};
    for (size_t n = 0; n < 4; n++) {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            if (n == 2 && i == 3) continue; /* that one is sound */
            struct head h = head_of("add", "1");
            table_put_numbers(&h.table, "timelimit", numbers[i], n);
            refused(&h, "InvalidTaskError", "'timelimit'");
        }
    }
#define RAW(s)            \
    {                     \
        s, sizeof(s) - 1, \
    }
    static const struct {
        const char *value;
        size_t n;
    } odd[] = {
        RAW("S\0\0\0\1"
            "5"),               /* a text */
        RAW("I\0\0\0\5"),       /* one number */
        RAW("F\0\0\0\4\1aI\0"), /* a table, and cut short */
        RAW("A\0\0\0\7VS\0\0\0\1"
            "5"),                                /* a text as a limit */
        RAW("A\0\0\0\7VD\0\0\0\0\5"),            /* a decimal as a limit */
        RAW("A\0\0\0\6VA\0\0\0\0"),              /* an array as a limit */
        RAW("A\0\0\0\12Vd\x7f\xf8\0\0\0\0\0\0"), /* NaN */
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct head h = head_of("add", "1");
        put_raw(&h.table, "timelimit", odd[i].value, odd[i].n);
        refused(&h, i == 2 ? "DecodeError" : "InvalidTaskError", i == 2 ? "table" : "'timelimit'");
    }
}
END_TEST

START_TEST(time_limits_are_written_as_celery_reads_them)
{
    static const struct limits all[] = {{5, 2.5}, {5, 0}, {0, 2.5}, {0, 0}};
    for (size_t i = 0; i < 4; i++) {
        struct buf props = {0};
        struct message m;
        struct fault f;
        struct field header, item;
        ck_assert(message_write(&(struct send){.task = "add", .id = ID, .limits = all[i]}, &props));
        ck_assert(message_read(buf_bytes(&props), &m, &f));
        ck_assert(m.limits.hard == all[i].hard && m.limits.soft == all[i].soft);
        bool there = table_find(m.props.headers, "timelimit", &header);
        ck_assert(there == (i < 3));
        for (int n = 0; there && n < 2; n++) ck_assert(table_item_next(&header.text, &item));
        ck_assert(!there || header.text.n == 0);
        buf_done(&props);
    }
}
END_TEST

START_TEST(the_epoch_is_a_date_and_not_none)
{
    struct head h = head_of("add", "1");
    table_put_text(&h.table, "expires", bytes_text("1970-01-01T00:00:00+00:00"));
    struct buf raw = head_bytes(&h);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&raw), &m, &f));
    ck_assert(m.expires != 0 && m.expires < 1);
    buf_done(&raw);
}
END_TEST

START_TEST(an_unsound_table_still_lets_the_asker_be_told)
{
    struct head h = head_of("add", "1");
    for (int i = 0; i < 600; i++) {
        char key[16];
        snprintf(key, sizeof key, "h%d", i);
        table_put_int(&h.table, key, i);
    }
    refused(&h, "DecodeError", "too many");
    h = head_of("add", "1");
    buf_append(&h.table, "\0t\1", 3);
    refused(&h, "DecodeError", "empty name");
}
END_TEST

START_TEST(results_go_to_reply_queues_only)
{
    static const char *const sane[] = {("ctask.reply." ID), "amq.gen-Xa2", ID,
                                       "311CFB20-426c-31da-b53f-1e45638b249f"};
    static const char *const insane[] = {"",
                                         "celery",
                                         "ctask",
                                         "ctask.reply.",
                                         "amq.gen-",
                                         "amq.rabbitmq.reply-to.g1",
                                         "ctask.reply.a\nb",
                                         "11111111-2222-4333-8444-55555555555",
                                         "11111111-2222-4333-8444-5555555555555",
                                         "11111111-2222-4333-8444-55555555555g",
                                         "amq.gen",
                                         "xamq.gen-1"};
    for (size_t i = 0; i < sizeof sane / sizeof sane[0]; i++)
        ck_assert_msg(message_reply_sane(bytes_text(sane[i])), "%s", sane[i]);
    for (size_t i = 0; i < sizeof insane / sizeof insane[0]; i++)
        ck_assert_msg(!message_reply_sane(bytes_text(insane[i])), "%s", insane[i]);
    ck_assert(!message_reply_sane(bytes_of(NULL, 0)));
}
END_TEST

/* ---- Ours ------------------------------------------------------------------------------------ */

START_TEST(a_lean_task_is_what_python_was_shown_to_read)
{
    struct buf props = {0}, body = {0};
    struct send s = {
        .task = "is_prime", .id = ID, .reply_to = "ctask.reply." ID, .origin = "gen7@host"};
    json_t *args = json_pack("[i]", 97);
    ck_assert(message_write(&s, &props));
    ck_assert(message_body_write(args, NULL, &body));
    cases_match("task", &props, &body);
    json_decref(args);
    buf_done(&props);
    buf_done(&body);
}
END_TEST

START_TEST(a_full_task_is_what_python_was_shown_to_read)
{
    struct buf props = {0}, body = {0};
    struct send s = {.task = "add",
                     .id = ID,
                     .reply_to = "",
                     .root_id = "root",
                     .parent_id = "parent",
                     .origin = "gen7@host",
                     .eta = 4102444799.25,
                     .expires = 4102444800,
                     .ignore_result = true};
    json_t *args = json_pack("[i, s]", 2, "Zo\xc3\xab"), *kwargs = json_pack("{s:f}", "z", 0.5);
    ck_assert(message_write(&s, &props));
    ck_assert(message_body_write(args, kwargs, &body));
    cases_match("task with everything", &props, &body);

    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&props), &m, &f));
    ck_assert(bytes_is(m.task, "add") && bytes_is(m.id, ID) && bytes_is(m.correlation_id, ID));
    ck_assert(bytes_is(m.root_id, "root") && bytes_is(m.parent_id, "parent"));
    ck_assert(m.props.reply_to.p == NULL);
    ck_assert_double_eq(m.eta, s.eta);
    ck_assert_double_eq(m.expires, s.expires);
    ck_assert(m.ignore_result);
    json_decref(args);
    json_decref(kwargs);
    buf_done(&props);
    buf_done(&body);
}
END_TEST

/* message_write knows the properties' encoding by itself; props.c reads it, and writes it again. */
START_TEST(a_head_is_what_props_write_makes_of_it)
{
    static const char *const addresses[] = {NULL, "", "ctask.reply.1"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct buf props = {0}, again = {0};
        struct props p;
        struct send s = {.task = "add",
                         .id = ID,
                         .reply_to = addresses[i],
                         .origin = "gen7@host",
                         .limits = {.hard = 2.5},
                         .eta = 4102444799.25};
        ck_assert(message_write(&s, &props));
        ck_assert_pstr_eq(props_read(buf_bytes(&props), &p), NULL);
        ck_assert(props_write(&again, &p));
        ck_assert(bytes_equal(buf_bytes(&again), buf_bytes(&props)));
        ck_assert(p.has_delivery_mode && p.delivery_mode == 2);
        ck_assert(bytes_is(p.correlation_id, ID));
        ck_assert(bytes_is(p.reply_to, addresses[i] ? addresses[i] : ""));
        buf_done(&props);
        buf_done(&again);
    }
}
END_TEST

START_TEST(without_memory_nothing_is_half_written)
{
    struct buf body = {.max = 20};
    json_t *args = json_pack("[s]", "more than the buffer takes");
    ck_assert(!message_body_write(args, NULL, &body));
    ck_assert_uint_eq(body.len, 0);
    json_decref(args);
    buf_done(&body);
    char id[300];
    memset(id, 'i', sizeof id);
    id[299] = '\0';
    struct buf props = {0};
    ck_assert(!message_write(&(struct send){.task = "add", .id = id}, &props));
    buf_done(&props);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *read = tcase_create("read"), *odd = tcase_create("odd");
    TCase *write = tcase_create("write");
    tcase_add_checked_fixture(read, cases_load_tasks, cases_unload);
    tcase_set_timeout(read, 60);
    tcase_add_test(read, a_task_of_celery_is_read_as_it_is_meant);
    tcase_add_test(read, options_of_celery_are_read);
    tcase_add_test(read, protocol_1_is_refused_and_answered);
    tcase_add_test(read, heads_cut_or_bent_anywhere_are_read_or_refused_within_their_bytes);
    tcase_add_test(odd, the_least_a_head_needs_is_task_and_id);
    tcase_add_test(odd, ids_and_names_are_short_printable_text);
    tcase_add_test(odd, foreign_content_is_refused);
    tcase_add_test(odd, headers_of_the_wrong_kind_are_refused);
    tcase_add_test(odd, null_headers_count_as_absent);
    tcase_add_test(odd, odd_counters_are_no_reason_to_refuse_a_task);
    tcase_add_test(odd, time_limits_are_read_hard_one_first);
    tcase_add_test(odd, a_time_limit_that_cannot_be_meant_is_refused);
    tcase_add_test(odd, the_epoch_is_a_date_and_not_none);
    tcase_add_test(odd, an_unsound_table_still_lets_the_asker_be_told);
    tcase_add_test(odd, results_go_to_reply_queues_only);
    tcase_add_test(write, a_lean_task_is_what_python_was_shown_to_read);
    tcase_add_test(write, a_full_task_is_what_python_was_shown_to_read);
    tcase_add_test(write, time_limits_are_written_as_celery_reads_them);
    tcase_add_test(write, a_head_is_what_props_write_makes_of_it);
    tcase_add_test(write, without_memory_nothing_is_half_written);
    suite_add_tcase(suite, read);
    suite_add_tcase(suite, odd);
    suite_add_tcase(suite, write);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
