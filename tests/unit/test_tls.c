/* test_tls.c - TLS over memory against OpenSSL's own server side: what is said in both directions
 * however it is cut, and the sentence of each refusal. Certificates are made here. */
#include "amqp/tls.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY (24L * 60 * 60)

/* ---- Certificates ---------------------------------------------------------------------------- */

struct identity {
    X509 *cert;
    EVP_PKEY *key;
};

static char folder[] = "/tmp/ctask-tls-XXXXXX";
static struct identity authority, stranger, good, old, early, foreign, client;

static void extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    ck_assert_ptr_nonnull(x);
    X509_add_ext(cert, x, -1);
    X509_EXTENSION_free(x);
}

/* by NULL: an authority that vouches for itself. */
static struct identity identity(const char *name, const char *san, const struct identity *by,
                                long from, long until)
{
    static long serial = 1;
    struct identity id = {X509_new(), EVP_EC_gen("P-256")};
    X509_NAME *subject = X509_get_subject_name(id.cert);
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), from);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), until);
    X509_set_pubkey(id.cert, id.key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(id.cert, by ? X509_get_subject_name(by->cert) : subject);
    if (!by) extend(id.cert, NID_basic_constraints, "critical,CA:TRUE");
    if (san) extend(id.cert, NID_subject_alt_name, san);
    ck_assert_int_gt(X509_sign(id.cert, by ? by->key : id.key, EVP_sha256()), 0);
    return id;
}

static const char *path(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *out = paths[next++ % 4];
    snprintf(out, sizeof paths[0], "%s/%s", folder, name);
    return out;
}

static void cert_save(const char *name, X509 *cert)
{
    FILE *f = fopen(path(name), "w");
    ck_assert(f && PEM_write_X509(f, cert) == 1 && fclose(f) == 0);
}

static void key_save(const char *name, EVP_PKEY *key, const char *passphrase)
{
    FILE *f = fopen(path(name), "w");
    const unsigned char *p = (const unsigned char *)passphrase;
    int n = p ? (int)strlen(passphrase) : 0;
    ck_assert(f && PEM_write_PrivateKey(f, key, p ? EVP_aes_128_cbc() : NULL, p, n, NULL, NULL));
    ck_assert_int_eq(fclose(f), 0);
}

static void identities_make(void)
{
    const char *here = "DNS:rabbit.test,DNS:localhost,IP:127.0.0.1,IP:::1";
    authority = identity("an authority", NULL, NULL, -DAY, DAY);
    stranger = identity("another authority", NULL, NULL, -DAY, DAY);
    good = identity("rabbit", here, &authority, -DAY, DAY);
    old = identity("rabbit", here, &authority, -2 * DAY, -DAY);
    early = identity("rabbit", here, &authority, DAY, 2 * DAY);
    foreign = identity("rabbit", here, &stranger, -DAY, DAY);
    client = identity("me", NULL, &authority, -DAY, DAY);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    cert_save("ca.pem", authority.cert);
    cert_save("me.pem", client.cert);
    cert_save("strange.pem", foreign.cert);
    key_save("me.key", client.key, NULL);
    key_save("strange.key", foreign.key, NULL);
    key_save("locked.key", client.key, "sesame");
    FILE *f = fopen(path("noise.pem"), "w");
    ck_assert(f && fputs("noise\n", f) >= 0 && fclose(f) == 0);
}

/* ---- The two ends ---------------------------------------------------------------------------- */

struct server {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *from, *to;
};

static struct url url_for(const char *host, const char *query)
{
    char text[1024];
    struct url u;
    struct ctask_error e = {0};
    snprintf(text, sizeof text, "amqps://u:p@%s/?cafile=%s/ca.pem%s", host, folder, query);
    ck_assert_msg(url_parse(text, &u, &e) == CTASK_OK, "%s", e.text);
    return u;
}

