/* tls.c - see tls.h. This file and identity.c know OpenSSL, and no other. */
#include "amqp/tls.h"
#include "amqp/identity.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)16 << 10) /* the plaintext of one record */

struct tls {
    SSL *ssl;
    BIO *from, *to;   /* the peer's bytes and ours, in memory; the session's */
    struct buf out;   /* what is to be sent */
    char host[256];   /* whom the certificate must name */
    bool address;     /* it is an IP address */
    bool shown;       /* we have a certificate to show */
    bool asked;       /* the peer wants one */
    uint8_t greeting; /* the first byte that came; 0: none yet */
    struct ctask_error end;
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static void *wiping_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(n);
}

static void wiping_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p) explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t n, const char *file, int line)
{
    void *to = n > 0 ? malloc(n) : NULL;
    size_t had = p ? malloc_usable_size(p) : 0;
    if (n > 0 && !to) return NULL;
    if (p && to) memcpy(to, p, had < n ? had : n);
    wiping_free(p, file, line);
    return to;
}

bool tls_wipe_memory(void)
{
    return CRYPTO_set_mem_functions(wiping_malloc, wiping_realloc, wiping_free) == 1;
}

/* ---- Birth and death ------------------------------------------------------------------------- */

static int certificate_wanted(SSL *ssl, void *tls)
{
    (void)ssl;
    ((struct tls *)tls)->asked = true;
    return 1; /* go on with what there is */
}

static bool context_set(SSL_CTX *ctx, const struct url *u, struct ctask_error *e)
{
    error_set(e, CTASK_ENOMEM, "out of memory");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && identity_trust(ctx, u, e) &&
           identity_show(ctx, u, e);
}

/* The name without what is only for reaching it: an address's interface, a root dot. */
static void host_take(struct tls *t, const char *host)
{
    uint8_t binary[16];
    snprintf(t->host, sizeof t->host, "%s", host);
    t->host[strcspn(t->host, "%")] = '\0';
    t->address =
        inet_pton(AF_INET, t->host, binary) == 1 || inet_pton(AF_INET6, t->host, binary) == 1;
    size_t n = strlen(t->host);
    if (!t->address && n > 1 && t->host[n - 1] == '.') t->host[n - 1] = '\0';
}

static bool session_set(struct tls *t, SSL_CTX *ctx)
{
    t->from = BIO_new(BIO_s_mem());
    t->to = BIO_new(BIO_s_mem());
    t->ssl = SSL_new(ctx);
    if (!t->from || !t->to || !t->ssl) {
        BIO_free(t->from);
        BIO_free(t->to);
        return false;
    }
    SSL_set_bio(t->ssl, t->from, t->to);
    SSL_set_connect_state(t->ssl);
    SSL_set_cert_cb(t->ssl, certificate_wanted, t);
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (t->address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), t->host) == 1;
    return SSL_set1_host(t->ssl, t->host) == 1 && SSL_set_tlsext_host_name(t->ssl, t->host) == 1;
}

struct tls *tls_new(const struct url *u, struct ctask_error *e)
{
    /* OpenSSL must not be gone when the default client says goodbye at exit. */
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_clear_error();
    struct ctask_error why;
    struct tls *t = calloc(1, sizeof *t);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool ok = false;
    error_set(&why, CTASK_ENOMEM, "out of memory");
    if (t && ctx) {
        t->shown = *u->certfile != '\0';
        host_take(t, u->host);
        ok = context_set(ctx, u, &why) && session_set(t, ctx);
    }
    SSL_CTX_free(ctx); /* the session holds it */
    ERR_clear_error();
    if (ok) return t;
    if (e) *e = why;
    tls_free(t);
    return NULL;
}

void tls_free(struct tls *t)
{
    if (!t) return;
    SSL_free(t->ssl);
    buf_done(&t->out);
    free(t);
}

/* ---- Reasons --------------------------------------------------------------------------------- */

static void certificate_explain(struct tls *t, long verdict)
{
    const char *kind = t->address ? "address" : "name";
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        error_set(&t->end, CTASK_EAUTH, "its certificate has expired: it needs a new one");
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        error_set(&t->end, CTASK_EAUTH, "its certificate is not valid yet: is the clock right?");
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        error_set(&t->end, CTASK_EAUTH,
                  "its certificate is not for the %s \"%s\": put one that it is for in the URL",
                  kind, t->host);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        error_set(&t->end, CTASK_EAUTH,
                  "its certificate is of an authority that is not trusted here: name the one that "
                  "is, as in amqps://.../?cafile=/etc/ssl/rabbit-ca.pem");
        break;
    default:
        error_set(&t->end, CTASK_EAUTH, "its certificate is not accepted: %s",
                  X509_verify_cert_error_string(verdict));
    }
}

