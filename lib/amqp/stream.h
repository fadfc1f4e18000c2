/* stream.h - a TCP connection that never waits. All bytes pass through one recv and one send, so
 * that TLS over memory BIOs fits between them and the buffers.
 *
 * Set on the socket: TCP_NODELAY and keepalive 10/5/3, which finds that the peer of an idle
 * connection is gone, but is silent while data is under way; for that there is stream_pulse. Never
 * TCP_USER_TIMEOUT: it cuts living peers that do not read, as a broker in alarm. */
#ifndef AMQP_STREAM_H
#define AMQP_STREAM_H

#include "base/addr.h"
#include "base/buf.h"

struct stream {
    int fd; /* -1: none */
    bool connecting;
    struct addrs addrs;
    unsigned at, left; /* the address under way; how many are left to try, with this one */
    int64_t deadline;  /* of the address under way */
    int reason;        /* errno of the last failure */
    uint64_t sent;     /* bytes that send took, and how many of them the peer's kernel had: */
    uint64_t taken;
    int64_t taken_at; /* when that changed last */
};

void stream_init(struct stream *s);
void stream_close(struct stream *s);

/* Starts with address number `first`; each has 5 s. */
void stream_dial(struct stream *s, const struct addrs *to, unsigned first, int64_t now);
/* 1: connected, 0: under way, -1: none answered, see reason. */
int stream_connect(struct stream *s, int64_t now);

/* Appends at most n bytes to in. How many; 0: nothing there; -1: it ended, reason 0 if orderly. */
long stream_recv(struct stream *s, struct buf *in, size_t n);
/* Writes from the front of out. How many bytes left (out keeps them: consume them); -1: it broke.
 */
long stream_send(struct stream *s, const struct buf *out);

/* Whether the peer's kernel acknowledges what was sent. CALM: all of it. GONE: nothing for 20 s,
 * though it was sent again several times. A living peer that does not read says that it has no
 * room, so it is never gone, for however long. One that vanishes after it has said so is found
 * later, since the kernel asks it ever more rarely, at last every two minutes. */
enum stream_pulse { STREAM_CALM, STREAM_WAITS, STREAM_GONE };
enum stream_pulse stream_pulse(struct stream *s, int64_t now);

#endif
