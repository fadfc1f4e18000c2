/* test_copy.c - messages published again: what stays as it was, byte for byte, what never travels
 * on, and what a copy says about itself. */
#include "support/cases.h"
#include "wire/body.h"
#include "wire/message.h"

#include <check.h>
#include <stdlib.h>

#define ID "11111111-2222-4333-8444-555555555555"

static struct buf *props_of(const char *name)
{
    return &case_named(name)->props;
}

/* The copy of raw as change says, and what is in it. */
static struct buf copied(const struct buf *raw, const struct copy *change, struct props *p)
{
    struct buf out = {0};
    ck_assert(message_copy(buf_bytes(raw), change, &out));
    ck_assert_ptr_null(props_read(buf_bytes(&out), p));
    return out;
}

/* A head with this table, which is spent, and with these properties. */
static struct buf made_of(struct buf *table, struct props p)
{
    struct buf raw = {0};
    p.content_type = bytes_text("application/json");
    p.has_headers = true;
    p.headers = buf_bytes(table);
    ck_assert(props_write(&raw, &p));
    buf_done(table);
    return raw;
}

static bool has(const struct props *p, const char *key)
{
    struct field f;
    return table_find(p->headers, key, &f);
}

static struct bytes text(const struct props *p, const char *key)
{
    struct field f;
    return table_find(p->headers, key, &f) ? f.text : bytes_of(NULL, 0);
}

static int64_t number(const struct props *p, const char *key)
{
    struct field f;
    return table_find(p->headers, key, &f) && f.is_int ? f.i : -1;
}

static unsigned count(const struct props *p, const char *key)
{
    struct bytes rest = p->headers;
    struct field f;
    unsigned n = 0;
    while (table_next(&rest, &f)) n += bytes_is(f.key, key);
    return n;
}

START_TEST(a_plain_copy_keeps_every_header_byte)
{
    for (size_t i = 0; i < case_count; i++) {
        struct props before, after;
        ck_assert_ptr_null(props_read(buf_bytes(&cases[i].props), &before));
        struct buf out = copied(&cases[i].props, &(struct copy){0}, &after);
        ck_assert(bytes_equal(before.headers, after.headers));
        ck_assert(bytes_equal(before.correlation_id, after.correlation_id));
        ck_assert(bytes_equal(before.reply_to, after.reply_to));
        ck_assert_int_eq(before.priority, after.priority);
        ck_assert_ptr_null(after.expiration.p);
        buf_done(&out);
    }
}
END_TEST

START_TEST(what_the_broker_obeys_never_travels_on)
{
    static const char *const cut[] = {"x-death",
                                      "x-first-death-reason",
                                      "x-first-death-queue",
                                      "x-last-death-exchange",
                                      "x-delivery-count",
                                      "x-acquired-count",
                                      "CC",
                                      "BCC"};
    struct buf table = {0};
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        table_put_text(&table, cut[i], bytes_text("x"));
        table_put_int(&table, "mine", (int32_t)i);
    }
    struct props p, given = {.expiration = bytes_text("1000"),
                             .user_id = bytes_text("bob"),
                             .has_delivery_mode = true,
                             .delivery_mode = 1,
                             .message_id = bytes_text("m"),
                             .has_timestamp = true,
                             .timestamp = 9,
                             .type = bytes_text("t"),
                             .app_id = bytes_text("a"),
                             .has_priority = true,
                             .priority = 7};
    struct buf raw = made_of(&table, given), out = copied(&raw, &(struct copy){0}, &p);
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) ck_assert(!has(&p, cut[i]));
    ck_assert_uint_eq(count(&p, "mine"), 8);
    ck_assert(p.expiration.p == NULL && p.user_id.p == NULL);
    ck_assert(bytes_is(text(&p, "x-ctask-user"), "bob"));
    ck_assert_int_eq(p.delivery_mode, 2);
    ck_assert(bytes_is(p.message_id, "m") && bytes_is(p.type, "t") && bytes_is(p.app_id, "a"));
    ck_assert(p.timestamp == 9 && p.priority == 7);
    buf_done(&raw);
    buf_done(&out);
}
END_TEST

