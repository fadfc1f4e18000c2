/* wire.c - the socket, its two buffers, and the calls that wait. */
#include "wire.h"

#include "base/url.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_CAP ((size_t)1 << 20) /* many frames; a piece of one is moved to the front */

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bare: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

uint8_t *wire_room(struct wire *w, size_t n)
{
    if (w->out_from == w->out_to) w->out_from = w->out_to = 0;
    if (w->out_cap - w->out_to >= n) return w->out + w->out_to;
    size_t held = wire_unsent(w);
    if (w->out_from > 0) memmove(w->out, w->out + w->out_from, held);
    w->out_from = 0;
    w->out_to = held;
    if (w->out_cap - held < n) {
        w->out_cap = (held + n) * 2;
        w->out = realloc(w->out, w->out_cap);
        if (!w->out) die("out of memory");
    }
    return w->out + w->out_to;
}

void wire_flush(struct wire *w)
{
    while (wire_unsent(w) > 0) {
        ssize_t n = send(w->fd, w->out + w->out_from, wire_unsent(w), MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("send: %s", strerror(errno));
        w->sends++;
        w->out_from += (size_t)n;
    }
}

bool wire_read(struct wire *w)
{
    if (w->in_from > 0) {
        memmove(w->in, w->in + w->in_from, w->in_to - w->in_from);
        w->in_to -= w->in_from;
        w->in_from = 0;
    }
    ssize_t n = recv(w->fd, w->in + w->in_to, IN_CAP - w->in_to, 0);
    if (n == 0) die("the broker closed the connection");
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n < 0) die("recv: %s", strerror(errno));
    w->recvs++;
    w->in_to += (size_t)n;
    return true;
}

static void wait_for(struct wire *w, short events)
{
    struct pollfd p = {.fd = w->fd, .events = events};
    int n = poll(&p, 1, 60000);
    if (n == 0) die("the broker has said nothing for a minute");
}

static void flush_all(struct wire *w)
{
    for (wire_flush(w); wire_unsent(w) > 0; wire_flush(w)) wait_for(w, POLLOUT);
}

void wire_await(struct wire *w, struct event *ev)
{
    flush_all(w);
    while (wire_next(w, ev) == EVENT_NONE) {
        wait_for(w, POLLIN);
        wire_read(w);
    }
}

void wire_ack(struct wire *w, uint64_t tag)
{
    uint8_t *p = wire_room(w, 21);
    static const uint8_t ack[11] = {1, 0, CHANNEL_IN, 0, 0, 0, 13, 0, 60, 0, 80};
    memcpy(p, ack, 11);
    for (int i = 0; i < 8; i++) p[11 + i] = (uint8_t)(tag >> (56 - 8 * i));
    p[19] = 1; /* multiple */
    p[20] = 0xCE;
    wire_added(w, 21);
}

/* ---- Calls that wait ------------------------------------------------------------------------- */

static void say(struct wire *w, uint16_t channel, amqp_method_number_t id, void *args)
{
    struct buf b = {0};
    if (!frame_method(&b, channel, id, args)) die("out of memory");
    memcpy(wire_room(w, b.len), buf_head(&b), b.len);
    wire_added(w, b.len);
    buf_done(&b);
}

/* Reads up to the answer; only heartbeats may come before it. */
static void hear(struct wire *w, amqp_method_number_t id)
{
    flush_all(w);
    for (;;) {
        struct frame f;
        long size = frame_next(bytes_of(w->in + w->in_from, w->in_to - w->in_from), FRAME_MAX, &f);
        if (size < 0) die("no frame came");
        if (size == 0) {
            wait_for(w, POLLIN);
            wire_read(w);
            continue;
        }
        w->in_from += (size_t)size;
        if (f.type != AMQP_FRAME_METHOD) continue;
        const uint8_t *p = f.payload.p;
        amqp_method_number_t is = (amqp_method_number_t)p[0] << 24 |
                                  (amqp_method_number_t)p[1] << 16 |
                                  (amqp_method_number_t)p[2] << 8 | p[3];
        if (is == id) return;
        if (is == AMQP_CONNECTION_CLOSE_METHOD || is == AMQP_CHANNEL_CLOSE_METHOD)
            die("refused: %.*s", p[6], p + 7);
        die("method %08x came instead of %08x", is, id);
    }
}

