/* identity.c - see identity.h. */
#include "amqp/identity.h"
#include "base/err.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)256 << 10) /* of certificates and keys */

static bool readable(const char *parameter, const char *path, struct ctask_error *e)
{
    if (access(path, R_OK) == 0) return true;
    error_set(e, CTASK_EINVAL, "%s=%s of the broker URL: %s", parameter, path, strerror(errno));
    return false;
}

static bool useless(const char *parameter, const char *path, const char *what,
                    struct ctask_error *e)
{
    error_set(e, CTASK_EINVAL, "%s=%s of the broker URL %s", parameter, path, what);
    return false;
}

/* By directory: a file of all authorities costs 25 ms and 1 MB, a directory what is looked up. */
bool identity_trust(SSL_CTX *ctx, const struct url *u, struct ctask_error *e)
{
    struct stat st;
    if (*u->cafile) {
        if (!readable("cafile", u->cafile, e)) return false;
        if (SSL_CTX_load_verify_file(ctx, u->cafile) != 1)
            return useless("cafile", u->cafile, "holds no certificates in PEM format", e);
    }
    if (*u->capath) {
        if (!readable("capath", u->capath, e)) return false;
        if (stat(u->capath, &st) != 0 || !S_ISDIR(st.st_mode) || /* OpenSSL takes anything */
            SSL_CTX_load_verify_dir(ctx, u->capath) != 1)
            return useless("capath", u->capath, "is not a directory: name a file with cafile=", e);
    }
    return *u->cafile || *u->capath || SSL_CTX_set_default_verify_dir(ctx) == 1;
}

/* Nobody is there to be asked for a passphrase. */
static int passphrase(char *out, int size, int writing, void *wanted)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)wanted = true;
    return -1;
}

/* Reads a file that may hold a key into memory that no child sees. If it returns NULL, *text is to
 * be freed all the same. OpenSSL's own reading leaves a copy in the C library's buffers. */
static BIO *secret_open(const char *path, void **text)
{
    *text = secret_new(FILE_MAX);
    int fd = *text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    size_t n = 0;
    ssize_t got = 0;
    while (fd >= 0 && n < FILE_MAX && (got = read(fd, (char *)*text + n, FILE_MAX - n)) > 0)
        n += (size_t)got;
    if (fd >= 0) close(fd);
    return fd >= 0 && got == 0 ? BIO_new_mem_buf(*text, (int)n) : NULL;
}

static void secret_close(BIO *in, void *text)
{
    BIO_free(in);
    secret_free(text, FILE_MAX);
}

/* The certificate, then those that vouch for it. */
static bool chain_use(SSL_CTX *ctx, const char *path)
{
    void *text;
    bool wanted = false;
    BIO *in = secret_open(path, &text);
    X509 *own = in ? PEM_read_bio_X509_AUX(in, NULL, passphrase, &wanted) : NULL, *next;
    bool ok = own && SSL_CTX_use_certificate(ctx, own) == 1;
    X509_free(own);
    while (ok && (next = PEM_read_bio_X509(in, NULL, passphrase, &wanted)))
        if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
            X509_free(next);
            ok = false;
        }
    secret_close(in, text);
    return ok && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

/* 1: done. *encrypted: it asks for a passphrase. */
static int key_use(SSL_CTX *ctx, const char *path, bool *encrypted)
{
    void *text;
    BIO *in = secret_open(path, &text);
    ERR_clear_error();
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, passphrase, encrypted) : NULL;
    int rc = key ? SSL_CTX_use_PrivateKey(ctx, key) : 0;
    EVP_PKEY_free(key);
    secret_close(in, text);
    return rc;
}

bool identity_show(SSL_CTX *ctx, const struct url *u, struct ctask_error *e)
{
    const char *parameter = *u->keyfile ? "keyfile" : "certfile";
    const char *keyfile = *u->keyfile ? u->keyfile : u->certfile;
    bool encrypted = false;
    if (!*u->certfile) return true;
    if (!readable("certfile", u->certfile, e) || !readable(parameter, keyfile, e)) return false;
    if (!chain_use(ctx, u->certfile))
        return useless("certfile", u->certfile, "holds no certificate in PEM format", e);
    int rc = key_use(ctx, keyfile, &encrypted);
    if (encrypted)
        return useless(parameter, keyfile, "is encrypted: give a key without a passphrase", e);
    if (rc == 1 && SSL_CTX_check_private_key(ctx) == 1) return true;
    if (rc == 1 || ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
        return useless(parameter, keyfile, "is the key of another certificate than certfile's", e);
    return useless(parameter, keyfile, "holds no private key in PEM format", e);
}
