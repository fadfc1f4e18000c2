/* test_outbox.c - every message ends exactly once and on the right cookie, whatever the broker
 * answers and whenever the connection goes; what may have arrived is marked when it goes again. */
#include "amqp/frame.h"
#include "amqp/outbox.h"
#include "base/fd.h"
#include "base/props.h"

#include <check.h>
#include <ctask.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW 8
#define LIMIT ((size_t)256 << 10)

static struct outbox o;
static struct buf out, props;
static int cookies[64];

static void setup(void)
{
    outbox_init(&o, WINDOW, 1000000);
    out = (struct buf){0};
    props = (struct buf){0};
    struct props p = {.content_type = bytes_text("application/json"),
                      .correlation_id = bytes_text("id-1")};
    ck_assert(props_write(&props, &p));
}

static void teardown(void)
{
    outbox_done(&o);
    buf_done(&out);
    buf_done(&props);
}

static struct publish to(const char *key, int cookie)
{
    return (struct publish){.exchange = "",
                            .routing_key = key,
                            .props = buf_bytes(&props),
                            .body = bytes_text("body"),
                            .spool = -1,
                            .cookie = &cookies[cookie]};
}

static struct post *put(struct publish p)
{
    struct post *post = NULL;
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_OK);
    outbox_ready(&o, post);
    return post;
}

static void write_all(void)
{
    ck_assert(outbox_write(&o, &out, 1, FRAME_MAX, LIMIT, 0));
}

static void ended(int cookie, int outcome)
{
    struct post *p = outbox_take(&o);
    ck_assert_msg(p != NULL, "nothing ended");
    ck_assert_ptr_eq(p->what.cookie, &cookies[cookie]);
    ck_assert_int_eq(p->outcome, outcome);
    post_free(&o, p);
}

static void none_ended(void)
{
    ck_assert_ptr_null(outbox_take(&o));
}

/* Takes one message off out; its keys and properties as sent. */
struct seen {
    char key[256];
    bool again;
    size_t body;
    struct buf bytes;
};

static struct seen see(void)
{
    struct seen s = {0};
    struct frame f;
    uint64_t size;
    struct bytes raw;
    struct props p;
    struct field mark;
    long n = frame_next(buf_bytes(&out), FRAME_MAX, &f);
    ck_assert_int_gt(n, 0);
    ck_assert(f.payload.p[0] == 0 && f.payload.p[1] == 60 && f.payload.p[3] == 40);
    const uint8_t *at = f.payload.p + 6; /* after the ticket */
    at += 1 + at[0];                     /* exchange */
    memcpy(s.key, at + 1, at[0]);
    ck_assert_int_eq(at[1 + at[0]], 1); /* mandatory */
    buf_consume(&out, (size_t)n);
    n = frame_next(buf_bytes(&out), FRAME_MAX, &f);
    ck_assert(n > 0 && header_read(f.payload, &size, &raw));
    ck_assert_ptr_null(props_read(raw, &p));
    s.again = table_find(p.headers, "x-ctask-again", &mark) && mark.i == 1;
    buf_consume(&out, (size_t)n);
    while (s.body < size) {
        n = frame_next(buf_bytes(&out), FRAME_MAX, &f);
        ck_assert(n > 0 && f.type == AMQP_FRAME_BODY);
        s.body += f.payload.n;
        ck_assert(buf_bytes_append(&s.bytes, f.payload));
        buf_consume(&out, (size_t)n);
    }
    return s;
}

static void sees(const char *key, bool again)
{
    struct seen s = see();
    ck_assert_str_eq(s.key, key);
    ck_assert_int_eq(s.again, again);
    buf_done(&s.bytes);
}

START_TEST(a_confirm_ends_the_message_of_its_number)
{
    for (int i = 0; i < 4; i++) put(to("q", i));
    write_all();
    outbox_confirm(&o, 3, false, true);
    ended(2, CTASK_OK);
    outbox_confirm(&o, 2, true, true);
    ended(0, CTASK_OK);
    ended(1, CTASK_OK);
    none_ended();
    outbox_confirm(&o, 3, false, true); /* twice, and one never sent: no matter */
    outbox_confirm(&o, 99, false, true);
    none_ended();
    outbox_confirm(&o, 99, true, true);
    ended(3, CTASK_OK);
    ck_assert_uint_eq(o.count, 0);
    ck_assert_uint_eq(o.bytes, 0);
}
END_TEST

