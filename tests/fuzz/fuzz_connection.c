/* fuzz_connection.c - a whole connection, past its handshake, with queues, consumers, a lease and
 * posts under way, plain and delayed, hears a broker that has gone mad.
 *
 * The input is a script of records {kind u8, channel u8, length u16, payload}: a frame of that kind
 * on that channel, or what the kinds below say. After each record the connection has its turn, and
 * its owner settles what it got. Nothing may crash, leak, spin or end a post twice; what the
 * protocol does not allow ends the connection. At last comes a broker that agrees to everything:
 * then all posts end. */
#include "fuzz.h"

#include "base/clock.h"
#include "base/fd.h"
#include "transport/session.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { POSTS = 8, CHANNELS = 100, TURNS = 20, ROUNDS = 300 };
enum kind {
    AGREE = 250,  /* to all that was asked so far */
    LOSE = 251,   /* the connection, and make it again */
    RECALL = 252, /* the posts of cookie `channel` */
    DELETE = 253, /* the reply queue, and want another */
    PASS = 254,   /* as many seconds as `channel` says */
    RAW = 255,    /* bytes */
};

static const uint8_t handshake[] = {
    /* connection.start 0-9, no properties, PLAIN, en_US */
    1, 0, 0, 0, 0, 0, 28, 0, 10, 0, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 'P', 'L', 'A', 'I', 'N', 0, 0,
    0, 5, 'e', 'n', '_', 'U', 'S', 0xCE,
    /* connection.tune: 100 channels, frames of 131072, no heartbeat */
    1, 0, 0, 0, 0, 0, 12, 0, 10, 0, 30, 0, CHANNELS, 0, 2, 0, 0, 0, 0, 0xCE,
    /* connection.open-ok */
    1, 0, 0, 0, 0, 0, 5, 0, 10, 0, 41, 0, 0xCE};

static struct broker *b;
static int far;             /* the broker's end */
static int outcomes[POSTS]; /* 1: ended, or recalled */
static int64_t skew;        /* what has passed for us */
static struct buf heard;    /* what was asked and not answered yet */
static uint64_t tags;       /* of the messages that came on this channel */
static amqp_pool_t pool;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_MONOTONIC) t->tv_sec += skew;
    return rc;
}

static void post(int i)
{
    static const uint8_t no_props[2];
    bool late = i >= 5;
    must(broker_publish(b, &(struct publish){.exchange = "",
                                             .routing_key = late || i % 2 ? "q" : "other",
                                             .ensure = late || i % 3 ? "q" : NULL,
                                             .delay = late ? 1u << i : 0,
                                             .props = bytes_of(no_props, 2),
                                             .body = bytes_text("[[], {}, {}]"),
                                             .spool = -1,
                                             .cookie = &outcomes[i]}) == CTASK_OK);
}

