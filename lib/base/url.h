/* url.h - broker URLs: amqp://user:password@host:port/vhost
 *
 * Agrees with kombu where both accept: percent-decoding of all bytes, "" and "/" as vhost mean "/",
 * "//" too, default port 5672 (5671 for amqps), [::1] for IPv6, `pyamqp://` is `amqp://`. A missing
 * user means guest, which is refused here unless the host is this machine: RabbitMQ would refuse
 * it anyway and say less.
 *
 * The query has, with & between:
 *   heartbeat=SECONDS  0: none
 *   cafile=FILE        amqps: the certificates of the authorities that are trusted, in PEM format,
 *   capath=DIRECTORY   or a directory of them as `openssl rehash` makes it, instead of the system's
 *   certfile=FILE      amqps: our own certificate, with those between it and an authority
 *   keyfile=FILE       its private key, not encrypted; default: it is in certfile
 * Anything else in it is an error, since a typo that is ignored is the worst bug report. Nothing
 * switches verification off: to trust a certificate that nobody vouches for, give it as cafile.
 *
 * No I/O. */
#ifndef BASE_URL_H
#define BASE_URL_H

#include "base/bytes.h"

#include <ctask.h>

struct url {
    bool tls;
    char host[256]; /* without brackets */
    uint16_t port;
    char user[256], password[256], vhost[256];
    int heartbeat;                                              /* seconds; -1: not given */
    char cafile[256], capath[256], certfile[256], keyfile[256]; /* "": not given */
};

/* CTASK_OK, or CTASK_EINVAL with one sentence that never holds the password. */
int url_parse(const char *text, struct url *u, struct ctask_error *e);
int url_parse_bytes(struct bytes text, struct url *u, struct ctask_error *e);
/* As text with the password as ***; for logs and error messages. Returns out. */
char *url_show(const struct url *u, char *out, size_t size);

#endif
