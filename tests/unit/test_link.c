/* test_link.c - a connection's life driven from byte buffers: the handshake, however it is split,
 * its refusals in words, heartbeats by a clock of the test's, blocked and unblocked, and the ends.
 */
#include "amqp/link.h"
#include "base/clock.h"
#include "base/table.h"

#include <check.h>
#include <stdlib.h>

#define T0 (1000 * CLOCK_SECOND)

static struct url url;
static struct link l;
static struct frame f;

static void setup(void)
{
    struct ctask_error e;
    ck_assert_int_eq(url_parse("amqp://me:secret@broker.example:5673/place", &url, &e), CTASK_OK);
    link_init(&l, &url, "test", 10, T0);
}

static void teardown(void)
{
    link_done(&l);
}

static void afresh(unsigned heartbeat)
{
    link_done(&l);
    link_init(&l, &url, "test", heartbeat, T0);
}

/* ---- What a broker says ---------------------------------------------------------------------- */

static void say(struct buf *to, amqp_method_number_t id, void *args)
{
    ck_assert(frame_method(to, 0, id, args));
}

static void say_start(struct buf *to)
{
    amqp_table_entry_t inner[] = {{amqp_text("basic.nack"), {.kind = 't', .value.boolean = 1}}};
    amqp_table_entry_t about[] = {
        {amqp_text("product"), {.kind = 'S', .value.bytes = amqp_text("RabbitMQ")}},
        {amqp_text("capabilities"), {.kind = 'F', .value.table = {1, inner}}}};
    amqp_connection_start_t start = {
        0, 9, {2, about}, amqp_text("AMQPLAIN PLAIN"), amqp_text("en_US")};
    say(to, AMQP_CONNECTION_START_METHOD, &start);
}

static void say_tune(struct buf *to, uint32_t frame_max, uint16_t heartbeat)
{
    say(to, AMQP_CONNECTION_TUNE_METHOD, &(amqp_connection_tune_t){2047, frame_max, heartbeat});
}

static void say_open_ok(struct buf *to)
{
    say(to, AMQP_CONNECTION_OPEN_OK_METHOD, &(amqp_connection_open_ok_t){0});
}

static void say_close(unsigned code, const char *text)
{
    say(&l.in, AMQP_CONNECTION_CLOSE_METHOD,
        &(amqp_connection_close_t){(uint16_t)code, amqp_text(text), 0, 0});
}

static void up(void)
{
    say_start(&l.in);
    say_tune(&l.in, 131072, 60);
    say_open_ok(&l.in);
    ck_assert_int_eq(link_next(&l, &f), LINK_OPENED);
    ck_assert_int_eq(link_next(&l, &f), LINK_NONE);
    link_sent(&l, l.out.len, T0);
}

/* The next method that we said; its arguments in *args. */
static amqp_method_number_t said(struct buf *out, struct bytes *args)
{
    struct frame w;
    long n = frame_next(buf_bytes(out), FRAME_MAX, &w);
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(w.type, AMQP_FRAME_METHOD);
    const uint8_t *p = w.payload.p;
    *args = bytes_of(p + 4, w.payload.n - 4);
    buf_consume(out, (size_t)n);
    return (amqp_method_number_t)p[0] << 24 | (amqp_method_number_t)p[1] << 16 |
           (amqp_method_number_t)p[2] << 8 | p[3];
}

static void ends(int code, const char *part)
{
    ck_assert_int_eq(link_next(&l, &f), LINK_ENDED);
    ck_assert_int_eq(l.error.code, code);
    ck_assert_msg(strstr(l.error.text, part) != NULL, "'%s' is not in: %s", part, l.error.text);
    ck_assert_int_eq(link_next(&l, &f), LINK_NONE);
}

/* ---- Handshake ------------------------------------------------------------------------------- */

