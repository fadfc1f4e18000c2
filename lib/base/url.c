/* url.c - see url.h. Sentences about what is wrong quote nothing: in a URL that is wrong, any part
 * may be the password. */
#include "base/url.h"
#include "base/err.h"
#include "base/utf8.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

/* What is before the first c, with what follows c in *after (p NULL: there is no c). */
static struct bytes split(struct bytes s, char c, struct bytes *after)
{
    const uint8_t *at = s.n ? memchr(s.p, c, s.n) : NULL;
    *after = bytes_of(NULL, 0);
    if (!at) return s;
    size_t n = (size_t)(at - s.p);
    *after = bytes_rest(s, n + 1);
    return bytes_of(s.p, n);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *part_decode(struct bytes in, char out[256])
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        int c = in.p[i];
        if (c == '%') {
            int high = i + 2 < in.n ? hex_value((char)in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? hex_value((char)in.p[i + 2]) : -1;
            if (high < 0 || low < 0) return "has a % without two hex digits (% itself is %25)";
            c = high << 4 | low;
            i += 2;
        }
        if (n == 255) return "has a part of more than 255 bytes";
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return utf8_is_text(bytes_of(out, n)) ? NULL : "has control characters, or bytes not UTF-8";
}

/* Digits only; -1 if it is anything else or above 65,535. */
static int number_parse(struct bytes s)
{
    int v = s.n ? 0 : -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return -1;
        v = 10 * v + (s.p[i] - '0');
        if (v > 65535) return -1;
    }
    return v;
}

static const char *scheme_parse(struct bytes *text, struct url *u)
{
    static const struct {
        const char *text;
        bool tls;
    } schemes[] = {{"amqp://", false}, {"amqps://", true}, {"pyamqp://", false}};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t n = strlen(schemes[i].text);
        if (text->n < n || strncasecmp((const char *)text->p, schemes[i].text, n) != 0) continue;
        u->tls = schemes[i].tls;
        *text = bytes_rest(*text, n);
        return NULL;
    }
    return "does not begin with amqp:// or amqps://";
}

static const char *user_parse(struct bytes text, struct url *u)
{
    struct bytes password, user = split(text, ':', &password);
    const char *wrong = part_decode(user, u->user);
    return wrong ? wrong : part_decode(password, u->password);
}

/* Names in lower case, but not the interface behind an address's %. */
static const char *host_parse(struct bytes text, bool bracketed, struct url *u)
{
    const char *wrong = part_decode(text, u->host);
    if (wrong) return wrong;
    if (!*u->host) strcpy(u->host, "localhost");
    size_t n = strcspn(u->host, "%");
    for (size_t i = 0; i < n; i++) u->host[i] = lower(u->host[i]);
    if (!bracketed) {
        n = strspn(u->host, "abcdefghijklmnopqrstuvwxyz0123456789-._");
        return u->host[n] ? "has characters in its host that no host name has" : NULL;
    }
    char address[256];
    struct in6_addr in6;
    memcpy(address, u->host, n);
    address[n] = '\0';
    return inet_pton(AF_INET6, address, &in6) == 1 ? NULL : "has no IPv6 address in its brackets";
}

static const char *host_port_parse(struct bytes text, struct url *u)
{
    struct bytes host, after, port;
    bool bracketed = text.n > 0 && text.p[0] == '[';
    if (bracketed) {
        host = split(bytes_rest(text, 1), ']', &after);
        if (!after.p) return "has a [ without its ]";
        if (split(after, ':', &port).n > 0) return "has something between ] and the port";
    } else {
        host = split(text, ':', &port);
    }
    u->port = u->tls ? 5671 : 5672;
    if (port.n > 0) {
        int number = number_parse(port);
        if (number < 1)
            return "has no number from 1 to 65535 as its port (in passwords, : / ? # ; "
                   "and @ are written %3A %2F %3F %23 %3B %40)";
        u->port = (uint16_t)number;
    }
    return host_parse(host, bracketed, u);
}

