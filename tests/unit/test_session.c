/* test_session.c - a whole connection against a broker that the test plays: what waits for a queue
 * or for the delay queues through an alarm, a lost connection and a refusal; a channel that is
 * opened anew since the broker goes on refusing what is sent over it; the way back to the first
 * URL; and that a connection which failed between two turns does not sleep. */
#include "transport/session.h"

#include "client/inside.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"

#include <check.h>
#include <ctask.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 100, ASKER = CHANNELS - 1 };

static const uint8_t handshake[] = {
    /* connection.start 0-9, no properties, PLAIN, en_US */
    1, 0, 0, 0, 0, 0, 28, 0, 10, 0, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 'P', 'L', 'A', 'I', 'N', 0, 0,
    0, 5, 'e', 'n', '_', 'U', 'S', 0xCE,
    /* connection.tune: 100 channels, frames of 131072, no heartbeat */
    1, 0, 0, 0, 0, 0, 12, 0, 10, 0, 30, 0, CHANNELS, 0, 2, 0, 0, 0, 0, 0xCE,
    /* connection.open-ok */
    1, 0, 0, 0, 0, 0, 5, 0, 10, 0, 41, 0, 0xCE};

static struct url url;
static struct broker *b;
static int far; /* the broker's end */
static int64_t now;
static struct buf heard; /* of what the client said, not yet looked at */
static amqp_pool_t pool;
static int cookie, outcomes;
static struct ctask_error outcome;               /* the last one */
static unsigned refusals;                        /* of delays */
static unsigned looks, published;                /* heard so far */
static bool leaderless;                          /* the last BROKER_QUEUE */
static unsigned their_consumers, their_messages; /* what queue.declare-ok says */
static unsigned acks;                            /* of deliveries, heard so far */
static unsigned opened, closed;                  /* publishing channels, heard so far */
static char exchange[256];                       /* of the last one published */
static unsigned ups, downs;
static struct ctask_error down; /* the last one */
static struct envelope *arrived[4];
static unsigned arrivals;
static uint16_t mute;         /* what is asked on this channel is not answered; 0: none */
static uint16_t consumed_on;  /* the channel of the last basic.consume */
static unsigned consumers;    /* BROKER_CONSUMING so far */
static int64_t consume_takes; /* the broker's time for a basic.consume; 0: it answers at once */
static struct {
    int64_t at; /* when consume-ok is due; 0: no basic.consume is under way */
    char tag[32];
    bool close;           /* channel.close follows it, and is answered after it */
} consumes[CHANNELS + 1]; /* by channel: the basic.consume that blocks it */

/* ---- The two ends ---------------------------------------------------------------------------- */

static void turn(void)
{
    struct broker_event ev;
    broker_turn(b, now);
    while (broker_next(b, &ev)) {
        if (ev.kind == BROKER_MESSAGE) {
            ck_assert_uint_lt(arrivals, 4);
            arrived[arrivals++] = ev.message;
        }
        ups += ev.kind == BROKER_UP;
        downs += ev.kind == BROKER_DOWN;
        consumers += ev.kind == BROKER_CONSUMING;
        if (ev.kind == BROKER_QUEUE) leaderless = ev.leaderless;
        if (ev.kind == BROKER_DOWN) down = ev.error;
        if (ev.kind == BROKER_DELAYS) refusals += ev.error.code != CTASK_OK;
        if (ev.kind != BROKER_PUBLISHED) continue;
        outcomes++;
        outcome = ev.error;
    }
}

static void say(uint16_t channel, amqp_method_number_t id, void *method)
{
    struct buf out = {0};
    ck_assert(frame_method(&out, channel, id, method));
    ck_assert_int_eq(send(far, buf_head(&out), out.len, 0), (ssize_t)out.len);
    buf_done(&out);
}

static void connect_now(void)
{
    int pair[2];
    ck_assert_int_eq(fd_pair(pair), 0);
    fd_nonblock(pair[0], true);
    far = pair[1];
    b->stream.fd = pair[0];
    session_begin(b, now);
    ck_assert_int_eq(send(far, handshake, sizeof handshake, 0), sizeof handshake);
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}

static void lose_connection(void)
{
    close(far);
    buf_consume(&heard, heard.len);
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
}

static void setup(void)
{
    struct ctask_error e;
    ck_assert_int_eq(url_parse("amqp://127.0.0.1:1", &url, &e), CTASK_OK);
    b = broker_new(&(struct broker_config){.url = &url});
    ck_assert_ptr_nonnull(b);
    init_amqp_pool(&pool, 512);
    now = clock_now();
    outcomes = 0;
    looks = published = acks = refusals = arrivals = opened = closed = ups = downs = 0;
    mute = consumed_on = 0;
    consumers = their_consumers = their_messages = 0;
    leaderless = false;
    consume_takes = 0;
    memset(consumes, 0, sizeof consumes);
    connect_now();
}

static void teardown(void)
{
    while (arrivals > 0) envelope_free(arrived[--arrivals]);
    broker_free(b);
    buf_done(&heard);
    empty_amqp_pool(&pool);
    close(far);
}

static void consume_later(uint16_t channel, const amqp_basic_consume_t *consume)
{
    consumes[channel].at = now + consume_takes;
    snprintf(consumes[channel].tag, sizeof consumes->tag, "%.*s",
             BYTES_ARG(bytes_amqp(consume->consumer_tag)));
}

/* Answers each basic.consume whose time is over, and the channel.close behind it. */
static void consume_at_last(void)
{
    for (uint16_t n = 1; n <= CHANNELS; n++) {
        if (consumes[n].at == 0 || consumes[n].at > now) continue;
        say(n, AMQP_BASIC_CONSUME_OK_METHOD,
            &(amqp_basic_consume_ok_t){.consumer_tag = amqp_text(consumes[n].tag)});
        if (consumes[n].close) say(n, AMQP_CHANNEL_CLOSE_OK_METHOD, &(amqp_channel_close_ok_t){0});
        memset(&consumes[n], 0, sizeof consumes[n]);
    }
}