START_TEST(the_handshake_says_who_we_are_and_what_we_can)
{
    struct bytes args;
    ck_assert(l.out.len == 8 && memcmp(buf_head(&l.out), "AMQP\0\0\x09\x01", 8) == 0);
    buf_consume(&l.out, 8);
    up();
    afresh(10);
    buf_consume(&l.out, 8);
    say_start(&l.in);
    ck_assert_int_eq(link_next(&l, &f), LINK_NONE);
    ck_assert_uint_eq(said(&l.out, &args), AMQP_CONNECTION_START_OK_METHOD);
    struct bytes table = bytes_of(args.p + 4, (size_t)args.p[2] << 8 | args.p[3]);
    struct field about, can;
    ck_assert_ptr_null(table_check(table));
    ck_assert(table_find(table, "connection_name", &about) && bytes_is(about.text, "test"));
    ck_assert(table_find(table, "capabilities", &about));
    const char *names[] = {"publisher_confirms", "exchange_exchange_bindings",
                           "basic.nack",         "consumer_cancel_notify",
                           "connection.blocked", "authentication_failure_close"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ck_assert_msg(table_find(about.text, names[i], &can) && can.i == 1, "%s", names[i]);
    struct bytes rest = bytes_of(table.p + table.n, (size_t)(args.p + args.n - table.p) - table.n);
    ck_assert_ptr_nonnull(memmem(rest.p, rest.n, "\x05PLAIN\0\0\0\x0a\0me\0secret", 20));
}
END_TEST

START_TEST(the_handshake_may_come_in_any_pieces)
{
    struct buf script = {0};
    say_start(&script);
    say_tune(&script, 131072, 60);
    say_open_ok(&script);
    for (size_t piece = 1; piece <= script.len; piece++) {
        bool opened = false;
        afresh(10);
        for (size_t at = 0; at < script.len; at += piece) {
            size_t n = script.len - at < piece ? script.len - at : piece;
            ck_assert(buf_append(&l.in, buf_head(&script) + at, n));
            enum link_event event;
            while ((event = link_next(&l, &f)) != LINK_NONE) {
                ck_assert_int_eq(event, LINK_OPENED);
                opened = true;
            }
        }
        ck_assert(opened);
        ck_assert_int_eq(l.state, LINK_UP);
    }
    buf_done(&script);
}
END_TEST

static void tuned(unsigned ours, uint16_t theirs, uint32_t frame_max)
{
    struct bytes args;
    afresh(ours);
    say_start(&l.in);
    say_tune(&l.in, frame_max, theirs);
    ck_assert_int_eq(link_next(&l, &f), LINK_NONE);
    buf_consume(&l.out, 8);
    said(&l.out, &args);
    ck_assert_uint_eq(said(&l.out, &args), AMQP_CONNECTION_TUNE_OK_METHOD);
    ck_assert_uint_eq((unsigned)args.p[6] << 8 | args.p[7], l.heartbeat);
    ck_assert_uint_eq((size_t)args.p[3] << 16 | (size_t)args.p[4] << 8 | args.p[5], l.frame_max);
    ck_assert_uint_eq(said(&l.out, &args), AMQP_CONNECTION_OPEN_METHOD);
    ck_assert(args.n >= 6 && memcmp(args.p, "\x05place", 6) == 0);
}

START_TEST(the_heartbeat_is_the_smaller_one_and_none_if_we_want_none)
{
    const unsigned cases[][3] = {{10, 60, 10}, {10, 5, 5}, {0, 60, 0}, {10, 0, 10}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tuned(cases[i][0], (uint16_t)cases[i][1], 131072);
        ck_assert_uint_eq(l.heartbeat, cases[i][2]);
    }
}
END_TEST

START_TEST(frames_are_asked_for_at_128_kib_and_never_taken_smaller)
{
    tuned(10, 60, 131072);
    ck_assert_uint_eq(l.frame_max, 131072);
    tuned(10, 60, 0); /* no limit */
    ck_assert_uint_eq(l.frame_max, 131072);
    tuned(10, 60, 1 << 20);
    ck_assert_uint_eq(l.frame_max, 131072);
    ck_assert_uint_eq(l.frame_limit, 1 << 20); /* a header frame comes whole */
    tuned(10, 60, 8192);
    ck_assert_uint_eq(l.frame_max, 8192);
    ck_assert_uint_eq(l.frame_limit, 131072);
}
END_TEST

START_TEST(before_tune_a_frame_over_8_kib_is_refused)
{
    ck_assert(buf_append(&l.in, "\x01\0\0\0\0\x1f\xf9", 7)); /* 8,185 and 8 bytes */
    ends(CTASK_EPROTO, "does not speak AMQP");
}
END_TEST

START_TEST(another_protocol_is_named_as_such)
{
    ck_assert(buf_append(&l.in, "HTTP/1.1 400 Bad Request\r\n\r\n", 28));
    ends(CTASK_EPROTO, "broker.example:5673: what answers there does not speak AMQP 0-9-1");
}
END_TEST

START_TEST(another_version_is_named_as_such)
{
    ck_assert(buf_append(&l.in, "AMQP\x03\x01\0\0", 8));
    ends(CTASK_EPROTO, "another version of AMQP");
}
END_TEST

START_TEST(a_port_that_speaks_tls_is_named_as_such)
{
    ck_assert(buf_append(&l.in, "\x15\x03\x03\0\x02\x02\x0a", 7));
    ends(CTASK_EPROTO, "use amqps://");
}
END_TEST

START_TEST(a_greeting_that_is_cut_or_nests_badly_is_refused)
{
    struct buf whole = {0};
    say_start(&whole);
    struct frame start;
    frame_next(buf_bytes(&whole), FRAME_MAX, &start);
    for (size_t n = 0; n + 10 < start.payload.n; n++) { /* up to the locales, which nobody reads */
        afresh(10);
        uint8_t *at = frame_room(&l.in, n);
        memcpy(at, start.payload.p, n);
        frame_seal(&l.in, AMQP_FRAME_METHOD, 0, n);
        ck_assert_int_eq(link_next(&l, &f), LINK_ENDED);
        ck_assert_int_eq(l.error.code, CTASK_EPROTO);
    }
    buf_done(&whole);
}
END_TEST

START_TEST(no_plain_login_is_said)
{
    amqp_connection_start_t start = {.version_minor = 9, .mechanisms = amqp_text("AMQPLAIN")};
    say(&l.in, AMQP_CONNECTION_START_METHOD, &start);
    ends(CTASK_EAUTH, "no PLAIN login");
}
END_TEST

/* ---- Refusals -------------------------------------------------------------------------------- */

START_TEST(a_wrong_password_is_a_sentence_without_the_password)
{
    say_start(&l.in);
    say_close(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.");
    ends(CTASK_EAUTH, "the broker at broker.example:5673 refused user \"me\": wrong user name or "
                      "password");
    ck_assert_ptr_null(strstr(l.error.text, "secret"));
}
END_TEST

START_TEST(a_missing_vhost_is_a_sentence)
{
    say_start(&l.in);
    say_tune(&l.in, 131072, 60);
    say_close(530, "NOT_ALLOWED - vhost place not found");
    ends(CTASK_EAUTH, "has no virtual host \"place\", or user \"me\" may not use it");
}
END_TEST

START_TEST(a_limit_that_is_reached_is_no_matter_of_permissions)
{
    say_start(&l.in);
    say_tune(&l.in, 131072, 60);
    say_close(530, "NOT_ALLOWED - access to vhost 'place' refused for user 'me': connection limit "
                   "(1) is reached");
    ends(CTASK_ECONN, "connection limit (1) is reached");
}
END_TEST

START_TEST(a_close_without_a_word_says_what_to_check)
{
    link_lost(&l, 0);
    ck_assert_ptr_nonnull(strstr(l.error.text, "is this RabbitMQ's AMQP port"));
    afresh(10);
    say_start(&l.in);
    link_next(&l, &f);
    link_lost(&l, 0);
    ck_assert_ptr_nonnull(strstr(l.error.text, "check user name and password"));
    afresh(10);
    up();
    link_lost(&l, 104);
    ck_assert_str_eq(l.error.text,
                     "lost the broker at broker.example:5673: Connection reset by peer");
}
END_TEST

/* ---- Up -------------------------------------------------------------------------------------- */

START_TEST(frames_of_channels_are_passed_on_in_order)
{
    up();
    for (int i = 1; i <= 3; i++) {
        uint8_t *at = frame_room(&l.in, 1);
        *at = (uint8_t)i;
        frame_seal(&l.in, AMQP_FRAME_BODY, (uint16_t)i, 1);
        ck_assert(frame_heartbeat(&l.in));
    }
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(link_next(&l, &f), LINK_FRAME);
        ck_assert_uint_eq(f.channel, i);
        ck_assert_uint_eq(f.payload.p[0], i);
    }
    ck_assert_int_eq(link_next(&l, &f), LINK_NONE);
    ck_assert_uint_eq(l.in.len, 0);
}
END_TEST

START_TEST(frames_of_channels_before_open_end_it)
{
    frame_room(&l.in, 0);
    frame_seal(&l.in, AMQP_FRAME_BODY, 1, 0);
    ends(CTASK_EPROTO, "");
}
END_TEST

START_TEST(blocked_and_unblocked_are_told_with_the_reason)
{
    up();
    say(&l.in, AMQP_CONNECTION_BLOCKED_METHOD,
        &(amqp_connection_blocked_t){amqp_text("low on memory")});
    ck_assert_int_eq(link_next(&l, &f), LINK_BLOCKED);
    ck_assert(l.blocked);
    ck_assert_str_eq(l.why, "low on memory");
    say(&l.in, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    ck_assert_int_eq(link_next(&l, &f), LINK_UNBLOCKED);
    ck_assert(!l.blocked);
}
END_TEST

START_TEST(an_unknown_method_ends_it)
{
    up();
    uint8_t *at = frame_room(&l.in, 4);
    memcpy(at, "\0\x0a\0\x46", 4); /* connection.update-secret */
    frame_seal(&l.in, AMQP_FRAME_METHOD, 0, 4);
    ends(CTASK_EPROTO, "unexpected method 0x000a0046");
}
END_TEST

START_TEST(a_tune_out_of_turn_ends_it)
{
    up();
    say_tune(&l.in, 131072, 60);
    ends(CTASK_EPROTO, "unexpected method");
}
END_TEST

START_TEST(a_close_by_the_broker_is_agreed_to_and_quoted)
{
    struct bytes args;
    up();
    say_close(320, "CONNECTION_FORCED - broker forced connection closure");
    ends(CTASK_ECONN, "320 CONNECTION_FORCED");
    ck_assert_uint_eq(said(&l.out, &args), AMQP_CONNECTION_CLOSE_OK_METHOD);
}
END_TEST

START_TEST(our_close_ends_when_the_broker_agrees)
{
    struct bytes args;
    up();
    link_close(&l);
    ck_assert_uint_eq(said(&l.out, &args), AMQP_CONNECTION_CLOSE_METHOD);
    say(&l.in, AMQP_CONNECTION_CLOSE_OK_METHOD, &(amqp_connection_close_ok_t){0});
    ends(CTASK_ECLOSED, "closed");
}
END_TEST

/* ---- Heartbeats ------------------------------------------------------------------------------ */

START_TEST(a_heartbeat_leaves_at_half_the_time_and_only_if_nothing_else_did)
{
    up();
    ck_assert_int_eq(link_wake(&l), T0 + 5 * CLOCK_SECOND);
    ck_assert(link_tick(&l, T0 + 5 * CLOCK_SECOND - 1));
    ck_assert_uint_eq(l.out.len, 0);
    ck_assert(link_tick(&l, T0 + 5 * CLOCK_SECOND));
    ck_assert_uint_eq(l.out.len, 8);
    ck_assert(link_tick(&l, T0 + 9 * CLOCK_SECOND)); /* still unsent: no second one behind it */
    ck_assert_uint_eq(l.out.len, 8);
    link_sent(&l, 8, T0 + 9 * CLOCK_SECOND);
    ck_assert_int_eq(link_wake(&l), T0 + 14 * CLOCK_SECOND);
}
END_TEST

START_TEST(silence_of_two_heartbeats_is_the_end)
{
    up();
    link_heard(&l, T0 + CLOCK_SECOND);
    ck_assert(link_tick(&l, T0 + 21 * CLOCK_SECOND));
    ck_assert_int_le(link_wake(&l), T0 + 21 * CLOCK_SECOND + 1);
    ck_assert(!link_tick(&l, T0 + 21 * CLOCK_SECOND + 1));
    ck_assert_int_eq(l.error.code, CTASK_ECONN);
    ck_assert_ptr_nonnull(strstr(l.error.text, "silent for 20 s"));
}
END_TEST

START_TEST(without_heartbeats_nothing_is_due)
{
    afresh(0);
    up();
    ck_assert_int_eq(link_wake(&l), CLOCK_NEVER);
    ck_assert(link_tick(&l, T0 + 3600 * CLOCK_SECOND));
    ck_assert_uint_eq(l.out.len, 0);
}
END_TEST

START_TEST(random_bytes_in_any_state_end_it_or_wait)
{
    uint32_t seed = 7;
    for (int i = 0; i < 20000; i++) {
        afresh(10);
        if (i % 2) up();
        for (int k = 0; k < 40; k++) {
            seed = seed * 1664525 + 1013904223;
            uint8_t byte = k % 10 == 0 ? 1 : k % 10 < 6 ? 0 : (uint8_t)(seed >> 24);
            ck_assert(buf_u8(&l.in, byte));
        }
        while (link_next(&l, &f) != LINK_NONE) {
        }
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("link");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_handshake_says_who_we_are_and_what_we_can);
    tcase_add_test(t, the_handshake_may_come_in_any_pieces);
    tcase_add_test(t, the_heartbeat_is_the_smaller_one_and_none_if_we_want_none);
    tcase_add_test(t, frames_are_asked_for_at_128_kib_and_never_taken_smaller);
    tcase_add_test(t, before_tune_a_frame_over_8_kib_is_refused);
    tcase_add_test(t, another_protocol_is_named_as_such);
    tcase_add_test(t, another_version_is_named_as_such);
    tcase_add_test(t, a_port_that_speaks_tls_is_named_as_such);
    tcase_add_test(t, a_greeting_that_is_cut_or_nests_badly_is_refused);
    tcase_add_test(t, no_plain_login_is_said);
    tcase_add_test(t, a_wrong_password_is_a_sentence_without_the_password);
    tcase_add_test(t, a_missing_vhost_is_a_sentence);
    tcase_add_test(t, a_limit_that_is_reached_is_no_matter_of_permissions);
    tcase_add_test(t, a_close_without_a_word_says_what_to_check);
    tcase_add_test(t, frames_of_channels_are_passed_on_in_order);
    tcase_add_test(t, frames_of_channels_before_open_end_it);
    tcase_add_test(t, blocked_and_unblocked_are_told_with_the_reason);
    tcase_add_test(t, an_unknown_method_ends_it);
    tcase_add_test(t, a_tune_out_of_turn_ends_it);
    tcase_add_test(t, a_close_by_the_broker_is_agreed_to_and_quoted);
    tcase_add_test(t, our_close_ends_when_the_broker_agrees);
    tcase_add_test(t, a_heartbeat_leaves_at_half_the_time_and_only_if_nothing_else_did);
    tcase_add_test(t, silence_of_two_heartbeats_is_the_end);
    tcase_add_test(t, without_heartbeats_nothing_is_due);
    tcase_add_test(t, random_bytes_in_any_state_end_it_or_wait);
    Suite *s = suite_create("link");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