static void ask(struct wire *w, uint16_t channel, amqp_method_number_t id, void *args)
{
    say(w, channel, id, args);
    hear(w, id + 1); /* AMQP numbers them so */
}

static void tcp_connect(struct wire *w, const struct url *u)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *a;
    snprintf(port, sizeof port, "%u", u->port);
    if (getaddrinfo(u->host, port, &hints, &found) != 0) die("no address of %s", u->host);
    for (a = found; a; a = a->ai_next) {
        w->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (w->fd >= 0 && connect(w->fd, a->ai_addr, a->ai_addrlen) == 0) break;
        if (w->fd >= 0) close(w->fd);
    }
    if (!a) die("cannot reach %s:%s", u->host, port);
    freeaddrinfo(found);
    int on = 1;
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(w->fd, F_SETFL, fcntl(w->fd, F_GETFL) | O_NONBLOCK);
}

void wire_open(struct wire *w, const char *url)
{
    struct url u;
    struct ctask_error e;
    if (url_parse(url, &u, &e) != CTASK_OK) die("%s", e.text);
    *w = (struct wire){.in = malloc(IN_CAP)};
    if (!w->in) die("out of memory");
    tcp_connect(w, &u);
    memcpy(wire_room(w, 8), "AMQP\0\0\11\1", 8);
    wire_added(w, 8);
    hear(w, AMQP_CONNECTION_START_METHOD);
    char login[520];
    int n = snprintf(login, sizeof login, "%c%s%c%s", 0, u.user, 0, u.password);
    amqp_connection_start_ok_t start = {.mechanism = amqp_text("PLAIN"),
                                        .response = {(size_t)n, login},
                                        .locale = amqp_text("en_US")};
    say(w, 0, AMQP_CONNECTION_START_OK_METHOD, &start);
    hear(w, AMQP_CONNECTION_TUNE_METHOD);
    amqp_connection_tune_ok_t tune = {.channel_max = 16, .frame_max = FRAME_MAX, .heartbeat = 0};
    say(w, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &tune);
    amqp_connection_open_t open = {.virtual_host = amqp_text(u.vhost)};
    ask(w, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
    amqp_channel_open_t channel = {0};
    ask(w, CHANNEL_OUT, AMQP_CHANNEL_OPEN_METHOD, &channel);
    ask(w, CHANNEL_IN, AMQP_CHANNEL_OPEN_METHOD, &channel);
}

void wire_close(struct wire *w)
{
    amqp_connection_close_t bye = {.reply_code = AMQP_REPLY_SUCCESS};
    say(w, 0, AMQP_CONNECTION_CLOSE_METHOD, &bye);
    flush_all(w);
    close(w->fd);
    free(w->in);
    free(w->out);
}

void wire_declare(struct wire *w, const char *queue, bool expires)
{
    amqp_table_entry_t entry = {
        .key = amqp_text("x-expires"),
        .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = 30 * 60 * 1000}};
    amqp_queue_declare_t declare = {.queue = amqp_text(queue), .durable = 1};
    if (expires) declare.arguments = (amqp_table_t){1, &entry};
    ask(w, CHANNEL_OUT, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

void wire_delete(struct wire *w, const char *queue)
{
    amqp_queue_delete_t drop = {.queue = amqp_text(queue)};
    ask(w, CHANNEL_OUT, AMQP_QUEUE_DELETE_METHOD, &drop);
}

void wire_confirm_select(struct wire *w)
{
    amqp_confirm_select_t select = {0};
    ask(w, CHANNEL_OUT, AMQP_CONFIRM_SELECT_METHOD, &select);
}

void wire_consume(struct wire *w, const char *queue, uint16_t prefetch, bool no_ack, const char *id,
                  size_t id_at)
{
    w->id_at = id_at;
    memcpy(w->id_prefix, id, ID_PREFIX);
    amqp_basic_qos_t qos = {.prefetch_count = prefetch};
    ask(w, CHANNEL_IN, AMQP_BASIC_QOS_METHOD, &qos);
    amqp_basic_consume_t consume = {.queue = amqp_text(queue), .no_ack = no_ack};
    ask(w, CHANNEL_IN, AMQP_BASIC_CONSUME_METHOD, &consume);
}