/* The table of numbers is smaller than what may be under way. */
START_TEST(a_confirm_out_of_order_is_found_among_thousands)
{
    enum { MANY = 5000 };
    static int cookie[MANY];
    outbox_done(&o);
    outbox_init(&o, MANY, SIZE_MAX);
    for (int i = 0; i < MANY; i++) {
        struct publish p = to("q", 0);
        p.cookie = &cookie[i];
        put(p);
    }
    ck_assert(outbox_write(&o, &out, 1, FRAME_MAX, SIZE_MAX, 0));
    for (size_t i = 0, at = 0; i < MANY; i++, at = (at + 3001) % MANY) {
        outbox_confirm(&o, at + 1, false, true);
        outbox_confirm(&o, at + 1, false, false); /* a broker that answers twice */
        struct post *p = outbox_take(&o);
        ck_assert_ptr_nonnull(p);
        ck_assert_ptr_eq(p->what.cookie, &cookie[at]);
        ck_assert_int_eq(p->outcome, CTASK_OK);
        post_free(&o, p);
        none_ended();
    }
    ck_assert_uint_eq(o.count, 0);
}
END_TEST

START_TEST(a_nack_ends_it_as_not_accepted)
{
    put(to("q", 0));
    put(to("q", 1));
    write_all();
    outbox_confirm(&o, 2, true, false);
    ended(0, CTASK_ENACK);
    ended(1, CTASK_ENACK);
}
END_TEST

static void come_back(const char *key, struct bytes with, uint64_t size)
{
    struct envelope m = {
        .exchange = "", .routing_key = key, .props = with, .body_size = size, .spool = -1};
    outbox_return(&o, &m);
}

START_TEST(a_return_lands_on_the_oldest_of_the_same_key_and_properties)
{
    put(to("gone", 0));
    put(to("here", 1));
    put(to("gone", 2));
    write_all();
    come_back("gone", buf_bytes(&props), 4);
    outbox_confirm(&o, 3, true, true);
    ended(0, CTASK_EROUTE);
    ended(1, CTASK_OK);
    ended(2, CTASK_OK); /* only one came back */
}
END_TEST

START_TEST(a_return_is_known_by_its_correlation_id_too)
{
    struct buf other = {0};
    struct props p = {.correlation_id = bytes_text("id-2")};
    ck_assert(props_write(&other, &p));
    struct publish second = to("gone", 1);
    second.props = buf_bytes(&other);
    put(to("gone", 0));
    put(second);
    write_all();
    struct buf changed = {0}; /* as a broker may encode them anew */
    p.has_priority = true;
    ck_assert(props_write(&changed, &p));
    come_back("gone", buf_bytes(&changed), 4);
    outbox_confirm(&o, 2, true, true);
    ended(0, CTASK_OK);
    ended(1, CTASK_EROUTE);
    buf_done(&other);
    buf_done(&changed);
}
END_TEST

START_TEST(a_return_of_something_else_is_nobodys)
{
    put(to("q", 0));
    write_all();
    come_back("q", buf_bytes(&props), 5); /* another size */
    come_back("r", buf_bytes(&props), 4);
    come_back("q", bytes_of("\0\0", 2), 4);
    outbox_confirm(&o, 1, false, true);
    ended(0, CTASK_OK);
}
END_TEST

START_TEST(the_window_counts_messages_and_bytes)
{
    struct post *post;
    for (int i = 0; i < WINDOW; i++) put(to("q", i));
    struct publish p = to("q", 0);
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EAGAIN);
    write_all();
    outbox_confirm(&o, 1, false, true);
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EAGAIN); /* until its outcome is taken */
    ended(0, CTASK_OK);
    put(p);
    outbox_done(&o);
    outbox_init(&o, WINDOW, 1000);
    char big[2000] = {0};
    p.body = bytes_of(big, sizeof big);
    put(p); /* alone it may be over */
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EAGAIN);
}
END_TEST

