/* identity.h - whom a TLS connection trusts and who it says that we are: the files of a broker URL.
 */
#ifndef AMQP_IDENTITY_H
#define AMQP_IDENTITY_H

#include "base/url.h"

#include <openssl/ssl.h>

/* Both are false with a sentence when a file is of no use: CTASK_EINVAL. */
bool identity_trust(SSL_CTX *ctx, const struct url *u, struct ctask_error *e);
/* The client's certificate and key, if the URL names them. No copy of the key stays in memory but
 * that which ctx holds. */
bool identity_show(SSL_CTX *ctx, const struct url *u, struct ctask_error *e);

#endif