static void server_begin(struct server *s, const struct identity *id, int version)
{
    s->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(s->ctx, id->cert);
    SSL_CTX_use_PrivateKey(s->ctx, id->key);
    if (version) SSL_CTX_set_max_proto_version(s->ctx, version);
    if (version && version < TLS1_2_VERSION) SSL_CTX_set_security_level(s->ctx, 0);
    if (version) SSL_CTX_set_min_proto_version(s->ctx, version);
    s->ssl = SSL_new(s->ctx);
    s->from = BIO_new(BIO_s_mem());
    s->to = BIO_new(BIO_s_mem());
    SSL_set_bio(s->ssl, s->from, s->to);
    SSL_set_accept_state(s->ssl);
}

static void server_demand(struct server *s)
{
    X509_STORE_add_cert(SSL_CTX_get_cert_store(s->ctx), authority.cert);
    SSL_set_verify(s->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void server_end(struct server *s)
{
    SSL_free(s->ssl);
    SSL_CTX_free(s->ctx);
}

/* Carries what both have to say, the server's in pieces of at most `piece` bytes. */
static void carry(struct tls *t, struct server *s, size_t piece)
{
    struct buf *out = tls_out(t);
    char bytes[65536];
    BIO_write(s->from, buf_head(out), (int)out->len);
    buf_consume(out, out->len);
    int n = BIO_read(s->to, bytes, (int)(piece < sizeof bytes ? piece : sizeof bytes));
    if (n > 0) ck_assert(tls_feed(t, bytes, (size_t)n));
}

static enum tls_progress shake(struct tls *t, struct server *s, size_t piece, struct ctask_error *e)
{
    enum tls_progress p;
    for (int idle = 0; idle < 3; idle++) {
        p = tls_shake(t, e);
        if (p != TLS_HUNGRY) return p;
        carry(t, s, piece);
        ERR_clear_error();
        SSL_do_handshake(s->ssl);
        if (BIO_ctrl_pending(s->to) || tls_out(t)->len > 0) idle = 0;
    }
    return p;
}

/* A handshake that works, and no bytes of it left under way. */
static struct tls *connected(struct server *s, const struct identity *id, int version)
{
    struct ctask_error e = {0};
    struct url u = url_for("rabbit.test", "");
    server_begin(s, id, version);
    struct tls *t = tls_new(&u, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    ck_assert_msg(shake(t, s, SIZE_MAX, &e) == TLS_DONE, "%s", e.text);
    carry(t, s, SIZE_MAX);
    ck_assert_int_eq(SSL_do_handshake(s->ssl), 1);
    return t;
}

/* ---- What is said ---------------------------------------------------------------------------- */

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(i * 31 >> 3);
}

START_TEST(what_is_said_arrives_however_it_is_cut)
{
    enum { SIZE = 300000 };
    static const size_t pieces[] = {1, 5, 4096, 65536};
    static const size_t wanted[] = {1, 100000, 3, 16384};
    static uint8_t said[SIZE], heard[SIZE];
    fill(said, SIZE);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            struct server s;
            struct ctask_error e = {0};
            struct buf in = {0};
            struct tls *t = connected(&s, &good, version);
            int left = pieces[i] < 100 ? 20000 : SIZE, total = left;
            ck_assert_int_eq(SSL_write(s.ssl, said, total), total);
            while (in.len < (size_t)total) {
                carry(t, &s, pieces[i]);
                /* All of it is given before it is hungry again. */
                while (tls_read(t, &in, wanted[i], &e) == TLS_DONE) continue;
                ck_assert_int_eq(e.code, CTASK_OK);
            }
            ck_assert_mem_eq(buf_head(&in), said, (size_t)total);
            while (left > 0) {
                long n = tls_write(t, bytes_of(said + total - left, (size_t)left), &e);
                ck_assert_int_gt(n, 0);
                left -= (int)n;
            }
            carry(t, &s, 0);
            while (left < total) {
                int n = SSL_read(s.ssl, heard + left, total - left);
                ck_assert_int_gt(n, 0);
                left += n;
            }
            ck_assert_mem_eq(heard, said, (size_t)total);
            buf_done(&in);
            tls_free(t);
            server_end(&s);
        }
    }
}
END_TEST