/* The answer to each question is its number and one more. */
static void agree(uint16_t channel, amqp_method_number_t id, const void *method)
{
    amqp_queue_declare_ok_t declared = {.queue = amqp_text("any"),
                                        .message_count = their_messages,
                                        .consumer_count = their_consumers};
    uint64_t zeroes[8] = {0};
    const amqp_basic_publish_t *publish = method;
    const amqp_basic_consume_t *consume = method;
    if (consume_takes > 0 && id == AMQP_BASIC_CONSUME_METHOD) {
        consume_later(channel, consume);
        return;
    }
    if (consumes[channel].at > 0 && id == AMQP_CHANNEL_CLOSE_METHOD) {
        consumes[channel].close = true;
        return;
    }
    switch (id) {
    case AMQP_CHANNEL_OPEN_METHOD:
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CONFIRM_SELECT_METHOD:
    case AMQP_EXCHANGE_DECLARE_METHOD:
    case AMQP_EXCHANGE_BIND_METHOD:
    case AMQP_QUEUE_BIND_METHOD: say(channel, id + 1, zeroes); break;
    case AMQP_QUEUE_DECLARE_METHOD: say(channel, id + 1, &declared); break;
    case AMQP_BASIC_CONSUME_METHOD:
        say(channel, id + 1, &(amqp_basic_consume_ok_t){.consumer_tag = consume->consumer_tag});
        break;
    case AMQP_BASIC_PUBLISH_METHOD:
        published++;
        snprintf(exchange, sizeof exchange, "%.*s", BYTES_ARG(bytes_amqp(publish->exchange)));
        break;
    default: break;
    }
}