static void hear(void)
{
    uint8_t bytes[65536];
    ssize_t n;
    while ((n = recv(far, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        must(buf_append(&heard, bytes, (size_t)n));
}

static void settle(struct envelope *m)
{
    must(m->queue[0] && m->window > 0);
    if (m->delivery.tag % 2)
        broker_ack(b, m->delivery);
    else
        broker_give_back(b, m->delivery);
    envelope_free(m);
}

static void posts_check(void)
{
    size_t left = 0;
    struct post *p;
    for (int i = 0; i < POSTS; i++) left += outcomes[i] == 0;
    must(broker_unconfirmed(b) == left);
    list_each(p, &b->out.all, struct post, all) must(!list_empty(&p->link));
}

static void turn_once(void)
{
    struct broker_event ev;
    broker_turn(b, clock_now());
    while (broker_next(b, &ev)) {
        if (ev.kind == BROKER_PUBLISHED) must(++*(int *)ev.cookie == 1);
        if (ev.kind == BROKER_MESSAGE) settle(ev.message);
    }
    broker_flush(b);
    hear();
}

/* It has nothing left to do when nothing happens. */
static void turn(void)
{
    for (int i = 0; i < TURNS; i++) {
        struct pollfd p;
        int64_t wake = CLOCK_NEVER;
        turn_once();
        posts_check();
        if (broker_state(b) == BROKER_IS_DOWN) return;
        broker_poll(b, &p, &wake);
        if (wake > clock_now() && !(p.events & POLLOUT)) return;
    }
    must(!"a connection that spins");
}

static void say(const void *p, size_t n)
{
    (void)!send(far, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void say_frame(uint8_t kind, uint8_t channel, const uint8_t *payload, size_t n)
{
    uint8_t frame[7 + 65536 + 1] = {kind, 0, channel, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(frame + 7, payload, n);
    frame[7 + n] = 0xCE;
    say(frame, 8 + n);
}

static void say_method(uint16_t channel, amqp_method_number_t id, void *method)
{
    struct buf out = {0};
    must(frame_method(&out, channel, id, method));
    say(buf_head(&out), out.len);
    buf_done(&out);
}

static void connect_now(void)
{
    int pair[2], room = 1 << 20;
    must(fd_pair(pair) == 0);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    fd_nonblock(pair[0], true);
    far = pair[1];
    b->stream.fd = pair[0];
    session_begin(b, clock_now());
    b->deadline = CLOCK_NEVER;
    buf_consume(&heard, heard.len);
    say(handshake, sizeof handshake);
    turn();
    must(broker_state(b) == BROKER_IS_UP);
    must(heard.len > 8);
    buf_consume(&heard, 8); /* the protocol's name */
}

static void lose(void)
{
    close(far);
    if (broker_state(b) == BROKER_IS_UP) turn_once();
    must(broker_state(b) == BROKER_IS_DOWN);
    posts_check();
}

/* ---- A broker that agrees -------------------------------------------------------------------- */

static void agree_to(uint16_t channel, amqp_method_number_t id, const void *method)
{
    static char none[64];
    amqp_queue_declare_ok_t declared = {.queue = amqp_text("any")};
    const amqp_basic_consume_t *consume = method;
    const amqp_basic_cancel_t *cancel = method;
    amqp_basic_consume_ok_t consuming = {0};
    amqp_basic_cancel_ok_t cancelled = {0};
    amqp_basic_ack_t ack = {0};
    switch (id) {
    case AMQP_CHANNEL_OPEN_METHOD:
        if (channel == CHANNEL_PUBLISH) tags = 0;
        say_method(channel, id + 1, none);
        break;
    case AMQP_QUEUE_DECLARE_METHOD: say_method(channel, id + 1, &declared); break;
    case AMQP_BASIC_CONSUME_METHOD:
        consuming.consumer_tag = consume->consumer_tag;
        say_method(channel, id + 1, &consuming);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        cancelled.consumer_tag = cancel->consumer_tag;
        say_method(channel, id + 1, &cancelled);
        break;
    case AMQP_BASIC_PUBLISH_METHOD:
        ack.delivery_tag = ++tags;
        say_method(channel, AMQP_BASIC_ACK_METHOD, &ack);
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CONFIRM_SELECT_METHOD:
    case AMQP_EXCHANGE_DECLARE_METHOD:
    case AMQP_EXCHANGE_BIND_METHOD:
    case AMQP_QUEUE_BIND_METHOD:
    case AMQP_QUEUE_DELETE_METHOD:
    case AMQP_BASIC_QOS_METHOD: say_method(channel, id + 1, none); break;
    default: break;
    }
}

/* False if nothing was asked. */
static bool agree(void)
{
    struct frame f;
    long n;
    bool any = false;
    for (; (n = frame_next(buf_bytes(&heard), FRAME_MAX, &f)) > 0; buf_consume(&heard, (size_t)n)) {
        void *m = NULL;
        const uint8_t *p = f.payload.p;
        any = true;
        if (f.type != AMQP_FRAME_METHOD || f.channel == 0) continue;
        amqp_method_number_t id = (amqp_method_number_t)p[1] << 16 | p[3];
        amqp_bytes_t args = {f.payload.n - 4, (void *)(uintptr_t)(p + 4)};
        recycle_amqp_pool(&pool);
        must(amqp_decode_method(id, &pool, args, &m) >= 0);
        agree_to(f.channel, id, m);
    }
    must(n == 0);
    return any;
}

/* ---- The script ------------------------------------------------------------------------------ */

static void want_replies(const char *queue)
{
    must(broker_queue(b, queue, QUEUE_REPLY) == CTASK_OK);
    must(broker_consume(b, queue, 10) == CTASK_OK);
}

static void begin(struct url *u)
{
    struct ctask_error e;
    must(url_parse("amqp://127.0.0.1:1", u, &e) == CTASK_OK);
    b = broker_new(&(struct broker_config){.url = u, .name = "fuzz", .body_max = 2048});
    must(b != NULL);
    init_amqp_pool(&pool, 512);
    memset(outcomes, 0, sizeof outcomes);
    for (int i = 0; i < POSTS; i++) outcomes[i] = 1;
    skew = 0;
    connect_now();
    must(broker_queue(b, "q", QUEUE_TASK) == CTASK_OK);
    must(broker_queue(b, "p", QUEUE_TASK) == CTASK_OK);
    must(broker_lease(b, "lease", "q", 10) == CTASK_OK);
    must(broker_consume(b, "q", 10) == CTASK_OK);
    want_replies("mine");
    must(broker_consume(b, "p", 10) == CTASK_OK);
    broker_delays(b, "p", true);
    for (int i = 0; i < POSTS; i++) {
        outcomes[i] = 0;
        post(i);
    }
    turn();
}

static void act(const uint8_t *record, size_t n)
{
    int i = record[1] % POSTS;
    switch (record[0]) {
    case AGREE: agree(); break;
    case LOSE:
        lose();
        connect_now();
        break;
    case RECALL:
        if (!outcomes[i]) broker_recall(b, &outcomes[i]);
        outcomes[i] = 1;
        break;
    case DELETE:
        broker_delete_queue(b, "mine");
        want_replies("mine");
        break;
    case PASS: skew += record[1]; break;
    case RAW: say(record + 4, n); break;
    default: say_frame(record[0], record[1], record + 4, n);
    }
}

static void agree_to_all(void)
{
    int rounds = 0;
    while (agree()) {
        must(++rounds < ROUNDS);
        turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url u;
    begin(&u);
    while (size >= 4 && broker_state(b) == BROKER_IS_UP) {
        size_t n = (size_t)data[2] << 8 | data[3];
        if (n > size - 4) n = size - 4;
        act(data, n);
        turn();
        data += 4 + n;
        size -= 4 + n;
    }
    lose();
    connect_now();
    agree_to_all();
    skew++; /* what may have closed the last connection waits until this one is a second old */
    turn();
    agree_to_all();
    must(broker_unconfirmed(b) == 0);
    close(far);
    turn_once();
    broker_free(b);
    buf_done(&heard);
    empty_amqp_pool(&pool);
    return 0;
}