START_TEST(no_more_than_its_flight_is_under_way)
{
    o.flying_max = 2;
    for (int i = 0; i < 3; i++) put(to("q", i));
    write_all();
    ck_assert_uint_eq(o.seq, 2);
    ck_assert(!outbox_pending(&o));
    outbox_confirm(&o, 1, false, true);
    ck_assert(outbox_pending(&o));
    write_all();
    ck_assert_uint_eq(o.seq, 3);
    ck_assert_uint_eq(o.flying, 2);
    outbox_reset(&o, 0);
    ck_assert_uint_eq(o.flying, 0);
    ck_assert(outbox_pending(&o));
}
END_TEST

START_TEST(what_cannot_be_sent_is_refused_at_the_door)
{
    struct post *post;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    struct publish p = to(name, 0);
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p = to("q", 0);
    p.exchange = NULL;
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p = to("q", 0);
    p.ensure = name;
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p = to("q", 0);
    uint8_t *large = calloc(1, FRAME_MAX);
    p.props = bytes_of(large, FRAME_MAX);
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_ETOOBIG);
    free(large);
    ck_assert_uint_eq(o.count, 0);
}
END_TEST

START_TEST(after_a_loss_what_may_have_arrived_goes_again_marked_and_in_order)
{
    put(to("a", 0));
    put(to("b", 1));
    write_all();
    size_t half = out.len / 2; /* the first has left, the second not yet wholly */
    put(to("c", 2));
    write_all();
    put(to("d", 3)); /* not even written */
    outbox_reset(&o, half);
    buf_clear(&out);
    write_all();
    sees("a", true);
    sees("b", false);
    sees("c", false);
    sees("d", false);
    outbox_confirm(&o, 4, true, true); /* numbers start anew */
    for (int i = 0; i < 4; i++) ended(i, CTASK_OK);
}
END_TEST

START_TEST(the_mark_keeps_other_headers_and_comes_once)
{
    struct buf headers = {0}, with = {0};
    ck_assert(table_put_text(&headers, "task", bytes_text("t")));
    struct props p = {.has_headers = true, .headers = buf_bytes(&headers), .has_priority = true};
    ck_assert(props_write(&with, &p));
    struct publish what = to("q", 0);
    what.props = buf_bytes(&with);
    struct post *post = put(what);
    for (int i = 0; i < 3; i++) {
        write_all();
        outbox_reset(&o, out.len);
        buf_clear(&out);
    }
    struct field f;
    ck_assert_ptr_null(props_read(post->what.props, &p));
    ck_assert(table_find(p.headers, "task", &f) && bytes_is(f.text, "t"));
    ck_assert(table_find(p.headers, "x-ctask-again", &f) && f.i == 1);
    ck_assert_uint_eq(p.headers.n, headers.len + 1 + 13 + 1 + 1);
    ck_assert(p.has_priority);
    buf_done(&headers);
    buf_done(&with);
}
END_TEST

START_TEST(a_refused_one_alone_is_the_culprit)
{
    put(to("q", 0));
    write_all();
    outbox_refused(&o, out.len, 403, bytes_text("no exchange"));
    struct post *p = outbox_take(&o);
    ck_assert_int_eq(p->outcome, CTASK_EREFUSED);
    ck_assert_str_eq(p->why, "no exchange");
    post_free(&o, p);
}
END_TEST

START_TEST(a_refused_one_among_others_is_found_by_sending_one_at_a_time)
{
    for (int i = 0; i < 3; i++) put(to(i == 1 ? "bad" : "good", i));
    write_all();
    outbox_refused(&o, out.len, 403, bytes_text("no"));
    none_ended();
    buf_clear(&out);
    put(to("good", 3));
    write_all();
    sees("good", true);
    ck_assert_uint_eq(out.len, 0); /* the first goes alone */
    outbox_confirm(&o, 1, false, true);
    ended(0, CTASK_OK);
    write_all();
    sees("bad", true);
    ck_assert_uint_eq(out.len, 0);
    outbox_refused(&o, 0, 403, bytes_text("no"));
    ended(1, CTASK_EREFUSED);
    write_all();
    sees("good", true);
    ck_assert_uint_eq(out.len, 0); /* one that is new waits for the last suspect */
    outbox_confirm(&o, 1, false, true);
    ended(2, CTASK_OK);
    write_all();
    sees("good", false);
    outbox_confirm(&o, 2, false, true);
    ended(3, CTASK_OK);
}
END_TEST

