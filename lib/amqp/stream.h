/* stream.h - a TCP connection that never waits, with TLS on it for amqps:// URLs. All bytes pass
 * through one recv and one send; TLS over memory stands between them and the buffers.
 *
 * Set on the socket: TCP_NODELAY and keepalive 10/5/3, which finds that the peer of an idle
 * connection is gone, but is silent while data is under way; for that there is stream_pulse. Never
 * TCP_USER_TIMEOUT: it cuts living peers that do not read, as a broker in alarm. */
#ifndef AMQP_STREAM_H
#define AMQP_STREAM_H

#include "amqp/tls.h"
#include "base/addr.h"
#include "base/buf.h"

struct stream {
    int fd;                /* -1: none */
    bool connecting;       /* TCP is under way */
    bool shaking;          /* TLS is */
    const struct url *url; /* borrowed */
    struct addrs addrs;
    unsigned at, left; /* the address under way; how many are left to try, with this one */
    int64_t deadline;  /* of the address under way */
    int64_t rtt;       /* to the peer and back, in ns, when TCP was there; 0: not known */
    uint64_t sent;     /* bytes that send took, and how many of them the peer's kernel had: */
    uint64_t taken;
    int64_t taken_at; /* when that changed last */
    struct tls *tls;  /* NULL: none */
    bool hungry;      /* TLS gives nothing more without more from the peer */
    bool stalled;     /* TLS takes nothing more before it has heard from the peer */
    /* The last failure: an errno, 0 for an orderly end; unless TLS has a sentence about it. */
    int reason;
    struct ctask_error error;
};

void stream_init(struct stream *s);
/* Says TLS's goodbye if it can without waiting. */
void stream_close(struct stream *s);
/* In a forked child: closes the descriptor without a word, frees nothing. */
void stream_abandon(struct stream *s);
/* In a forked child: frees TLS, with its keys, and leaves the descriptor as it is. */
void stream_forget(struct stream *s);

/* Starts with address number `first`; each has 5 s, and 5 more for TLS. */
void stream_dial(struct stream *s, const struct url *u, const struct addrs *to, unsigned first,
                 int64_t now);
/* 1: connected, 0: under way, -1: none answered, see reason and error. */
int stream_connect(struct stream *s, int64_t now);

/* What to poll for; more: there is something to send. */
short stream_events(const struct stream *s, bool more);
/* True while poll does not know what there is to receive: TLS has it already. */
bool stream_ready(const struct stream *s);
/* True while something that was sent waits for the socket. */
bool stream_unsent(const struct stream *s);

/* Appends at most n bytes to in. How many; 0: nothing there; -1: it ended. */
long stream_recv(struct stream *s, struct buf *in, size_t n);
/* Takes bytes from the front of out (which keeps them: consume them). How many; -1: it broke. */
long stream_send(struct stream *s, const struct buf *out);

/* Whether the peer's kernel acknowledges what was sent. CALM: all of it. GONE: nothing for 20 s,
 * though it was sent again several times. A living peer that does not read says that it has no
 * room, so it is never gone, for however long. One that vanishes after it has said so is found
 * later, since the kernel asks it ever more rarely, at last every two minutes. */
enum stream_pulse { STREAM_CALM, STREAM_WAITS, STREAM_GONE };
enum stream_pulse stream_pulse(struct stream *s, int64_t now);

#endif
