/* fuzz_connection.c - a whole connection, past its handshake, with a queue, a consumer and posts
 * under way, hears a broker that has gone mad.
 *
 * The input is a script of records {kind u8, channel u8, length u16, payload}: a frame of that kind
 * on that channel, or raw bytes where kind is 255. After each record the connection has its turn,
 * and its owner settles what it got. Nothing may crash, leak or end a post twice; what the protocol
 * does not allow ends the connection. */
#include "fuzz.h"

#include "base/clock.h"
#include "base/fd.h"
#include "transport/session.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POSTS = 6, RAW = 255, CHANNELS = 100 };

static const uint8_t handshake[] = {
    /* connection.start 0-9, no properties, PLAIN, en_US */
    1, 0, 0, 0, 0, 0, 28, 0, 10, 0, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 'P', 'L', 'A', 'I', 'N', 0, 0,
    0, 5, 'e', 'n', '_', 'U', 'S', 0xCE,
    /* connection.tune: 100 channels, frames of 131072, no heartbeat */
    1, 0, 0, 0, 0, 0, 12, 0, 10, 0, 30, 0, CHANNELS, 0, 2, 0, 0, 0, 0, 0xCE,
    /* connection.open-ok */
    1, 0, 0, 0, 0, 0, 5, 0, 10, 0, 41, 0, 0xCE};

static struct broker *b;
static int far; /* the broker's end */
static int outcomes[POSTS];

static void post(int i)
{
    static const uint8_t no_props[2];
    must(broker_publish(b, &(struct publish){.exchange = "",
                                             .routing_key = i % 2 ? "q" : "other",
                                             .ensure = i % 3 ? "q" : NULL,
                                             .props = bytes_of(no_props, 2),
                                             .body = bytes_text("[[], {}, {}]"),
                                             .spool = -1,
                                             .cookie = &outcomes[i]}) == CTASK_OK);
}

static void turn(void)
{
    uint8_t sink[65536];
    struct broker_event ev;
    broker_turn(b, clock_now());
    while (broker_next(b, &ev)) {
        if (ev.kind == BROKER_PUBLISHED) must(++*(int *)ev.cookie == 1);
        if (ev.kind != BROKER_MESSAGE) continue;
        must(ev.message->queue[0] && ev.message->window > 0);
        if (ev.message->delivery.tag % 2)
            broker_ack(b, ev.message->delivery);
        else
            broker_give_back(b, ev.message->delivery);
        envelope_free(ev.message);
    }
    broker_flush(b);
    while (recv(far, sink, sizeof sink, MSG_DONTWAIT) > 0) continue;
}

static void say(const void *p, size_t n)
{
    (void)!send(far, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    turn();
}

static void say_frame(uint8_t kind, uint8_t channel, const uint8_t *payload, size_t n)
{
    uint8_t frame[7 + 65536 + 1] = {kind, 0, channel, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(frame + 7, payload, n);
    frame[7 + n] = 0xCE;
    say(frame, 8 + n);
}

static void begin(struct url *u)
{
    struct ctask_error e;
    int pair[2], room = 1 << 20;
    must(url_parse("amqp://localhost", u, &e) == CTASK_OK);
    must(fd_pair(pair) == 0);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    fd_nonblock(pair[0], true);
    far = pair[1];
    b = broker_new(&(struct broker_config){.url = u, .name = "fuzz", .body_max = 2048});
    must(b != NULL);
    b->stream.fd = pair[0];
    session_begin(b, clock_now());
    b->deadline = CLOCK_NEVER;
    memset(outcomes, 0, sizeof outcomes);
    say(handshake, sizeof handshake);
    must(broker_state(b) == BROKER_IS_UP);
    must(broker_queue(b, "q", QUEUE_TASK) == CTASK_OK);
    must(broker_queue(b, "mine", QUEUE_REPLY) == CTASK_OK);
    must(broker_consume(b, "q", 10) == CTASK_OK);
    must(broker_consume(b, "mine", 10) == CTASK_OK);
    for (int i = 0; i < POSTS; i++) post(i);
    turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url u;
    begin(&u);
    while (size >= 4 && broker_state(b) == BROKER_IS_UP) {
        size_t n = (size_t)data[2] << 8 | data[3];
        if (n > size - 4) n = size - 4;
        if (data[0] == RAW)
            say(data + 4, n);
        else
            say_frame(data[0], data[1], data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
    close(far);
    turn();
    broker_free(b);
    return 0;
}