static void blamed(bool alone)
{
    outbox_blamed(&o, UINT64_MAX, alone, bytes_text("541 INTERNAL_ERROR"));
    buf_clear(&out);
}

START_TEST(one_for_which_the_connection_is_closed_is_found_and_ends_after_three_times)
{
    for (int i = 0; i < 3; i++) put(to(i == 0 ? "bad" : "good", i));
    write_all();
    blamed(true);
    none_ended();
    write_all();
    sees("bad", true);
    ck_assert_uint_eq(out.len, 0);
    blamed(true);
    for (int i = 1; i < 3; i++) { /* the others do not wait for its next time */
        write_all();
        sees("good", true);
        ck_assert_uint_eq(out.len, 0);
        outbox_confirm(&o, (uint64_t)i, false, true);
        ended(i, CTASK_OK);
    }
    write_all();
    sees("bad", true);
    blamed(true);
    none_ended();
    write_all();
    sees("bad", true);
    blamed(true);
    struct post *p = outbox_take(&o);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(p->outcome, CTASK_EREFUSED);
    ck_assert_str_eq(p->why, "541 INTERNAL_ERROR");
    ck_assert(p->hopeless);
    post_free(&o, p);
    ck_assert(!outbox_pending(&o));
}
END_TEST

START_TEST(while_suspects_wait_the_others_go)
{
    put(to("bad", 0));
    write_all();
    blamed(true);
    o.suspects_wait = true;
    ck_assert(!outbox_pending(&o));
    for (int i = 1; i < 3; i++) put(to("good", i));
    write_all();
    for (int i = 1; i < 3; i++) sees("good", false);
    ck_assert_uint_eq(out.len, 0);
    ck_assert(!outbox_pending(&o));
    outbox_confirm(&o, 2, true, true);
    for (int i = 1; i < 3; i++) ended(i, CTASK_OK);
    o.suspects_wait = false;
    write_all();
    sees("bad", true);
    outbox_confirm(&o, 3, false, true);
    ended(0, CTASK_OK);
}
END_TEST

START_TEST(while_something_else_is_under_way_none_is_the_culprit)
{
    put(to("q", 0));
    for (int i = 0; i < 2 * CLOSES_MAX; i++) {
        write_all();
        sees("q", i > 0);
        blamed(false);
        none_ended();
    }
    write_all();
    outbox_confirm(&o, 1, false, true);
    ended(0, CTASK_OK);
}
END_TEST

START_TEST(one_that_is_partly_written_may_be_the_culprit)
{
    uint8_t *body = calloc(1, 700000);
    struct publish large = to("large", 0);
    large.body = bytes_of(body, 700000);
    put(large);
    for (int i = 0; i < CLOSES_MAX; i++) {
        none_ended();
        write_all();
        ck_assert(o.begun);
        blamed(true);
    }
    ended(0, CTASK_EREFUSED);
    put(large);
    put(to("q", 1));
    write_all();
    outbox_refused(&o, 0, 403, bytes_text("no"));
    ended(0, CTASK_EREFUSED);
    buf_clear(&out);
    write_all();
    sees("q", false);
    outbox_confirm(&o, 1, false, true);
    ended(1, CTASK_OK);
    free(body);
}
END_TEST

START_TEST(a_recalled_one_that_is_the_culprit_is_gone)
{
    put(to("bad", 0));
    write_all();
    ck_assert(outbox_recall(&o, &cookies[0]));
    blamed(true);
    none_ended();
    ck_assert_uint_eq(o.count, 0);
}
END_TEST