/* An alert about certificates, or the one that servers send in its place. */
static bool is_about_us(int reason)
{
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return true;
    default: return false;
    }
}

static bool is_about_version(int reason)
{
    return reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION || reason == SSL_R_UNSUPPORTED_PROTOCOL ||
           reason == SSL_R_WRONG_SSL_VERSION || reason == SSL_R_VERSION_TOO_LOW;
}

static void failure_explain(struct tls *t)
{
    enum { CHANGE_CIPHER = 20, APPLICATION = 23 }; /* the types of records */
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    long verdict = SSL_get_verify_result(t->ssl);
    const char *words = ERR_reason_error_string(code);
    if (verdict != X509_V_OK)
        certificate_explain(t, verdict);
    else if (t->greeting && (t->greeting < CHANGE_CIPHER || t->greeting > APPLICATION))
        error_set(&t->end, CTASK_EPROTO,
                  "no TLS is spoken there (for amqps:// RabbitMQ listens at port 5671)");
    else if (is_about_version(reason))
        error_set(&t->end, CTASK_EPROTO, "it speaks no TLS of version 1.2 or later: update it");
    else if (t->asked && !t->shown && is_about_us(reason))
        error_set(&t->end, CTASK_EAUTH,
                  "it demands a client certificate: name one, as in "
                  "amqps://.../?certfile=/etc/ssl/me.pem&keyfile=/etc/ssl/me.key");
    else if (t->asked && is_about_us(reason))
        error_set(&t->end, CTASK_EAUTH, "it does not accept the certificate of certfile=: %s",
                  words ? words : "no reason given");
    else
        error_set(&t->end, CTASK_EPROTO, "TLS failed: %s", words ? words : "no reason given");
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

bool tls_feed(struct tls *t, const void *p, size_t n)
{
    if (n > 0 && t->greeting == 0) t->greeting = *(const uint8_t *)p;
    return BIO_write(t->from, p, (int)n) == (int)n;
}

struct buf *tls_out(struct tls *t)
{
    return &t->out;
}

/* What OpenSSL wants to say. False when out of memory. */
static bool collect(struct tls *t)
{
    size_t n = BIO_ctrl_pending(t->to);
    uint8_t *at = n ? buf_room(&t->out, n) : NULL;
    if (n == 0) return true;
    if (!at || BIO_read(t->to, at, (int)n) != (int)n) return false;
    buf_added(&t->out, n);
    return true;
}

/* What became of a call of OpenSSL's that returned rc. */
static enum tls_progress judge(struct tls *t, int rc, struct ctask_error *e)
{
    int kind = SSL_get_error(t->ssl, rc);
    if (kind != SSL_ERROR_NONE && kind != SSL_ERROR_WANT_READ && kind != SSL_ERROR_ZERO_RETURN &&
        t->end.code == CTASK_OK)
        failure_explain(t);
    if (!collect(t) && t->end.code == CTASK_OK) error_set(&t->end, CTASK_ENOMEM, "out of memory");
    ERR_clear_error(); /* the queue is the thread's, and so the program's */
    if (t->end.code != CTASK_OK) *e = t->end;
    if (t->end.code != CTASK_OK || kind == SSL_ERROR_ZERO_RETURN) return TLS_OVER;
    return kind == SSL_ERROR_NONE ? TLS_DONE : TLS_HUNGRY;
}

enum tls_progress tls_shake(struct tls *t, struct ctask_error *e)
{
    ERR_clear_error();
    return judge(t, SSL_do_handshake(t->ssl), e);
}

enum tls_progress tls_read(struct tls *t, struct buf *in, size_t n, struct ctask_error *e)
{
    enum tls_progress p = TLS_DONE;
    while (n > 0 && p == TLS_DONE) {
        size_t chunk = n < CHUNK ? n : CHUNK;
        uint8_t *at = buf_room(in, chunk);
        if (!at) {
            error_set(e, CTASK_ENOMEM, "out of memory");
            return TLS_OVER;
        }
        ERR_clear_error();
        int got = SSL_read(t->ssl, at, (int)chunk);
        p = judge(t, got, e);
        if (got <= 0) continue;
        buf_added(in, (size_t)got);
        n -= (size_t)got;
    }
    return p;
}

long tls_write(struct tls *t, struct bytes plain, struct ctask_error *e)
{
    if (plain.n == 0) return 0;
    ERR_clear_error();
    int put = SSL_write(t->ssl, plain.p, (int)plain.n);
    switch (judge(t, put, e)) {
    case TLS_DONE: return put;
    case TLS_HUNGRY: return 0;
    default: return -1;
    }
}

void tls_close(struct tls *t)
{
    ERR_clear_error();
    if (t->end.code == CTASK_OK && SSL_is_init_finished(t->ssl)) SSL_shutdown(t->ssl);
    collect(t);
    ERR_clear_error();
}