/* Hears all that was said, and answers it if it agrees. */
static bool listen_once(bool agrees)
{
    struct frame f;
    long n;
    uint8_t bytes[65536];
    while ((n = recv(far, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        ck_assert(buf_append(&heard, bytes, (size_t)n));
    if (heard.len >= 8 && memcmp(buf_head(&heard), "AMQP", 4) == 0) buf_consume(&heard, 8);
    bool any = false;
    for (; (n = frame_next(buf_bytes(&heard), FRAME_MAX, &f)) > 0; buf_consume(&heard, (size_t)n)) {
        const uint8_t *p = f.payload.p;
        void *m = NULL;
        if (f.type != AMQP_FRAME_METHOD || f.channel == 0) continue;
        any = true;
        recycle_amqp_pool(&pool);
        amqp_method_number_t id = (amqp_method_number_t)p[1] << 16 | p[3];
        amqp_bytes_t args = {f.payload.n - 4, (void *)(uintptr_t)(p + 4)};
        ck_assert_int_ge(amqp_decode_method(id, &pool, args, &m), 0);
        if (f.channel == ASKER && id == AMQP_QUEUE_DECLARE_METHOD) looks++;
        acks += id == AMQP_BASIC_ACK_METHOD;
        opened += f.channel == CHANNEL_PUBLISH && id == AMQP_CHANNEL_OPEN_METHOD;
        closed += f.channel == CHANNEL_PUBLISH && id == AMQP_CHANNEL_CLOSE_METHOD;
        if (id == AMQP_BASIC_CONSUME_METHOD) consumed_on = f.channel;
        if (agrees && f.channel != mute) agree(f.channel, id, m);
        if (!agrees && id == AMQP_BASIC_PUBLISH_METHOD) published++;
    }
    return any;
}

/* To all that is asked, until nothing more is. */
static void agree_to_all(void)
{
    do turn();
    while (listen_once(true));
}

static void publish(uint32_t delay)
{
    static const uint8_t no_props[2];
    ck_assert_int_eq(broker_publish(b, &(struct publish){.exchange = "",
                                                         .routing_key = "q",
                                                         .ensure = "q",
                                                         .delay = delay,
                                                         .props = bytes_of(no_props, 2),
                                                         .body = bytes_text("[[], {}, {}]"),
                                                         .spool = -1,
                                                         .cookie = &cookie}),
                     CTASK_OK);
}

static void confirm(uint64_t tag)
{
    say(CHANNEL_PUBLISH, AMQP_BASIC_ACK_METHOD, &(amqp_basic_ack_t){.delivery_tag = tag});
    turn();
    ck_assert_int_eq(outcomes, 1);
    ck_assert_int_eq(outcome.code, CTASK_OK);
}

static void refuse_exchange(void)
{
    amqp_channel_close_t close = {.reply_code = AMQP_NOT_FOUND,
                                  .reply_text = amqp_text("NOT_FOUND - no exchange"),
                                  .class_id = AMQP_BASIC_CLASS,
                                  .method_id = AMQP_BASIC_PUBLISH_METHOD & 0xFFFF};
    say(CHANNEL_PUBLISH, AMQP_CHANNEL_CLOSE_METHOD, &close);
    turn();
}

/* ---- Alarms ---------------------------------------------------------------------------------- */

/* The broker does not read from who publishes then, so silence says nothing about the queue. */
START_TEST(a_look_at_a_queue_outlasts_an_alarm)
{
    publish(0);
    turn();
    listen_once(false);
    ck_assert_uint_eq(looks, 1);
    say(0, AMQP_CONNECTION_BLOCKED_METHOD,
        &(amqp_connection_blocked_t){.reason = amqp_text("low on memory")});
    turn();
    for (int i = 0; i < 10; i++) {
        now += 10 * CLOCK_SECOND;
        turn();
    }
    ck_assert_int_eq(outcomes, 0);
    ck_assert(!listen_once(false));
    int64_t wake = CLOCK_NEVER;
    struct pollfd p;
    broker_poll(b, &p, &wake);
    ck_assert_int_eq(p.events, POLLIN);
    say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    turn();
    say(ASKER, AMQP_CHANNEL_OPEN_OK_METHOD, &(amqp_channel_open_ok_t){0});
    say(ASKER, AMQP_QUEUE_DECLARE_OK_METHOD, &(amqp_queue_declare_ok_t){.queue = amqp_text("q")});
    agree_to_all();
    ck_assert_uint_eq(published, 1);
    confirm(1);
}
END_TEST

/* ---- Delayed messages ------------------------------------------------------------------------ */

START_TEST(a_delayed_message_that_is_sent_again_waits_for_its_queue_there)
{
    publish(5);
    agree_to_all();
    ck_assert_uint_eq(published, 1);
    ck_assert_str_eq(exchange, "celery_delayed_2");
    lose_connection();
    looks = published = 0;
    connect_now();
    turn();
    listen_once(false);
    ck_assert_uint_eq(looks, 1);
    ck_assert_uint_eq(published, 0);
    say(ASKER, AMQP_CHANNEL_OPEN_OK_METHOD, &(amqp_channel_open_ok_t){0});
    say(ASKER, AMQP_QUEUE_DECLARE_OK_METHOD, &(amqp_queue_declare_ok_t){.queue = amqp_text("q")});
    agree_to_all();
    ck_assert_uint_eq(published, 1);
    confirm(1);
}
END_TEST

START_TEST(a_ladder_that_was_deleted_is_declared_again)
{
    publish(5);
    agree_to_all();
    refuse_exchange();
    ck_assert_int_eq(outcomes, 0);
    agree_to_all();
    ck_assert_uint_eq(published, 2);
    confirm(1);
}
END_TEST

START_TEST(an_exchange_that_stays_missing_ends_a_delayed_message)
{
    publish(5);
    agree_to_all();
    refuse_exchange();
    agree_to_all();
    refuse_exchange();
    ck_assert_int_eq(outcomes, 1);
    ck_assert_int_eq(outcome.code, CTASK_EROUTE);
}
END_TEST

static void refuse_delays(void)
{
    amqp_channel_close_t close = {.reply_code = AMQP_ACCESS_REFUSED,
                                  .reply_text = amqp_text("ACCESS_REFUSED"),
                                  .class_id = AMQP_EXCHANGE_CLASS,
                                  .method_id = AMQP_EXCHANGE_DECLARE_METHOD & 0xFFFF};
    turn();
    say(CHANNELS, AMQP_CHANNEL_CLOSE_METHOD, &close);
    turn();
}

START_TEST(each_refusal_of_delays_is_told)
{
    ck_assert(!broker_delays(b, "q", false));
    refuse_delays();
    ck_assert_uint_eq(refusals, 1);
    b->ladder.retry_at = 0;
    ck_assert(!broker_delays(b, "q", false));
    refuse_delays();
    ck_assert_uint_eq(refusals, 2);
}
END_TEST

START_TEST(a_message_that_is_refused_at_once_says_why_as_the_first_does)
{
    mute = CHANNELS;
    publish(5);
    agree_to_all();
    now += 15 * CLOCK_SECOND;
    turn();
    for (int i = 1; i <= 2; i++) {
        ck_assert_int_eq(outcomes, i);
        ck_assert_int_eq(outcome.code, CTASK_EUNAVAILABLE);
        ck_assert_ptr_nonnull(strstr(outcome.text, "does not answer for its delay queues"));
        publish(5);
        agree_to_all();
    }
}
END_TEST

/* ---- Large bodies ---------------------------------------------------------------------------- */

static void consume(const char *queue)
{
    broker_queue(b, queue, QUEUE_TASK);
    ck_assert_int_eq(broker_consume(b, queue, 10), CTASK_OK);
}

static void deliver(uint16_t channel)
{
    say(channel, AMQP_BASIC_DELIVER_METHOD,
        &(amqp_basic_deliver_t){.consumer_tag = amqp_text("ctask.1"), .delivery_tag = 1});
}

/* The rest of the delivery: what begin says of it, and the body. */
static void deliver_body(uint16_t channel, bool begin)
{
    struct buf out = {0};
    uint8_t *body = begin ? NULL : frame_room(&out, 100);
    if (begin)
        ck_assert(frame_header(&out, channel, 100, bytes_of("\0", 2)));
    else
        frame_seal(&out, AMQP_FRAME_BODY, channel, 100);
    if (body) memset(body, 'x', 100);
    ck_assert_int_eq(send(far, buf_head(&out), out.len, 0), (ssize_t)out.len);
    buf_done(&out);
    turn();
}

/* Frames of two channels come as they like. */
START_TEST(one_large_body_is_spooled_at_a_time_also_on_two_channels)
{
    b->cfg.body_max = 10;
    consume("q");
    consume("r");
    agree_to_all();
    deliver(CHANNEL_CONSUME);
    deliver(CHANNEL_CONSUME + 1);
    deliver_body(CHANNEL_CONSUME, true);
    deliver_body(CHANNEL_CONSUME + 1, true);
    ck_assert_int_eq(broker_spool_free_at(b), CLOCK_NEVER);
    deliver_body(CHANNEL_CONSUME, false);
    deliver_body(CHANNEL_CONSUME + 1, false);
    ck_assert_uint_eq(arrivals, 2);
    ck_assert_int_ge(arrived[0]->spool, 0);
    ck_assert_int_lt(arrived[1]->spool, 0);
    broker_ack(b, arrived[0]->delivery);
    ck_assert_int_le(broker_spool_free_at(b), now);
}
END_TEST

START_TEST(a_deleted_queue_has_no_channel_in_the_next_connection)
{
    consume("q");
    consume("r");
    agree_to_all();
    ck_assert_uint_eq(b->topology.first, CHANNEL_CONSUME + 2);
    broker_delete_queue(b, "q");
    lose_connection();
    connect_now();
    ck_assert_uint_eq(b->topology.first, CHANNEL_CONSUME + 1);
    agree_to_all();
    struct intake *in = list_first(&b->intakes, struct intake, link);
    ck_assert_str_eq(in->queue, "r");
    ck_assert(in->lane.open && in->lane.number == CHANNEL_CONSUME);
}
END_TEST

/* ---- Refusals -------------------------------------------------------------------------------- */

static void nack(uint64_t tag)
{
    say(CHANNEL_PUBLISH, AMQP_BASIC_NACK_METHOD, &(amqp_basic_nack_t){.delivery_tag = tag});
    turn();
}

/* A message that is looked at again after its first nack ends with the second. */
static void refuse_one(uint64_t tag)
{
    int before = outcomes;
    publish(0);
    agree_to_all();
    nack(tag);
    agree_to_all();
    nack(tag + 1);
    ck_assert_int_eq(outcomes, before + 1);
    ck_assert_int_eq(outcome.code, CTASK_ENACK);
}

START_TEST(after_three_nacks_for_a_destination_the_channel_is_opened_anew)
{
    refuse_one(1);
    ck_assert_uint_eq(closed, 0);
    publish(0);
    agree_to_all();
    nack(3);
    agree_to_all();
    ck_assert_uint_eq(closed, 1);
    ck_assert_uint_eq(opened, 2);
    ck_assert_uint_eq(published, 4);
    outcomes = 0;
    confirm(1); /* numbers start anew */
}
END_TEST

START_TEST(nacks_between_confirms_are_no_reason)
{
    for (uint64_t tag = 1; tag < 10; tag += 3) {
        refuse_one(tag);
        publish(0);
        agree_to_all();
        outcomes = 0;
        confirm(tag + 2);
    }
    ck_assert_uint_eq(closed, 0);
}
END_TEST

/* A third nack for "q", with one more message under way. */
static void begin_renewal(void)
{
    publish(0);
    agree_to_all(); /* 1: of it nothing is heard */
    refuse_one(2);
    publish(0);
    agree_to_all();
    nack(4);
    agree_to_all();
    ck_assert_int_eq(b->renewal.confirms_by, now + CLOCK_SECOND);
}

START_TEST(what_is_unconfirmed_then_has_a_second_and_is_sent_again_marked)
{
    begin_renewal();
    ck_assert_uint_eq(closed, 0);
    ck_assert_uint_eq(published, 4); /* nothing is begun on a channel that is to go */
    struct pollfd p;
    int64_t wake = CLOCK_NEVER;
    broker_poll(b, &p, &wake);
    ck_assert_int_le(wake, now + CLOCK_SECOND);
    now += CLOCK_SECOND;
    agree_to_all();
    ck_assert_uint_eq(closed, 1);
    ck_assert_uint_eq(published, 6);
    struct post *sent;
    list_each(sent, &b->out.sent, struct post, link) ck_assert_ptr_nonnull(sent->marked);
}
END_TEST

START_TEST(confirms_have_a_second_again_after_an_alarm)
{
    begin_renewal();
    say(0, AMQP_CONNECTION_BLOCKED_METHOD,
        &(amqp_connection_blocked_t){.reason = amqp_text("low on memory")});
    turn();
    now += 600 * CLOCK_SECOND;
    say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    agree_to_all();
    ck_assert_uint_eq(closed, 0);
    outcomes = 0;
    confirm(1);
    agree_to_all();
    ck_assert_uint_eq(closed, 1);
}
END_TEST

START_TEST(a_channel_that_the_broker_closes_takes_its_second_along)
{
    begin_renewal();
    refuse_exchange();
    ck_assert_int_eq(b->renewal.confirms_by, 0);
}
END_TEST

START_TEST(a_destination_that_refuses_all_has_the_channel_opened_ever_more_rarely)
{
    int64_t begun = now;
    for (int i = 1; now - begun < 100 * CLOCK_SECOND; i++, now += CLOCK_SECOND / 10) {
        publish(0);
        agree_to_all();
        nack(b->out.seq);
        agree_to_all();
        nack(b->out.seq);
        ck_assert_int_eq(outcomes, i);
        agree_to_all();
    }
    ck_assert_uint_ge(closed, 5);
    ck_assert_uint_le(closed, 8); /* after 0, 1, 3, 7, 15, 31, 63 s */
}
END_TEST

START_TEST(a_close_that_is_not_answered_ends_the_connection)
{
    refuse_one(1);
    publish(0);
    agree_to_all();
    nack(3);
    turn();
    listen_once(false);
    ck_assert_uint_eq(closed, 1);
    struct pollfd p;
    int64_t wake = CLOCK_NEVER;
    broker_poll(b, &p, &wake);
    ck_assert_int_le(wake, now + 60 * CLOCK_SECOND);
    now += 60 * CLOCK_SECOND - 1;
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    now++;
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
    ck_assert_ptr_nonnull(
        strstr(broker_error(b)->text, "does not answer that a channel is to be closed"));
}
END_TEST

START_TEST(an_alarm_is_no_missing_answer)
{
    refuse_one(1);
    publish(0);
    agree_to_all();
    nack(3);
    turn();
    say(0, AMQP_CONNECTION_BLOCKED_METHOD,
        &(amqp_connection_blocked_t){.reason = amqp_text("low on memory")});
    turn();
    now += 600 * CLOCK_SECOND;
    turn();
    say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    turn();
    agree_to_all();
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    outcomes = 0;
    confirm(1);
}
END_TEST

/* ---- Back to the first URL ------------------------------------------------------------------- */

static int first; /* the broker's end of the second connection */

/* The connection in use is not at the first URL, and a second one comes up there. */
static void second_connection(void)
{
    int pair[2];
    ck_assert_int_eq(fd_pair(pair), 0);
    fd_nonblock(pair[0], true);
    first = pair[1];
    b->at = 1;
    b->home.stream.fd = pair[0];
    session_link(b, &b->home.link, &url, now);
    b->home.step = HOME_LOGIN;
    b->home.until = now + 30 * CLOCK_SECOND;
    ck_assert_int_eq(send(first, handshake, sizeof handshake, 0), sizeof handshake);
    ck_assert(!broker_home_is_up(b));
    turn();
    ck_assert(broker_home_is_up(b));
    ck_assert_uint_eq(ups, 1);
}

static void consuming(void)
{
    consume("q");
    agree_to_all();
    deliver(CHANNEL_CONSUME);
    deliver_body(CHANNEL_CONSUME, true);
    deliver_body(CHANNEL_CONSUME, false);
    ck_assert_uint_eq(arrivals, 1);
}

START_TEST(it_goes_back_when_all_is_settled_confirmed_and_cancelled)
{
    consuming();
    publish(0);
    agree_to_all();
    second_connection();
    ck_assert(!broker_go_home(b));
    confirm(1);
    ck_assert(!broker_go_home(b));
    broker_ack(b, arrived[0]->delivery);
    turn();
    ck_assert(!broker_go_home(b));
    broker_cancel(b, "q", 0, true);
    turn();
    ck_assert(!broker_go_home(b)); /* it may still bring a task */
    say(CHANNEL_CONSUME, AMQP_BASIC_CANCEL_OK_METHOD,
        &(amqp_basic_cancel_ok_t){.consumer_tag = amqp_text("ctask.1")});
    turn();
    ck_assert(broker_go_home(b));
    turn();
    ck_assert_uint_eq(downs, 0); /* the broker reads the last acks first */
    say(0, AMQP_CONNECTION_CLOSE_OK_METHOD, &(amqp_connection_close_ok_t){0});
    turn();
    ck_assert_uint_eq(downs, 1);
    ck_assert_int_eq(down.code, CTASK_OK);
    ck_assert_str_eq(down.text, "back to the broker at 127.0.0.1:1, the first of the URLs");
    ck_assert_uint_eq(ups, 2);
    ck_assert_uint_eq(b->at, 0);
    close(far);
    far = first;
    buf_consume(&heard, heard.len);
    published = 0;
    publish(0);
    agree_to_all();
    ck_assert_uint_eq(published, 1);
    outcomes = 0;
    confirm(1);
}
END_TEST

START_TEST(a_loss_meanwhile_is_no_time_without_a_broker)
{
    second_connection();
    close(far);
    turn();
    far = first;
    ck_assert_uint_eq(downs, 1);
    ck_assert_int_eq(down.code, CTASK_ECONN);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    ck_assert_uint_eq(b->at, 0);
}
END_TEST

START_TEST(one_that_is_not_taken_for_half_a_minute_is_closed)
{
    uint8_t bytes[4096];
    second_connection();
    now += 30 * CLOCK_SECOND;
    turn();
    ck_assert(!broker_home_is_up(b));
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    ck_assert_int_ge(b->home.at, now + 1200 * CLOCK_SECOND);
    while (recv(first, bytes, sizeof bytes, 0) > 0) {
    }
    close(first);
}
END_TEST

START_TEST(its_time_is_not_over_while_the_one_in_use_is_closed_for_it)
{
    second_connection();
    b->home.until = now + CLOCK_SECOND;
    ck_assert(broker_go_home(b));
    now += 2 * CLOCK_SECOND;
    turn();
    say(0, AMQP_CONNECTION_CLOSE_OK_METHOD, &(amqp_connection_close_ok_t){0});
    turn();
    ck_assert_int_eq(down.code, CTASK_OK);
    ck_assert_uint_eq(ups, 2);
    close(far);
    far = first;
}
END_TEST

START_TEST(one_that_breaks_or_is_in_alarm_is_given_up)
{
    second_connection();
    close(first);
    turn();
    ck_assert(!broker_home_is_up(b));
    ups = 1;
    second_connection();
    struct buf out = {0};
    ck_assert(frame_method(&out, 0, AMQP_CONNECTION_BLOCKED_METHOD,
                           &(amqp_connection_blocked_t){.reason = amqp_text("low on disk")}));
    ck_assert_int_eq(send(first, buf_head(&out), out.len, 0), (ssize_t)out.len);
    buf_done(&out);
    turn();
    ck_assert(!broker_home_is_up(b));
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    close(first);
}
END_TEST

static struct ctask_client *client;

static void setup_client(void)
{
    setup();
    close(far);
    broker_free(b);
    struct ctask_error e;
    client = client_new("amqp://127.0.0.1:1", &e);
    ck_assert_ptr_nonnull(client);
    ctask_set_publish_timeout(client, 0);
    b = client->x->broker;
    ups = 0;
    connect_now();
    client_event(client, &(struct broker_event){.kind = BROKER_UP});
}

static void teardown_client(void)
{
    close(far);
    ctask_close(client);
    buf_done(&heard);
    empty_amqp_pool(&pool);
}

/* The broker agrees to all that the client asks for before it sends. */
static AsyncResult *sent(void)
{
    AsyncResult *r = ctask_delay(client, "f", 1);
    for (int i = 0; result_error(r)->code != CTASK_OK; i++) {
        ck_assert_int_lt(i, 100);
        ck_assert_int_eq(result_error(r)->code, CTASK_EBLOCKED);
        result_forget(r);
        listen_once(true);
        r = ctask_delay(client, "f", 1);
    }
    listen_once(true);
    ck_assert_uint_eq(published, 1);
    return r;
}

START_TEST(a_client_sends_nothing_over_a_connection_that_it_leaves)
{
    AsyncResult *r = sent();
    say(CHANNEL_PUBLISH, AMQP_BASIC_ACK_METHOD, &(amqp_basic_ack_t){.delivery_tag = 1});
    ck_assert_int_eq(ctask_flush(client, -1), 0);
    result_forget(r);
    second_connection();
    client_home(client);
    ck_assert_int_eq(broker_state(b), BROKER_IS_CONNECTING);
    r = ctask_delay(client, "f", 2);
    ck_assert_int_eq(result_error(r)->code, CTASK_ECONN);
    ck_assert_uint_eq(broker_unconfirmed(b), 0);
    result_forget(r);
    say(0, AMQP_CONNECTION_CLOSE_OK_METHOD, &(amqp_connection_close_ok_t){0});
    ck_assert_int_eq(ctask_poll(client, 0), CTASK_OK);
    close(far);
    far = first;
    buf_consume(&heard, heard.len);
    published = 0;
    r = sent();
    ck_assert_int_eq(result_state(r), CTASK_PENDING);
    result_forget(r);
}
END_TEST

/* ---- A consumer that does not come ----------------------------------------------------------- */

/* The broker answers nothing on the first consuming channel, and so much time passes. */
static void wait_for_consumer(int64_t seconds)
{
    mute = CHANNEL_CONSUME;
    agree_to_all();
    now += seconds * CLOCK_SECOND;
    agree_to_all();
}

START_TEST(a_queue_is_consumed_over_another_channel_after_ten_seconds)
{
    consume("q");
    wait_for_consumer(9);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
    wait_for_consumer(1);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
    say(CHANNEL_CONSUME, AMQP_BASIC_CONSUME_OK_METHOD,
        &(amqp_basic_consume_ok_t){.consumer_tag = amqp_text("ctask.1")}); /* at last */
    deliver(CHANNEL_CONSUME);
    say(CHANNEL_CONSUME, AMQP_CHANNEL_CLOSE_OK_METHOD, &(amqp_channel_close_ok_t){0});
    say(CHANNEL_CONSUME + 1, AMQP_BASIC_DELIVER_METHOD,
        &(amqp_basic_deliver_t){.consumer_tag = amqp_text("ctask.2"), .delivery_tag = 1});
    deliver_body(CHANNEL_CONSUME + 1, true);
    deliver_body(CHANNEL_CONSUME + 1, false);
    ck_assert_uint_eq(arrivals, 1);
    wait_for_consumer(100);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}
END_TEST

/* By a second or more: the answer shows that the node is back. */
START_TEST(an_answer_for_one_queue_ends_the_wait_for_those_asked_before)
{
    consume("q");
    wait_for_consumer(1);
    consume("p");
    agree_to_all();
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
    wait_for_consumer(1);
    consume("o");
    agree_to_all();
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 3);
}
END_TEST

START_TEST(a_channel_that_has_a_consumer_is_kept)
{
    consuming();
    consume("q");
    wait_for_consumer(100);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
}
END_TEST

START_TEST(a_consumer_has_ten_seconds_again_after_an_alarm)
{
    consume("q");
    wait_for_consumer(5);
    say(0, AMQP_CONNECTION_BLOCKED_METHOD,
        &(amqp_connection_blocked_t){.reason = amqp_text("low on memory")});
    wait_for_consumer(0);
    wait_for_consumer(50);
    say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    wait_for_consumer(9);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
    wait_for_consumer(1);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
}
END_TEST

START_TEST(without_another_channel_the_consumer_is_waited_for)
{
    consume("q");
    wait_for_consumer(0);
    b->topology.last = b->topology.first;
    wait_for_consumer(100);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}
END_TEST

/* Were each channel given up after ten seconds, none would ever have the consumer. */
START_TEST(a_broker_that_takes_longer_to_answer_has_the_consumer_in_the_end)
{
    for (int takes = 11; takes <= 35; takes += 8) {
        char name[8];
        snprintf(name, sizeof name, "q%d", takes);
        consumers = 0;
        consume_takes = takes * CLOCK_SECOND;
        consume(name);
        for (int i = 0; i < 120; i++, now += CLOCK_SECOND) {
            consume_at_last();
            agree_to_all();
        }
        ck_assert_uint_eq(consumers, 1);
    }
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}
END_TEST

START_TEST(a_broker_that_answers_no_consumer_is_left)
{
    consume_takes = 1000 * CLOCK_SECOND;
    consume("q");
    for (int i = 0; i < 70; i++, now += CLOCK_SECOND) {
        agree_to_all();
        ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    }
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
    ck_assert_ptr_nonnull(
        strstr(broker_error(b)->text, "does not answer that a channel is to be closed"));
}
END_TEST

/* To end the connection for it would have what is consumed handed out again. */
START_TEST(a_channel_that_was_left_may_stay_open_while_another_consumes)
{
    consume("q");
    wait_for_consumer(10);
    say(CHANNEL_CONSUME + 1, AMQP_BASIC_DELIVER_METHOD,
        &(amqp_basic_deliver_t){.consumer_tag = amqp_text("ctask.2"), .delivery_tag = 1});
    deliver_body(CHANNEL_CONSUME + 1, true);
    deliver_body(CHANNEL_CONSUME + 1, false);
    ck_assert_uint_eq(arrivals, 1);
    wait_for_consumer(100);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}
END_TEST

/* It has the number that the consumer would get, since the broker allows few channels. */
START_TEST(a_channel_that_looks_at_queues_is_not_moved_to)
{
    b->link.channel_max = 5;
    consume("q");
    wait_for_consumer(0);
    broker_queue(b, "slow", QUEUE_TASK);
    turn();
    listen_once(false);
    now += CLOCK_SECOND;
    broker_queue(b, "behind", QUEUE_TASK);
    turn();
    ck_assert(topology_owns(&b->topology, CHANNEL_CONSUME + 1));
    wait_for_consumer(10);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
}
END_TEST

struct block {
    struct block *next;
};

static struct block *blocks;

/* Leaves only pieces of memory that are too small for a struct intake. */
static void memory_fill(struct rlimit *was)
{
    getrlimit(RLIMIT_AS, was);
    setrlimit(RLIMIT_AS, &(struct rlimit){0, was->rlim_max});
    for (struct block *k; (k = malloc(256)); blocks = k) k->next = blocks;
}

static void memory_free(const struct rlimit *was)
{
    setrlimit(RLIMIT_AS, was);
    for (struct block *k; (k = blocks);) {
        blocks = k->next;
        free(k);
    }
}

START_TEST(without_memory_for_another_channel_the_next_connection_has_the_consumer)
{
    struct rlimit was;
    consume("q");
    wait_for_consumer(9);
    now += CLOCK_SECOND;
    memory_fill(&was);
    turn();
    memory_free(&was);
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
    close(far);
    buf_consume(&heard, heard.len);
    mute = consumed_on = 0;
    connect_now();
    agree_to_all();
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
}
END_TEST

START_TEST(a_queue_that_is_reopened_waits_for_no_close_ok)
{
    consume("q");
    agree_to_all();
    mute = CHANNEL_CONSUME;
    broker_reopen(b, "q");
    agree_to_all();
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
}
END_TEST

START_TEST(what_was_acknowledged_before_a_queue_is_reopened_is_settled)
{
    consume("q");
    agree_to_all();
    deliver(CHANNEL_CONSUME);
    deliver_body(CHANNEL_CONSUME, true);
    deliver_body(CHANNEL_CONSUME, false);
    broker_ack(b, arrived[0]->delivery);
    broker_reopen(b, "q");
    agree_to_all();
    ck_assert_uint_eq(acks, 1);
}
END_TEST

START_TEST(a_queue_that_has_brought_something_is_not_reopened)
{
    consume("q");
    agree_to_all();
    deliver(CHANNEL_CONSUME);
    deliver_body(CHANNEL_CONSUME, true);
    deliver_body(CHANNEL_CONSUME, false);
    ck_assert(!broker_reopen(b, "q"));
    broker_ack(b, arrived[0]->delivery);
    ck_assert(broker_reopen(b, "q"));
}
END_TEST

START_TEST(an_answer_that_denies_our_consumer_says_so)
{
    consume("q");
    agree_to_all();
    ck_assert(!leaderless); /* it was looked at before it was consumed */
    broker_look(b, "q");
    agree_to_all();
    ck_assert(leaderless);
    their_messages = 1; /* it knows what is there: it has lost the consumer */
    broker_look(b, "q");
    agree_to_all();
    ck_assert(!leaderless);
    their_messages = 0;
    their_consumers = 1;
    broker_look(b, "q");
    agree_to_all();
    ck_assert(!leaderless);
}
END_TEST

/* ---- A confirm that does not come ------------------------------------------------------------ */

/* One message is published, and not confirmed for so long; the node is alive, or it stands still.
 */
static void unconfirmed_in_a_cluster(int64_t seconds, bool alive)
{
    static const uint8_t heartbeat[] = {8, 0, 0, 0, 0, 0, 0, 0xCE};
    const struct url both[] = {url, url};
    close(far);
    broker_free(b);
    b = broker_new(&(struct broker_config){.url = both, .url_count = 2, .heartbeat = 10});
    ck_assert_ptr_nonnull(b);
    connect_now();
    publish(0);
    agree_to_all();
    ck_assert_uint_eq(published, 1);
    for (int64_t i = 0; i < seconds && broker_state(b) == BROKER_IS_UP; i++) {
        if (alive) ck_assert_int_eq(send(far, heartbeat, sizeof heartbeat, 0), sizeof heartbeat);
        now += CLOCK_SECOND;
        turn();
    }
}

START_TEST(in_a_cluster_a_confirm_has_ten_seconds)
{
    unconfirmed_in_a_cluster(10, true);
    ck_assert_int_eq(broker_state(b), BROKER_IS_UP);
    buf_consume(&heard, heard.len);
    published = 0;
    unconfirmed_in_a_cluster(11, true);
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
    ck_assert_ptr_nonnull(strstr(down.text, "a confirm does not come"));
    ck_assert_uint_eq(b->at, 0); /* the node is alive: a new channel may do */
}
END_TEST

START_TEST(a_node_that_stands_still_meanwhile_is_left)
{
    unconfirmed_in_a_cluster(11, false);
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
    ck_assert_uint_eq(b->at, 1);
}
END_TEST

/* ---- Wake ------------------------------------------------------------------------------------ */

/* At once: broker_poll says so, and the owner does not sleep until something else comes. */
START_TEST(a_channel_is_left_when_the_last_delivery_is_settled)
{
    struct pollfd p;
    int64_t wake = CLOCK_NEVER;
    consuming();
    now -= 100 * CLOCK_SECOND; /* so that it is over when broker_poll asks for the time */
    say(CHANNEL_CONSUME, AMQP_BASIC_CANCEL_METHOD,
        &(amqp_basic_cancel_t){.consumer_tag = amqp_text("ctask.1"), .nowait = 1});
    wait_for_consumer(20);
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME);
    broker_ack(b, arrived[0]->delivery);
    turn();
    broker_poll(b, &p, &wake);
    ck_assert_int_le(wake, clock_now());
    agree_to_all();
    ck_assert_uint_eq(consumed_on, CHANNEL_CONSUME + 1);
    wake = CLOCK_NEVER;
    broker_poll(b, &p, &wake);
    ck_assert_int_gt(wake, clock_now());
}
END_TEST

START_TEST(a_connection_that_failed_between_turns_does_not_sleep)
{
    struct pollfd p;
    int64_t wake = CLOCK_NEVER;
    link_fail(&b->link, CTASK_ENOMEM, "out of memory");
    broker_poll(b, &p, &wake);
    ck_assert_int_le(wake, clock_now());
    turn();
    ck_assert_int_eq(broker_state(b), BROKER_IS_DOWN);
}
END_TEST

/* How many times an end with these words is told. */
static int ends(const char *words)
{
    struct ctask_error e;
    struct broker_event ev;
    int told = 0;
    error_set(&e, CTASK_ECONN, "%s", words);
    session_end(b, &e, now);
    while (broker_next(b, &ev)) told += ev.kind == BROKER_DOWN;
    return told;
}

/* Sends fail while an attempt is known to have failed; a loss is no attempt. */
START_TEST(the_first_failed_attempt_is_told_and_those_like_it_are_not)
{
    ck_assert_int_eq(ends("cut"), 1);
    ck_assert_int_eq(ends("cut"), 1);
    ck_assert_int_eq(ends("cut"), 0);
    ck_assert_int_eq(ends("refused"), 1);
    ck_assert_int_eq(ends("refused"), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_look_at_a_queue_outlasts_an_alarm);
    tcase_add_test(t, a_delayed_message_that_is_sent_again_waits_for_its_queue_there);
    tcase_add_test(t, a_ladder_that_was_deleted_is_declared_again);
    tcase_add_test(t, an_exchange_that_stays_missing_ends_a_delayed_message);
    tcase_add_test(t, each_refusal_of_delays_is_told);
    tcase_add_test(t, a_message_that_is_refused_at_once_says_why_as_the_first_does);
    tcase_add_test(t, one_large_body_is_spooled_at_a_time_also_on_two_channels);
    tcase_add_test(t, a_deleted_queue_has_no_channel_in_the_next_connection);
    tcase_add_test(t, after_three_nacks_for_a_destination_the_channel_is_opened_anew);
    tcase_add_test(t, nacks_between_confirms_are_no_reason);
    tcase_add_test(t, what_is_unconfirmed_then_has_a_second_and_is_sent_again_marked);
    tcase_add_test(t, confirms_have_a_second_again_after_an_alarm);
    tcase_add_test(t, a_channel_that_the_broker_closes_takes_its_second_along);
    tcase_add_test(t, a_destination_that_refuses_all_has_the_channel_opened_ever_more_rarely);
    tcase_add_test(t, a_close_that_is_not_answered_ends_the_connection);
    tcase_add_test(t, an_alarm_is_no_missing_answer);
    tcase_add_test(t, it_goes_back_when_all_is_settled_confirmed_and_cancelled);
    tcase_add_test(t, a_loss_meanwhile_is_no_time_without_a_broker);
    tcase_add_test(t, one_that_is_not_taken_for_half_a_minute_is_closed);
    tcase_add_test(t, its_time_is_not_over_while_the_one_in_use_is_closed_for_it);
    tcase_add_test(t, one_that_breaks_or_is_in_alarm_is_given_up);
    tcase_add_test(t, a_queue_is_consumed_over_another_channel_after_ten_seconds);
    tcase_add_test(t, an_answer_for_one_queue_ends_the_wait_for_those_asked_before);
    tcase_add_test(t, a_channel_that_has_a_consumer_is_kept);
    tcase_add_test(t, a_consumer_has_ten_seconds_again_after_an_alarm);
    tcase_add_test(t, without_another_channel_the_consumer_is_waited_for);
    tcase_add_test(t, a_broker_that_takes_longer_to_answer_has_the_consumer_in_the_end);
    tcase_add_test(t, a_broker_that_answers_no_consumer_is_left);
    tcase_add_test(t, a_channel_that_was_left_may_stay_open_while_another_consumes);
    tcase_add_test(t, a_channel_that_looks_at_queues_is_not_moved_to);
    if (!getenv("CTASK_SANITIZED")) /* a sanitizer ends when there is no memory */
        tcase_add_test(t, without_memory_for_another_channel_the_next_connection_has_the_consumer);
    tcase_add_test(t, a_channel_is_left_when_the_last_delivery_is_settled);
    tcase_add_test(t, a_queue_that_is_reopened_waits_for_no_close_ok);
    tcase_add_test(t, an_answer_that_denies_our_consumer_says_so);
    tcase_add_test(t, what_was_acknowledged_before_a_queue_is_reopened_is_settled);
    tcase_add_test(t, a_queue_that_has_brought_something_is_not_reopened);
    tcase_add_test(t, in_a_cluster_a_confirm_has_ten_seconds);
    tcase_add_test(t, a_node_that_stands_still_meanwhile_is_left);
    tcase_add_test(t, a_connection_that_failed_between_turns_does_not_sleep);
    tcase_add_test(t, the_first_failed_attempt_is_told_and_those_like_it_are_not);
    suite_add_tcase(s, t);
    t = tcase_create("client");
    tcase_add_checked_fixture(t, setup_client, teardown_client);
    tcase_add_test(t, a_client_sends_nothing_over_a_connection_that_it_leaves);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
