/* stream.c - see stream.h. */
#include "amqp/stream.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CONNECT_LIMIT (5 * CLOCK_SECOND)
#define SILENCE (20 * CLOCK_SECOND)
#define UNANSWERED 3 /* a lost packet or two are no sign */
#define CIPHER_READ ((size_t)16 << 10)
#define CIPHER_WRITE ((size_t)64 << 10) /* plaintext that is encrypted before it is sent */

void stream_init(struct stream *s)
{
    *s = (struct stream){.fd = -1};
}

/* ---- The socket ------------------------------------------------------------------------------ */

/* How many bytes came; 0: none yet; -1: it ended. */
static long socket_recv(struct stream *s, void *at, size_t n)
{
    ssize_t got;
    do got = recv(s->fd, at, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) return got;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    s->reason = got < 0 ? errno : 0;
    return -1;
}

static long socket_send(struct stream *s, const struct buf *out)
{
    ssize_t put;
    do put = send(s->fd, buf_head(out), out->len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put >= 0) {
        s->sent += (uint64_t)put;
        return put;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    s->reason = errno;
    return -1;
}

/* Ciphertext from the socket to TLS. */
static long cipher_recv(struct stream *s)
{
    uint8_t bytes[CIPHER_READ];
    long n = socket_recv(s, bytes, sizeof bytes);
    if (n <= 0 || tls_feed(s->tls, bytes, (size_t)n)) return n;
    s->reason = ENOMEM;
    return -1;
}

/* Ciphertext from TLS to the socket, as much as it takes. False when it broke. */
static bool cipher_send(struct stream *s)
{
    struct buf *out = tls_out(s->tls);
    while (out->len > 0) {
        long n = socket_send(s, out);
        if (n < 0) return false;
        if (n == 0) break;
        buf_consume(out, (size_t)n);
    }
    if (out->len == 0) buf_done(out);
    return true;
}

void stream_close(struct stream *s)
{
    if (s->tls) {
        tls_close(s->tls);
        int reason = s->reason;
        cipher_send(s);
        s->reason = reason;
        tls_free(s->tls);
        s->tls = NULL;
    }
    stream_abandon(s);
}

void stream_abandon(struct stream *s)
{
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    s->connecting = s->shaking = s->hungry = s->stalled = false;
    s->sent = s->taken = 0;
}

void stream_forget(struct stream *s)
{
    tls_free(s->tls);
    s->tls = NULL;
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static void socket_prepare(int fd)
{
    const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 10}, {IPPROTO_TCP, TCP_KEEPINTVL, 5},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        setsockopt(fd, options[i].level, options[i].option, &options[i].value,
                   sizeof options[i].value);
}

/* Starts with the address at s->at, or with the first after it that can be started. */
static int address_start(struct stream *s, int64_t now)
{
    for (; s->left > 0; s->left--, s->at = (s->at + 1) % s->addrs.count) {
        const struct sockaddr *sa = (const struct sockaddr *)&s->addrs.at[s->at].sa;
        s->fd =
            fd_above_standard(socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (s->fd >= 0) socket_prepare(s->fd);
        if (s->fd >= 0 && connect(s->fd, sa, s->addrs.at[s->at].len) == 0) return 1;
        if (s->fd >= 0 && errno == EINPROGRESS) {
            s->connecting = true;
            s->deadline = now + CONNECT_LIMIT;
            return 0;
        }
        s->reason = errno;
        stream_close(s);
    }
    return -1;
}

static int address_next(struct stream *s, int64_t now)
{
    stream_close(s);
    s->left--;
    s->at = (s->at + 1) % s->addrs.count;
    return address_start(s, now);
}

void stream_dial(struct stream *s, const struct url *u, const struct addrs *to, unsigned first,
                 int64_t now)
{
    s->url = u;
    s->addrs = *to;
    s->at = to->count ? first % to->count : 0;
    s->left = to->count;
    s->rtt = 0;
    s->reason = EHOSTUNREACH;
    s->error = (struct ctask_error){0};
    address_start(s, now);
}

static int64_t rtt_of(int fd)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0) return 0;
    return (int64_t)info.tcpi_rtt * (CLOCK_MS / 1000);
}

/* 1: TCP is there, 0: under way, -1: not at this address. */
static int tcp_connect(struct stream *s, int64_t now)
{
    if (!s->connecting) return 1;
    /* A second connect tells more surely than SO_ERROR, which is 0 while it is under way. */
    const struct sockaddr *sa = (const struct sockaddr *)&s->addrs.at[s->at].sa;
    if (connect(s->fd, sa, s->addrs.at[s->at].len) == 0 || errno == EISCONN) {
        s->connecting = false;
        s->rtt = rtt_of(s->fd);
        return 1;
    }
    bool waiting = errno == EALREADY || errno == EINPROGRESS || errno == EINTR;
    if (waiting && now < s->deadline) return 0;
    s->reason = waiting ? ETIMEDOUT : errno;
    return -1;
}