START_TEST(at_most_as_much_as_wanted_is_read)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    struct tls *t = connected(&s, &good, 0);
    SSL_write(s.ssl, "hello, world", 12);
    carry(t, &s, SIZE_MAX);
    ck_assert_int_eq(tls_read(t, &in, 5, &e), TLS_DONE);
    ck_assert_uint_eq(in.len, 5);
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_HUNGRY);
    ck_assert_uint_eq(in.len, 12);
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}
END_TEST

START_TEST(a_goodbye_comes_after_all_that_was_said)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    struct tls *t = connected(&s, &good, 0);
    SSL_write(s.ssl, "last words", 10);
    SSL_shutdown(s.ssl);
    carry(t, &s, SIZE_MAX);
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_OVER);
    ck_assert_int_eq(e.code, CTASK_OK);
    ck_assert(bytes_is(buf_bytes(&in), "last words"));
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_OVER);
    tls_close(t);
    carry(t, &s, 0);
    char end;
    ck_assert_int_le(SSL_read(s.ssl, &end, 1), 0);
    ck_assert_int_eq(SSL_get_shutdown(s.ssl), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}
END_TEST

START_TEST(new_keys_in_between_lose_nothing)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    char heard[8] = "";
    struct tls *t = connected(&s, &good, TLS1_3_VERSION);
    ck_assert_int_eq(SSL_key_update(s.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    SSL_write(s.ssl, "after", 5);
    carry(t, &s, SIZE_MAX);
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_HUNGRY);
    ck_assert(bytes_is(buf_bytes(&in), "after"));
    ck_assert_int_eq(tls_write(t, bytes_text("too"), &e), 3);
    carry(t, &s, 0);
    ck_assert_int_eq(SSL_read(s.ssl, heard, sizeof heard), 3);
    ck_assert_str_eq(heard, "too");
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}
END_TEST

/* A server of TLS 1.2 may want to shake hands again at any time. */
START_TEST(writing_waits_for_a_handshake_that_the_server_wants)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    char heard[8] = "";
    struct tls *t = connected(&s, &good, TLS1_2_VERSION);
    ck_assert_int_eq(SSL_renegotiate(s.ssl), 1);
    SSL_do_handshake(s.ssl);
    carry(t, &s, SIZE_MAX);
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_HUNGRY);
    long put = tls_write(t, bytes_text("words"), &e);
    ck_assert_int_eq(put, 0);
    for (int i = 0; i < 10 && put == 0; i++) {
        carry(t, &s, SIZE_MAX);
        SSL_read(s.ssl, heard, sizeof heard);
        carry(t, &s, SIZE_MAX);
        ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_HUNGRY);
        put = tls_write(t, bytes_text("words"), &e);
    }
    ck_assert_int_eq(put, 5);
    carry(t, &s, 0);
    ck_assert_int_eq(SSL_read(s.ssl, heard, sizeof heard), 5);
    ck_assert_str_eq(heard, "words");
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}
END_TEST

START_TEST(a_byte_changed_on_the_way_ends_it)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    char bytes[200];
    struct tls *t = connected(&s, &good, 0);
    while (BIO_read(s.to, bytes, sizeof bytes) > 0) continue;
    SSL_write(s.ssl, "hello", 5);
    int n = BIO_read(s.to, bytes, sizeof bytes);
    bytes[n - 1] ^= 1;
    ck_assert(tls_feed(t, bytes, (size_t)n));
    ck_assert_int_eq(tls_read(t, &in, 100, &e), TLS_OVER);
    ck_assert_int_eq(e.code, CTASK_EPROTO);
    ck_assert_uint_eq(in.len, 0);
    ck_assert_int_eq(tls_write(t, bytes_text("x"), &e), -1);
    ck_assert_int_eq((int)ERR_peek_error(), 0);
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}
END_TEST

/* ---- Refusals -------------------------------------------------------------------------------- */