START_TEST(a_large_body_leaves_in_frames_as_the_buffer_drains)
{
    size_t n = 700000, cut = 0;
    uint8_t *large = malloc(n);
    for (size_t i = 0; i < n; i++) large[i] = (uint8_t)(i * 7 >> 3);
    outbox_done(&o);
    outbox_init(&o, WINDOW, 1 << 20);
    struct publish p = to("q", 0);
    p.body = bytes_of(large, n);
    put(p);
    struct buf wire = {0};
    while (outbox_pending(&o)) {
        ck_assert(outbox_write(&o, &out, 1, FRAME_MAX, LIMIT, 0));
        ck_assert_uint_le(out.len, LIMIT + FRAME_MAX);
        ck_assert(buf_bytes_append(&wire, buf_bytes(&out)));
        buf_clear(&out);
        cut++;
    }
    ck_assert_uint_ge(cut, 3);
    struct buf empty = out;
    out = wire;
    struct seen s = see();
    ck_assert_uint_eq(s.body, n);
    ck_assert_mem_eq(buf_head(&s.bytes), large, n);
    buf_done(&s.bytes);
    wire = out;
    out = empty;
    buf_done(&wire);
    free(large);
}
END_TEST

static struct publish from_file(size_t n, int cookie)
{
    struct publish p = to("q", cookie);
    p.spool = fd_spool();
    p.spool_size = n;
    ck_assert_int_ge(p.spool, 0);
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(write(p.spool, &(char){(char)i}, 1), 1);
    return p;
}

START_TEST(a_body_in_a_file_leaves_as_one_in_memory)
{
    struct publish p = from_file(3000, 0);
    put(p);
    write_all();
    struct seen s = see();
    ck_assert_uint_eq(s.body, 3000);
    for (size_t i = 0; i < 3000; i++) ck_assert_int_eq(buf_head(&s.bytes)[i], i & 0xff);
    buf_done(&s.bytes);
    outbox_confirm(&o, 1, false, true);
    ended(0, CTASK_OK);
    ck_assert_int_eq(close(p.spool), 0); /* it stayed its owner's */
}
END_TEST

START_TEST(a_file_cut_short_ends_the_connection_not_the_stream)
{
    struct publish p = from_file(10, 0);
    p.spool_size = 11;
    put(p);
    ck_assert(!outbox_write(&o, &out, 1, FRAME_MAX, LIMIT, 0));
    close(p.spool);
}
END_TEST

START_TEST(a_recalled_one_has_no_outcome)
{
    put(to("q", 0));
    write_all();
    put(to("q", 1));
    ck_assert(outbox_recall(&o, &cookies[1])); /* not sent: gone */
    ck_assert_uint_eq(o.count, 1);
    ck_assert(outbox_recall(&o, &cookies[0])); /* sent: its number stays */
    ck_assert(!outbox_recall(&o, &cookies[0]));
    ck_assert_uint_eq(o.count, 1);
    ck_assert_uint_eq(o.recalled, 1);
    outbox_confirm(&o, 1, false, true);
    none_ended();
    ck_assert_uint_eq(o.count, 0);
    ck_assert_uint_eq(o.recalled, 0);
    put(to("q", 2));
    write_all();
    outbox_recall(&o, &cookies[2]);
    outbox_reset(&o, out.len); /* and is not sent again */
    ck_assert(!outbox_pending(&o));
    ck_assert_uint_eq(o.count, 0);
}
END_TEST

START_TEST(one_that_ended_may_still_be_recalled)
{
    put(to("q", 0));
    write_all();
    outbox_confirm(&o, 1, false, true);
    ck_assert(outbox_recall(&o, &cookies[0]));
    none_ended();
    ck_assert_uint_eq(o.count, 0);
}
END_TEST

START_TEST(a_file_recalled_in_mid_message_may_be_closed_by_its_owner)
{
    struct publish p = from_file(1000, 0);
    put(p);
    ck_assert(outbox_write(&o, &out, 1, 256 + FRAME_OVERHEAD, 300, 0));
    ck_assert(outbox_pending(&o));
    ck_assert(outbox_recall(&o, &cookies[0]));
    close(p.spool);
    ck_assert(outbox_write(&o, &out, 1, 256 + FRAME_OVERHEAD, LIMIT, 0));
    struct seen s = see();
    ck_assert_uint_eq(s.body, 1000);
    buf_done(&s.bytes);
    outbox_confirm(&o, 1, false, true);
    none_ended();
}
END_TEST