static const char *parameter_parse(struct bytes key, struct bytes value, struct url *u)
{
    const struct {
        const char *key;
        char *path;
    } files[] = {{"cafile", u->cafile},
                 {"capath", u->capath},
                 {"certfile", u->certfile},
                 {"keyfile", u->keyfile}};
    if (bytes_is(key, "heartbeat")) {
        if (u->heartbeat >= 0) return "has heartbeat twice";
        u->heartbeat = number_parse(value);
        return u->heartbeat < 0 ? "has a heartbeat that is no number from 0 to 65535" : NULL;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (!bytes_is(key, files[i].key)) continue;
        if (!u->tls) return "names files for TLS, which amqps:// has and amqp:// has not";
        if (*files[i].path) return "has a parameter twice";
        if (value.n == 0) return "has a parameter without a value";
        return part_decode(value, files[i].path);
    }
    return "has a query other than heartbeat=SECONDS, and for amqps cafile=, capath=, certfile=, "
           "keyfile=";
}

static const char *query_parse(struct bytes text, struct url *u)
{
    while (text.n > 0) {
        struct bytes rest, value, key = split(split(text, '&', &rest), '=', &value);
        const char *wrong = parameter_parse(key, value, u);
        if (wrong) return wrong;
        if (rest.p && rest.n == 0) return "has a query that ends in &";
        text = rest;
    }
    return *u->keyfile && !*u->certfile ? "has a keyfile without a certfile" : NULL;
}

static bool host_is_here(const char *host)
{
    struct in_addr in;
    struct in6_addr in6;
    return strcmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET, host, &in) == 1 && ntohl(in.s_addr) >> 24 == 127) ||
           (inet_pton(AF_INET6, host, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6));
}

static const char *parse(struct bytes text, struct url *u)
{
    struct bytes query, path, user = bytes_of(NULL, 0);
    const char *wrong = scheme_parse(&text, u);
    if (wrong) return wrong;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] == '#' || text.p[i] == ';')
            return "has a space, # or ; in it (they are written %20, %23 and %3B)";
    text = split(split(text, '?', &query), '/', &path);
    /* Most likely the end of a password with a / in it; kombu would take it as the vhost. */
    if (path.n && memchr(path.p, '@', path.n)) return "has an @ behind a / (they are %40 and %2F)";
    const uint8_t *at = text.n ? memrchr(text.p, '@', text.n) : NULL;
    if (at) {
        user = bytes_of(text.p, (size_t)(at - text.p));
        text = bytes_rest(text, user.n + 1);
    }
    wrong = user_parse(user, u);
    if (!wrong) wrong = host_port_parse(text, u);
    if (!wrong) wrong = part_decode(path, u->vhost);
    if (!wrong) wrong = query_parse(query, u);
    if (wrong) return wrong;
    if ((!*u->user || !*u->password) && !host_is_here(u->host))
        return "has no user and password: guest may connect from the broker's own machine only";
    if (!*u->user) strcpy(u->user, "guest");
    if (!*u->password) strcpy(u->password, "guest");
    if (!*u->vhost) strcpy(u->vhost, "/");
    return NULL;
}

int url_parse(const char *text, struct url *u, struct ctask_error *e)
{
    return url_parse_bytes(bytes_text(text), u, e);
}

int url_parse_bytes(struct bytes text, struct url *u, struct ctask_error *e)
{
    *u = (struct url){.heartbeat = -1};
    const char *wrong = parse(text, u);
    if (!wrong) return CTASK_OK;
    explicit_bzero(u, sizeof *u);
    return error_set(e, CTASK_EINVAL, "the broker URL %s", wrong);
}

/* Percent-encodes all but letters, digits, -._~ and characters beyond ASCII. */
static void part_encode(const char *in, char out[3 * 256])
{
    for (; *in; in++) {
        unsigned char c = (unsigned char)*in;
        out += sprintf(out, c > 0x7f || isalnum(c) || strchr("-._~", c) ? "%c" : "%%%02X", c);
    }
    *out = '\0';
}

char *url_show(const struct url *u, char *out, size_t size)
{
    bool bracketed = strchr(u->host, ':') != NULL;
    char user[3 * 256], vhost[3 * 256];
    part_encode(u->user, user);
    part_encode(strcmp(u->vhost, "/") == 0 ? "" : u->vhost, vhost);
    /* Hosts hold nothing to encode but an interface's %. */
    int address = (int)strcspn(u->host, "%");
    const char *zone = u->host + address;
    snprintf(out, size, "amqp%s://%s:***@%s%.*s%s%s%s:%u/%s", u->tls ? "s" : "", user,
             bracketed ? "[" : "", address, u->host, *zone ? "%25" : "", *zone ? zone + 1 : "",
             bracketed ? "]" : "", u->port, vhost);
    return out;
}