START_TEST(counters_replace_those_before)
{
    struct props p;
    struct buf first =
        copied(props_of("delay"), &(struct copy){.attempt = 1, .crashes = 1, .unknown = 4}, &p);
    struct copy next = {.again = true, .attempt = 3, .crashes = 2, .unknown = 5};
    struct buf out = copied(&first, &next, &p);
    ck_assert_int_eq(number(&p, "x-ctask-attempt"), 3);
    ck_assert_int_eq(number(&p, "x-ctask-crashes"), 2);
    ck_assert_int_eq(number(&p, "x-ctask-unknown"), 5);
    ck_assert_uint_eq(count(&p, "x-ctask-attempt") + count(&p, "x-ctask-unknown"), 2);
    ck_assert_uint_eq(count(&p, "x-ctask-crashes"), 1);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&out), &m, &f));
    ck_assert(m.again && m.attempt == 3 && m.crashes == 2 && m.unknown == 5);
    ck_assert(bytes_is(m.task, "tasks.is_prime"));
    buf_done(&first);
    buf_done(&out);
}
END_TEST

START_TEST(a_retry_is_the_same_task_once_more)
{
    struct buf *raw = props_of("before a retry");
    struct message before, m;
    struct fault f;
    ck_assert(message_read(buf_bytes(raw), &before, &f));
    struct buf out = {0};
    ck_assert(
        message_copy(buf_bytes(raw), &(struct copy){.retry = true, .eta = 1795362358.5}, &out));
    ck_assert(message_read(buf_bytes(&out), &m, &f));
    ck_assert_int_eq(m.retries, before.retries + 1);
    ck_assert_double_eq(m.eta, 1795362358.5);
    ck_assert_double_eq(m.expires, before.expires);
    ck_assert(bytes_equal(m.id, before.id) && bytes_equal(m.task, before.task));
    ck_assert(bytes_equal(m.root_id, before.root_id));
    ck_assert(bytes_equal(m.parent_id, before.id)); /* as Celery does when there was none */
    ck_assert(bytes_equal(m.reply_to, before.reply_to));
    ck_assert(!m.again);

    struct buf last = {0}; /* and at once after that: no eta, the parent stays */
    ck_assert(message_copy(buf_bytes(&out), &(struct copy){.retry = true}, &last));
    ck_assert(message_read(buf_bytes(&last), &m, &f));
    ck_assert_int_eq(m.retries, before.retries + 2);
    ck_assert_double_eq(m.eta, 0);
    ck_assert(bytes_equal(m.parent_id, before.id));
    buf_done(&out);
    buf_done(&last);
}
END_TEST

START_TEST(a_retry_has_the_headers_of_celerys_own)
{
    struct props ours, theirs;
    struct buf out = copied(props_of("before a retry"),
                            &(struct copy){.retry = true, .eta = 1795362358.5}, &ours);
    ck_assert_ptr_null(props_read(buf_bytes(props_of("retried")), &theirs));
    struct bytes rest = theirs.headers;
    struct field f, g;
    while (table_next(&rest, &f)) {
        char key[256] = "";
        memcpy(key, f.key.p, f.key.n);
        ck_assert_msg(table_find(ours.headers, key, &g), "%s is missing", key);
        if (strcmp(key, "eta") != 0)
            ck_assert_msg(bytes_equal(f.entry, g.entry), "%s differs", key);
        ck_assert_uint_eq(count(&ours, key), 1);
    }
    buf_done(&out);
}
END_TEST

START_TEST(a_retry_of_a_doubtful_attempt_starts_its_count_anew_and_stays_doubtful)
{
    struct props p;
    struct buf first = copied(props_of("delay"), &(struct copy){.attempt = 2, .crashes = 2}, &p);
    struct buf out = {0};
    struct message m;
    struct fault f;
    ck_assert(message_copy(buf_bytes(&first), &(struct copy){.retry = true}, &out));
    ck_assert(message_read(buf_bytes(&out), &m, &f));
    ck_assert(m.again && m.attempt == 0 && m.crashes == 0 && m.retries == 1);
    buf_done(&first);
    buf_done(&out);
}
END_TEST

START_TEST(a_dead_letter_says_why_when_and_where_once)
{
    struct fault f;
    fault_set(&f, "DecodeError", "not JSON");
    struct copy dead = {.dead = &f, .dead_by = "w1@host", .dead_queue = "ctask"};
    struct props p;
    struct buf first = copied(props_of("delay"), &dead, &p);
    fault_set(&f, "NotRegistered", "add");
    dead.dead_by = "w2@host";
    struct buf out = copied(&first, &dead, &p); /* it was sent again, and died again */
    ck_assert(bytes_is(text(&p, "x-ctask-dead-type"), "NotRegistered"));
    ck_assert(bytes_is(text(&p, "x-ctask-dead-reason"), "add"));
    ck_assert(bytes_is(text(&p, "x-ctask-dead-by"), "w2@host"));
    ck_assert(bytes_is(text(&p, "x-ctask-dead-queue"), "ctask"));
    ck_assert_uint_eq(text(&p, "x-ctask-dead-at").n, strlen("2026-01-02T03:04:05.678000+00:00"));
    static const char *const keys[] = {"type", "reason", "by", "queue", "at"};
    for (size_t i = 0; i < 5; i++) {
        char key[32];
        snprintf(key, sizeof key, "x-ctask-dead-%s", keys[i]);
        ck_assert_uint_eq(count(&p, key), 1);
    }
    ck_assert(bytes_is(text(&p, "task"), "tasks.is_prime"));
    buf_done(&first);
    buf_done(&out);
}
END_TEST