START_TEST(one_with_a_known_queue_that_comes_back_is_looked_after_once)
{
    struct publish p = to("q", 0);
    p.ensure = "q";
    put(p);
    for (int i = 0; i < 2; i++) {
        write_all();
        buf_clear(&out);
        come_back("q", buf_bytes(&props), 4);
        outbox_confirm(&o, (uint64_t)i + 1, false, true);
        if (i == 1) break;
        ck_assert(!list_empty(&o.unroutable));
        outbox_ready(&o, list_first(&o.unroutable, struct post, link));
    }
    ended(0, CTASK_EROUTE);
}
END_TEST

/* Its queue may be on a node that has gone down, and may have it: it is marked. */
START_TEST(one_that_is_not_accepted_has_its_queue_looked_at_once)
{
    struct publish p = to("q", 0);
    p.ensure = "q";
    struct post *post = put(p);
    write_all();
    outbox_confirm(&o, 1, false, false);
    ck_assert(!list_empty(&o.unroutable));
    ck_assert_ptr_null(outbox_take(&o));
    ck_assert_ptr_nonnull(post->marked);
    outbox_ready(&o, post);
    write_all();
    outbox_confirm(&o, 2, false, false);
    ck_assert(list_empty(&o.unroutable));
    ended(0, CTASK_ENACK);
}
END_TEST

/* It may be in a queue all the same, and its sender sends it again as it gets it back. */
START_TEST(one_that_is_not_accepted_ends_marked_though_no_queue_can_be_looked_at)
{
    struct post *first = put(to("q", 0)), *second = put(to("q", 1));
    write_all();
    outbox_confirm(&o, 2, true, false);
    ck_assert_ptr_nonnull(first->marked);
    ck_assert_ptr_eq(first->what.props.p, first->marked);
    ck_assert_ptr_nonnull(second->marked);
    ended(0, CTASK_ENACK);
    ended(1, CTASK_ENACK);
}
END_TEST

START_TEST(properties_over_a_small_frame_end_without_being_sent)
{
    uint8_t large[9000] = {0};
    struct publish p = to("q", 0);
    p.props = bytes_of(large, sizeof large);
    put(p);
    put(to("q", 1));
    ck_assert(outbox_write(&o, &out, 1, 8192, LIMIT, 0));
    ended(0, CTASK_ETOOBIG);
    sees("q", false);
}
END_TEST

START_TEST(whatever_happens_each_message_ends_once)
{
    uint32_t seed = 5;
    unsigned begun = 0, over = 0;
    for (int i = 0; i < 50000; i++) {
        struct publish p = to("q", (int)(begun % 64));
        struct post *post;
        seed = seed * 1664525 + 1013904223;
        switch (seed >> 28) {
        case 0: outbox_reset(&o, seed >> 8 & 1 ? UINT64_MAX : 0); break;
        case 1: outbox_refused(&o, UINT64_MAX, 403, bytes_text("no")); break;
        case 2: come_back("q", buf_bytes(&props), 4); break;
        case 3: outbox_confirm(&o, seed >> 8 & 15, seed & 64, seed & 128); break;
        case 4: outbox_confirm(&o, o.seq, seed & 64, true); break;
        case 5:
        case 6: write_all(); break;
        default:
            if (outbox_put(&o, &p, &post) != CTASK_OK) break;
            outbox_ready(&o, post);
            begun++;
        }
        while ((post = outbox_take(&o))) {
            over++;
            post_free(&o, post);
        }
        if (out.len > 100000) buf_clear(&out);
        ck_assert_uint_eq(begun, over + o.count);
    }
    ck_assert_uint_gt(over, 1000);
}
END_TEST