/* The peer's time begins when ours is over: the first session sets OpenSSL up. */
static int tls_begin(struct stream *s)
{
    s->tls = tls_new(s->url, &s->error);
    s->shaking = s->tls != NULL;
    s->deadline = clock_now() + CONNECT_LIMIT;
    return s->tls ? 0 : -1;
}

/* 1: TLS is there too, 0: it is under way, -1: not at this address. Its sentence is kept, whatever
 * the next address says: a certificate is a better reason than a port where nobody listens. */
static int tls_connect(struct stream *s, int64_t now)
{
    struct ctask_error e = {0};
    if (s->tls && !s->shaking) return 1;
    if (!s->tls && tls_begin(s) < 0) return -1;
    for (;;) {
        enum tls_progress p = tls_shake(s->tls, &e);
        bool sent = cipher_send(s);
        if (p == TLS_DONE) break;
        long n = p == TLS_HUNGRY && sent ? cipher_recv(s) : -1;
        if (n > 0) continue;
        if (n == 0 && now < s->deadline) return 0;
        if (e.code == CTASK_OK)
            error_set(&e, CTASK_ECONN, "%s in the middle of the TLS handshake",
                      n == 0 ? "it fell silent" : "it hung up");
        s->error = e;
        return -1;
    }
    s->shaking = false;
    s->error = e;
    return 1;
}

int stream_connect(struct stream *s, int64_t now)
{
    while (s->fd >= 0) {
        int rc = tcp_connect(s, now);
        if (rc == 1 && s->url->tls) rc = tls_connect(s, now);
        if (rc >= 0) return rc;
        if (address_next(s, now) == 0) return 0;
    }
    return -1;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

short stream_events(const struct stream *s, bool more)
{
    if (s->connecting) return POLLOUT;
    bool out = s->shaking || s->stalled ? stream_unsent(s) : more || stream_unsent(s);
    return (short)(POLLIN | (out ? POLLOUT : 0));
}

bool stream_ready(const struct stream *s)
{
    return s->tls && !s->shaking && !s->hungry;
}

bool stream_unsent(const struct stream *s)
{
    return s->tls && tls_out(s->tls)->len > 0;
}

/* What TLS has before what the socket has, so that nothing stays behind that poll cannot see. */
static long plain_recv(struct stream *s, struct buf *in, size_t n)
{
    size_t before = in->len;
    for (;;) {
        enum tls_progress p = tls_read(s->tls, in, n - (in->len - before), &s->error);
        long got = (long)(in->len - before), more = 0;
        s->hungry = p == TLS_HUNGRY;
        s->stalled = false;
        if (p == TLS_OVER) s->reason = 0;
        if (s->hungry) more = cipher_recv(s);
        if (more > 0) {
            s->hungry = false;
            continue;
        }
        bool over = p == TLS_OVER || more < 0;
        if (!cipher_send(s)) over = true; /* what TLS answered on its own */
        return over && got == 0 ? -1 : got;
    }
}

long stream_recv(struct stream *s, struct buf *in, size_t n)
{
    if (s->tls) return plain_recv(s, in, n);
    uint8_t *at = buf_room(in, n);
    if (!at) {
        s->reason = ENOMEM;
        return -1;
    }
    long got = socket_recv(s, at, n);
    if (got > 0) buf_added(in, (size_t)got);
    return got;
}

/* What was taken before it broke may have arrived, so it counts; the next call tells the end. */
static long plain_send(struct stream *s, const struct buf *out)
{
    size_t taken = 0;
    while (cipher_send(s)) {
        size_t left = out->len - taken;
        if (left == 0 || s->stalled || stream_unsent(s)) return (long)taken;
        struct bytes next =
            bytes_of(buf_head(out) + taken, left < CIPHER_WRITE ? left : CIPHER_WRITE);
        long n = tls_write(s->tls, next, &s->error);
        if (n < 0) break;
        s->stalled = n == 0;
        taken += (size_t)n;
    }
    return taken > 0 ? (long)taken : -1;
}

long stream_send(struct stream *s, const struct buf *out)
{
    return s->tls ? plain_send(s, out) : socket_send(s, out);
}

/* tcpi_retransmits and tcpi_probes start over when something is acknowledged; while a peer says
 * that it has no room the kernel counts neither. */
enum stream_pulse stream_pulse(struct stream *s, int64_t now)
{
    int left = 0;
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (ioctl(s->fd, SIOCOUTQ, &left) < 0 || left == 0) return STREAM_CALM;
    uint64_t taken = s->sent - (uint64_t)left;
    if (taken != s->taken) {
        s->taken = taken;
        s->taken_at = now;
    }
    if (now - s->taken_at <= SILENCE) return STREAM_WAITS;
    if (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0) return STREAM_WAITS;
    bool unanswered = info.tcpi_retransmits >= UNANSWERED || info.tcpi_probes >= UNANSWERED;
    return unanswered ? STREAM_GONE : STREAM_WAITS;
}