static void assert_end(const struct identity *id, int version, const char *host, const char *query,
                       bool demand, int code, const char *words)
{
    struct server s;
    struct ctask_error e = {0};
    struct buf in = {0};
    struct url u = url_for(host, query);
    server_begin(&s, id, version);
    if (demand) server_demand(&s);
    struct tls *t = tls_new(&u, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    enum tls_progress p = shake(t, &s, SIZE_MAX, &e);
    /* In TLS 1.3 the client is done before the server has seen its certificate. */
    for (int i = 0; i < 3 && p == TLS_DONE; i++) {
        carry(t, &s, SIZE_MAX);
        SSL_do_handshake(s.ssl);
        carry(t, &s, SIZE_MAX);
        p = tls_read(t, &in, 100, &e) == TLS_OVER ? TLS_OVER : p;
    }
    ck_assert_msg(e.code == code, "%s: %d, %s", words, e.code, e.text);
    if (code == CTASK_OK) ck_assert_int_eq(p, TLS_DONE);
    if (code != CTASK_OK) ck_assert_int_eq(p, TLS_OVER);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s", e.text);
    buf_done(&in);
    tls_free(t);
    server_end(&s);
}

START_TEST(names_and_addresses_are_verified)
{
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        assert_end(&good, v, "rabbit.test", "", false, CTASK_OK, "");
        assert_end(&good, v, "RABBIT.test.", "", false, CTASK_OK, "");
        assert_end(&good, v, "127.0.0.1", "", false, CTASK_OK, "");
        assert_end(&good, v, "[::1]", "", false, CTASK_OK, "");
        assert_end(&good, v, "[::1%25lo]", "", false, CTASK_OK, "");
        assert_end(&good, v, "127.0.0.2", "", false, CTASK_EAUTH, "the address \"127.0.0.2\"");
        assert_end(&good, v, "[::2]", "", false, CTASK_EAUTH, "the address \"::2\"");
        assert_end(&good, v, "hare.test", "", false, CTASK_EAUTH, "the name \"hare.test\"");
        assert_end(&good, v, "rabbit", "", false, CTASK_EAUTH, "the name \"rabbit\"");
    }
}
END_TEST

START_TEST(every_refusal_says_why)
{
    assert_end(&old, 0, "rabbit.test", "", false, CTASK_EAUTH, "expired");
    assert_end(&early, 0, "rabbit.test", "", false, CTASK_EAUTH, "not valid yet");
    assert_end(&foreign, 0, "rabbit.test", "", false, CTASK_EAUTH, "cafile=");
    assert_end(&stranger, 0, "rabbit.test", "", false, CTASK_EAUTH, "cafile=");
    assert_end(&good, TLS1_1_VERSION, "rabbit.test", "", false, CTASK_EPROTO, "1.2 or later");
    assert_end(&good, TLS1_VERSION, "rabbit.test", "", false, CTASK_EPROTO, "1.2 or later");
}
END_TEST

START_TEST(client_certificates_are_shown_when_they_are_wanted)
{
    char mine[300], strange[300];
    snprintf(mine, sizeof mine, "&certfile=%s&keyfile=%s", path("me.pem"), path("me.key"));
    snprintf(strange, sizeof strange, "&certfile=%s&keyfile=%s", path("strange.pem"),
             path("strange.key"));
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        assert_end(&good, v, "rabbit.test", mine, true, CTASK_OK, "");
        assert_end(&good, v, "rabbit.test", mine, false, CTASK_OK, "");
        assert_end(&good, v, "rabbit.test", "", true, CTASK_EAUTH, "demands a client certificate");
        assert_end(&good, v, "rabbit.test", strange, true, CTASK_EAUTH, "does not accept");
    }
}
END_TEST

