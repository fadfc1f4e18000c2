/* test_stream.c - TLS on a connection that breaks in the middle of a write: what may have arrived
 * counts as sent. */
#include "amqp/stream.h"

#include "base/fd.h"

#include <check.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD 16384 /* the most that one record of TLS holds */

static int sends_left;

/* In place of libc's. */
ssize_t send(int fd, const void *p, size_t n, int flags)
{
    if (sends_left-- > 0) return sendto(fd, p, n, flags, NULL, 0);
    errno = ECONNRESET;
    return -1;
}

static char ca[] = "/tmp/ctask-stream-XXXXXX";
static SSL_CTX *ctx;

/* A server's certificate that vouches for itself. */
static void server_make(void)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_NAME *name = X509_get_subject_name(cert);
    X509_EXTENSION *who = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"it", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_add_ext(cert, who, -1);
    X509_EXTENSION_free(who);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    int fd = mkstemp(ca);
    FILE *f = fdopen(fd, "w");
    ck_assert(f && PEM_write_X509(f, cert) == 1 && fclose(f) == 0);
    ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(ctx, cert);
    SSL_CTX_use_PrivateKey(ctx, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

START_TEST(what_left_before_it_broke_counts)
{
    static uint8_t bytes[5 * RECORD];
    char text[256];
    struct url u;
    struct ctask_error e = {0};
    struct stream s;
    struct buf out = {0};
    int pair[2];
    server_make();
    snprintf(text, sizeof text, "amqps://127.0.0.1/?cafile=%s", ca);
    ck_assert_int_eq(url_parse(text, &u, &e), CTASK_OK);
    ck_assert_int_eq(fd_pair(pair), 0);
    fd_nonblock(pair[0], true);
    fd_nonblock(pair[1], true);
    SSL *server = SSL_new(ctx);
    SSL_set_fd(server, pair[1]);
    SSL_set_accept_state(server);
    stream_init(&s);
    s.url = &u;
    s.fd = pair[0];
    sends_left = 1000;
    while (stream_connect(&s, 0) == 0) SSL_do_handshake(server);
    ck_assert_msg(s.fd >= 0, "%s", s.error.text);
    ck_assert_int_eq(SSL_do_handshake(server), 1);
    ck_assert(buf_append(&out, bytes, sizeof bytes));
    sends_left = 2;
    ck_assert_int_ge(stream_send(&s, &out), 2L * RECORD);
    ck_assert_int_eq(stream_send(&s, &out), -1);
    ck_assert_int_eq(s.reason, ECONNRESET);
    ck_assert_int_eq(SSL_read(server, bytes, RECORD), RECORD);
    ck_assert_int_eq(SSL_read(server, bytes, RECORD), RECORD);
    buf_done(&out);
    stream_close(&s);
    SSL_free(server);
    SSL_CTX_free(ctx);
    close(pair[1]);
    unlink(ca);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stream");
    TCase *t = tcase_create("stream");
    tcase_add_test(t, what_left_before_it_broke_counts);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
