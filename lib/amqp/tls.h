/* tls.h - TLS over memory: ciphertext in, plaintext out and the other way round. No descriptor and
 * no clock, so that the stream keeps its one recv and its one send, and a test needs no network.
 *
 * TLS 1.2 or later; the peer's certificate and the name or address in the URL are verified, always:
 * there is nothing to switch that off with. Trust comes from the system's directory of authorities
 * unless the URL names others. Every end has a sentence that says what to do.
 *
 * A forked child that frees it says nothing on the wire. */
#ifndef AMQP_TLS_H
#define AMQP_TLS_H

#include "base/buf.h"
#include "base/url.h"

struct tls;

/* From now on whatever OpenSSL frees is zeroed, so that keys are gone with what held them. For a
 * program's start: false if OpenSSL has been used already. */
bool tls_wipe_memory(void);

/* Reads the files that the URL names, anew for each connection: renewed ones need no restart. NULL
 * with a sentence: CTASK_EINVAL for a file that is of no use, CTASK_ENOMEM. */
struct tls *tls_new(const struct url *u, struct ctask_error *e);
/* NULL is fine. */
void tls_free(struct tls *t);

/* What came from the peer. False when out of memory. */
bool tls_feed(struct tls *t, const void *p, size_t n);
/* What is to be sent to it; consume what was. */
struct buf *tls_out(struct tls *t);

enum tls_progress {
    TLS_DONE,   /* the handshake is over; or as much was read as was asked for */
    TLS_HUNGRY, /* nothing more without more from the peer */
    TLS_OVER,   /* the peer said goodbye, and *e is as it was; or *e is why it failed: CTASK_EAUTH
                   who it is, or who we are, is not accepted; CTASK_EPROTO no TLS that both know */
};

enum tls_progress tls_shake(struct tls *t, struct ctask_error *e);
/* Appends at most n bytes of plaintext. TLS_OVER also when `in` has no room: CTASK_ENOMEM. */
enum tls_progress tls_read(struct tls *t, struct buf *in, size_t n, struct ctask_error *e);
/* How much of the plaintext was taken, all of it but in the middle of a handshake of the peer's
 * wish: 0, and try again with the same bytes after tls_read; -1: it failed. */
long tls_write(struct tls *t, struct bytes plain, struct ctask_error *e);
/* Says that nothing follows. */
void tls_close(struct tls *t);

#endif