START_TEST(what_speaks_no_tls_is_said_to)
{
    static const char *const answers[] = {"AMQP\0\0\x09\x01", "HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "\0\0\0\0\0\0\0\0\0\0\0\0"};
    static const size_t sizes[] = {8, 28, 12};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct ctask_error e = {0};
        struct url u = url_for("rabbit.test", "");
        struct tls *t = tls_new(&u, &e);
        ck_assert_int_eq(tls_shake(t, &e), TLS_HUNGRY);
        ck_assert_uint_gt(tls_out(t)->len, 100);
        ck_assert(tls_feed(t, answers[i], sizes[i]));
        ck_assert_int_eq(tls_shake(t, &e), TLS_OVER);
        ck_assert_int_eq(e.code, CTASK_EPROTO);
        ck_assert_msg(i == 2 || strstr(e.text, "no TLS is spoken") != NULL, "%s", e.text);
        tls_free(t);
    }
}
END_TEST

static void assert_useless(const char *query, const char *words)
{
    char text[600];
    struct url u;
    struct ctask_error e = {0};
    snprintf(text, sizeof text, "amqps://u:p@rabbit.test/?%s", query);
    ck_assert_msg(url_parse(text, &u, &e) == CTASK_OK, "%s", e.text);
    ck_assert_ptr_null(tls_new(&u, &e));
    ck_assert_int_eq(e.code, CTASK_EINVAL);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s", e.text);
    ck_assert_int_eq((int)ERR_peek_error(), 0);
}

START_TEST(files_that_are_of_no_use_are_named)
{
    char query[512];
    assert_useless("cafile=/no/such", "cafile=/no/such of the broker URL: No such file");
    assert_useless("capath=/no/such", "capath=/no/such of the broker URL: No such file");
    assert_useless("certfile=/no/such", "certfile=/no/such of the broker URL: No such file");
    snprintf(query, sizeof query, "cafile=%s", path("noise.pem"));
    assert_useless(query, "no certificates");
    snprintf(query, sizeof query, "capath=%s", path("noise.pem"));
    assert_useless(query, "not a directory: name a file with cafile=");
    snprintf(query, sizeof query, "certfile=%s", path("noise.pem"));
    assert_useless(query, "no certificate");
    snprintf(query, sizeof query, "certfile=%s", path("me.pem"));
    assert_useless(query, "no private key");
    snprintf(query, sizeof query, "certfile=%s&keyfile=%s", path("me.pem"), path("noise.pem"));
    assert_useless(query, "no private key");
    snprintf(query, sizeof query, "certfile=%s&keyfile=%s", path("me.pem"), path("locked.key"));
    assert_useless(query, "encrypted");
    snprintf(query, sizeof query, "certfile=%s&keyfile=%s", path("me.pem"), path("strange.key"));
    assert_useless(query, "another certificate");
}
END_TEST

static void remove_files(void)
{
    static const char *const names[] = {"ca.pem",     "me.pem",      "strange.pem", "me.key",
                                        "locked.key", "strange.key", "noise.pem"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(path(names[i]));
    rmdir(folder);
}

static void identities_free(void)
{
    remove_files();
    struct identity *all[] = {&authority, &stranger, &good, &old, &early, &foreign, &client};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        X509_free(all[i]->cert);
        EVP_PKEY_free(all[i]->key);
    }
}

int main(void)
{
    TCase *t = tcase_create("tls");
    tcase_add_unchecked_fixture(t, identities_make, identities_free);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_is_said_arrives_however_it_is_cut);
    tcase_add_test(t, at_most_as_much_as_wanted_is_read);
    tcase_add_test(t, a_goodbye_comes_after_all_that_was_said);
    tcase_add_test(t, new_keys_in_between_lose_nothing);
    tcase_add_test(t, writing_waits_for_a_handshake_that_the_server_wants);
    tcase_add_test(t, a_byte_changed_on_the_way_ends_it);
    tcase_add_test(t, names_and_addresses_are_verified);
    tcase_add_test(t, every_refusal_says_why);
    tcase_add_test(t, client_certificates_are_shown_when_they_are_wanted);
    tcase_add_test(t, what_speaks_no_tls_is_said_to);
    tcase_add_test(t, files_that_are_of_no_use_are_named);
    Suite *s = suite_create("tls");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