START_TEST(a_delayed_one_goes_to_the_ladder_and_comes_back_from_there)
{
    static const char key[] = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.1.q";
    struct post *post;
    struct publish p = to("q", 1);
    p.delay = 5;
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL); /* to which queue? */
    p.ensure = "q";
    post = put(p);
    write_all();
    struct seen s = see();
    ck_assert_str_eq(s.key, key);
    buf_done(&s.bytes);
    struct envelope back = {.exchange = "celery_delayed_2",
                            .routing_key = key,
                            .props = buf_bytes(&props),
                            .body_size = 4};
    outbox_return(&o, &back);
    outbox_confirm(&o, 1, false, true);
    ck_assert_ptr_eq(list_first(&o.unroutable, struct post, link), post);
    post->looked_again = true;
    outbox_ready(&o, post);
    write_all();
    outbox_return(&o, &back);
    outbox_confirm(&o, 2, false, true);
    struct post *done = outbox_take(&o);
    ck_assert_int_eq(done->outcome, CTASK_EROUTE);
    ck_assert_str_eq(done->what.routing_key, "q"); /* as its owner gave it */
    post_free(&o, done);
}
END_TEST

START_TEST(a_delay_that_is_none_is_refused)
{
    struct post *post;
    struct publish p = to("q", 1);
    p.ensure = "q";
    p.delay = 1 << 28;
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p.delay = 1;
    p.routing_key = p.ensure = "a.#";
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p.routing_key = p.ensure = "q";
    p.exchange = "x";
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_EINVAL);
    p.exchange = "";
    ck_assert_int_eq(outbox_put(&o, &p, &post), CTASK_OK);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("outbox");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_confirm_ends_the_message_of_its_number);
    tcase_add_test(t, a_confirm_out_of_order_is_found_among_thousands);
    tcase_add_test(t, a_nack_ends_it_as_not_accepted);
    tcase_add_test(t, a_return_lands_on_the_oldest_of_the_same_key_and_properties);
    tcase_add_test(t, a_return_is_known_by_its_correlation_id_too);
    tcase_add_test(t, a_return_of_something_else_is_nobodys);
    tcase_add_test(t, the_window_counts_messages_and_bytes);
    tcase_add_test(t, no_more_than_its_flight_is_under_way);
    tcase_add_test(t, what_cannot_be_sent_is_refused_at_the_door);
    tcase_add_test(t, after_a_loss_what_may_have_arrived_goes_again_marked_and_in_order);
    tcase_add_test(t, the_mark_keeps_other_headers_and_comes_once);
    tcase_add_test(t, a_refused_one_alone_is_the_culprit);
    tcase_add_test(t, a_refused_one_among_others_is_found_by_sending_one_at_a_time);
    tcase_add_test(t, one_for_which_the_connection_is_closed_is_found_and_ends_after_three_times);
    tcase_add_test(t, while_something_else_is_under_way_none_is_the_culprit);
    tcase_add_test(t, while_suspects_wait_the_others_go);
    tcase_add_test(t, one_that_is_partly_written_may_be_the_culprit);
    tcase_add_test(t, a_recalled_one_that_is_the_culprit_is_gone);
    tcase_add_test(t, a_large_body_leaves_in_frames_as_the_buffer_drains);
    tcase_add_test(t, a_body_in_a_file_leaves_as_one_in_memory);
    tcase_add_test(t, a_file_cut_short_ends_the_connection_not_the_stream);
    tcase_add_test(t, a_recalled_one_has_no_outcome);
    tcase_add_test(t, one_that_ended_may_still_be_recalled);
    tcase_add_test(t, a_file_recalled_in_mid_message_may_be_closed_by_its_owner);
    tcase_add_test(t, one_with_a_known_queue_that_comes_back_is_looked_after_once);
    tcase_add_test(t, one_that_is_not_accepted_has_its_queue_looked_at_once);
    tcase_add_test(t, one_that_is_not_accepted_ends_marked_though_no_queue_can_be_looked_at);
    tcase_add_test(t, properties_over_a_small_frame_end_without_being_sent);
    tcase_add_test(t, a_delayed_one_goes_to_the_ladder_and_comes_back_from_there);
    tcase_add_test(t, a_delay_that_is_none_is_refused);
    tcase_add_test(t, whatever_happens_each_message_ends_once);
    Suite *s = suite_create("outbox");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