START_TEST(a_dead_letter_tells_how_its_process_died)
{
    struct fault f;
    fault_set(&f, "WorkerLostError", "gone");
    struct death d = {
        .signal = 11, .attempts = 3, .peak_kib = (int64_t)1 << 40, .output = bytes_text("a\tb\n")};
    struct copy dead = {.dead = &f, .dead_by = "w", .dead_queue = "q", .death = &d};
    struct props p;
    struct buf first = copied(props_of("delay"), &dead, &p);
    ck_assert_int_eq(number(&p, "x-ctask-dead-signal"), 11);
    ck_assert_int_eq(number(&p, "x-ctask-dead-attempts"), 3);
    ck_assert_int_eq(number(&p, "x-ctask-dead-rss"), INT32_MAX);
    ck_assert(!has(&p, "x-ctask-dead-exit"));
    ck_assert(bytes_is(text(&p, "x-ctask-dead-stderr"), "a\tb\n"));
    d = (struct death){.status = 4, .attempts = 100, .peak_kib = 5120};
    struct buf out = copied(props_of("delay"), &dead, &p);
    ck_assert_int_eq(number(&p, "x-ctask-dead-exit"), 4);
    ck_assert_int_eq(number(&p, "x-ctask-dead-rss"), 5120);
    ck_assert(!has(&p, "x-ctask-dead-signal") && !has(&p, "x-ctask-dead-stderr"));
    buf_done(&first);
    buf_done(&out);
}
END_TEST

START_TEST(headers_that_cannot_be_read_are_left_out_and_the_copy_says_so)
{
    struct buf table = {0};
    table_put_text(&table, "task", bytes_text("add"));
    buf_append(&table, "\0t\1", 3); /* an empty name */
    struct fault f;
    fault_set(&f, "DecodeError", "the head is unsound");
    struct props p;
    struct buf raw = made_of(&table, (struct props){.correlation_id = bytes_text("c")});
    struct buf out =
        copied(&raw, &(struct copy){.dead = &f, .dead_by = "w", .dead_queue = "q"}, &p);
    ck_assert(!has(&p, "task"));
    ck_assert_int_eq(number(&p, "x-ctask-headers-dropped"), 1);
    ck_assert(bytes_is(text(&p, "x-ctask-dead-type"), "DecodeError"));
    ck_assert(bytes_is(p.correlation_id, "c"));
    buf_done(&raw);
    buf_done(&out);
}
END_TEST

START_TEST(a_copy_that_would_outgrow_the_limits_keeps_what_makes_it_a_task)
{
    struct buf table = {0};
    char key[16];
    table_put_text(&table, "task", bytes_text("add"));
    table_put_text(&table, "id", bytes_text(ID));
    for (int i = 2; i < 512; i++) {
        snprintf(key, sizeof key, "h%d", i);
        table_put_int(&table, key, i);
    }
    struct props p;
    struct buf raw = made_of(&table, (struct props){0});
    struct buf out = copied(&raw, &(struct copy){.retry = true, .eta = 5}, &p);
    struct message m;
    struct fault f;
    ck_assert(message_read(buf_bytes(&out), &m, &f));
    ck_assert(bytes_is(m.task, "add") && bytes_is(m.id, ID) && m.retries == 1);
    ck_assert(!has(&p, "h2"));
    ck_assert_int_eq(number(&p, "x-ctask-headers-dropped"), 1);
    buf_done(&raw);
    buf_done(&out);

    char *huge = calloc(1, 65000); /* one entry that alone fills the table */
    ck_assert_ptr_nonnull(huge);
    memset(huge, 'n', 65000);
    table_put_text(&table, "task", bytes_of(huge, 65000));
    raw = made_of(&table, (struct props){0});
    fault_set(&f, "InvalidTaskError", "%0500d", 1);
    out = copied(&raw, &(struct copy){.dead = &f, .dead_by = "w", .dead_queue = "q"}, &p);
    ck_assert(!has(&p, "task") && has(&p, "x-ctask-dead-reason"));
    ck_assert_int_eq(number(&p, "x-ctask-headers-dropped"), 1);
    free(huge);
    buf_done(&raw);
    buf_done(&out);
}
END_TEST

