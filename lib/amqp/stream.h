/* stream.h - a TCP connection that never waits. All bytes pass through one recv and one send, so
 * that TLS over memory BIOs fits between them and the buffers.
 *
 * Set on the socket: TCP_NODELAY and keepalive 10/5/3. Never TCP_USER_TIMEOUT: it cuts living peers
 * that do not read, as a broker in alarm. */
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

#endif
