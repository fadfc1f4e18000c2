/* stream.c - see stream.h. */
#include "amqp/stream.h"
#include "base/clock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CONNECT_LIMIT (5 * CLOCK_SECOND)
#define SILENCE (20 * CLOCK_SECOND)
#define UNANSWERED 3 /* a lost packet or two are no sign */

void stream_init(struct stream *s)
{
    *s = (struct stream){.fd = -1};
}

void stream_close(struct stream *s)
{
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    s->connecting = false;
    s->sent = s->taken = 0;
}

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
        s->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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

void stream_dial(struct stream *s, const struct addrs *to, unsigned first, int64_t now)
{
    s->addrs = *to;
    s->at = to->count ? first % to->count : 0;
    s->left = to->count;
    s->reason = EHOSTUNREACH;
    address_start(s, now);
}

int stream_connect(struct stream *s, int64_t now)
{
    if (s->fd < 0) return -1;
    if (!s->connecting) return 1;
    /* A second connect tells more surely than SO_ERROR, which is 0 while it is under way. */
    const struct sockaddr *sa = (const struct sockaddr *)&s->addrs.at[s->at].sa;
    if (connect(s->fd, sa, s->addrs.at[s->at].len) == 0 || errno == EISCONN) {
        s->connecting = false;
        return 1;
    }
    bool waiting = errno == EALREADY || errno == EINPROGRESS || errno == EINTR;
    if (waiting && now < s->deadline) return 0;
    s->reason = waiting ? ETIMEDOUT : errno;
    stream_close(s);
    s->left--;
    s->at = (s->at + 1) % s->addrs.count;
    return address_start(s, now);
}

long stream_recv(struct stream *s, struct buf *in, size_t n)
{
    uint8_t *at = buf_room(in, n);
    if (!at) {
        s->reason = ENOMEM;
        return -1;
    }
    ssize_t got;
    do got = recv(s->fd, at, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        buf_added(in, (size_t)got);
        return got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    s->reason = got < 0 ? errno : 0;
    return -1;
}

long stream_send(struct stream *s, const struct buf *out)
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