/* First a sender's own headers go, then the output of what died, then all that was there. */
START_TEST(a_copy_fits_what_it_is_given)
{
    static char filler[3000];
    memset(filler, 'x', sizeof filler);
    struct bytes large = bytes_of(filler, sizeof filler);
    struct buf table = {0};
    struct fault f;
    struct death death = {.signal = 11, .attempts = 3, .output = large};
    table_put_text(&table, "id", bytes_text(ID));
    table_put_text(&table, "mine", large);
    struct buf raw = made_of(&table, (struct props){.reply_to = bytes_text("r")});
    fault_set(&f, "WorkerLostError", "why");
    static const size_t most[] = {10000, 5000, 2000, 400};
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        struct props p;
        struct buf out = copied(
            &raw,
            &(struct copy){
                .dead = &f, .dead_by = "w", .dead_queue = "q", .death = &death, .most = most[i]},
            &p);
        ck_assert_uint_le(out.len, most[i]);
        ck_assert(has(&p, "x-ctask-dead-reason"));
        ck_assert_int_eq(has(&p, "mine"), i < 1);
        ck_assert_int_eq(has(&p, "x-ctask-headers-dropped"), i >= 1);
        ck_assert_int_eq(has(&p, "x-ctask-dead-stderr"), i < 2);
        buf_done(&out);
    }
    buf_done(&raw);
}
END_TEST

START_TEST(anything_can_be_copied_to_the_dead)
{
    struct fault f;
    fault_set(&f, "DecodeError", "unsound");
    struct copy dead = {
        .again = true, .attempt = 1, .retry = true, .dead = &f, .dead_by = "w", .dead_queue = "q"};
    for (size_t c = 0; c < case_count; c++) {
        struct bytes whole = buf_bytes(&cases[c].props);
        for (size_t n = 0; n <= whole.n; n++) {
            uint8_t *cut = malloc(n + !n); /* of exact size, for the sanitizer */
            ck_assert_ptr_nonnull(cut);
            memcpy(cut, whole.p, n);
            struct buf raw = {.data = cut, .len = n, .cap = n}, out;
            struct props p;
            out = copied(&raw, &dead, &p);
            ck_assert(has(&p, "x-ctask-dead-type"));
            buf_done(&out);
            free(cut);
        }
    }
}
END_TEST

START_TEST(a_retry_of_ours_is_what_python_was_shown_to_read)
{
    struct buf props = {0}, body = {0}, out = {0};
    struct send s = {.task = "is_prime", .id = ID, .reply_to = "ctask.reply." ID};
    ck_assert(message_write(&s, &props) && message_body_write(NULL, NULL, &body));
    struct copy c = {.again = true, .attempt = 1, .retry = true, .eta = 1795362358.25};
    ck_assert(message_copy(buf_bytes(&props), &c, &out));
    cases_match("retried task", &out, &body);
    buf_done(&props);
    buf_done(&body);
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy");
    TCase *tc = tcase_create("copy");
    tcase_add_checked_fixture(tc, cases_load_tasks, cases_unload);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_plain_copy_keeps_every_header_byte);
    tcase_add_test(tc, what_the_broker_obeys_never_travels_on);
    tcase_add_test(tc, counters_replace_those_before);
    tcase_add_test(tc, a_retry_is_the_same_task_once_more);
    tcase_add_test(tc, a_retry_has_the_headers_of_celerys_own);
    tcase_add_test(tc, a_retry_of_a_doubtful_attempt_starts_its_count_anew_and_stays_doubtful);
    tcase_add_test(tc, a_dead_letter_says_why_when_and_where_once);
    tcase_add_test(tc, a_copy_fits_what_it_is_given);
    tcase_add_test(tc, a_dead_letter_tells_how_its_process_died);
    tcase_add_test(tc, headers_that_cannot_be_read_are_left_out_and_the_copy_says_so);
    tcase_add_test(tc, a_copy_that_would_outgrow_the_limits_keeps_what_makes_it_a_task);
    tcase_add_test(tc, anything_can_be_copied_to_the_dead);
    tcase_add_test(tc, a_retry_of_ours_is_what_python_was_shown_to_read);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
