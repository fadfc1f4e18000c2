/* link.c - see link.h. Before tune no frame may be over 8 KiB; a method that we do not know ends
 * the connection, since its meaning for the stream is unknown too. */
#include "amqp/link.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/table.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define EARLY_LIMIT ((size_t)8192)
#define TAKE_LIMIT ((size_t)1 << 20) /* header frames come whole, whatever was agreed on */
#define OUT_LIMIT ((size_t)4 << 20)
#define POOL_PAGE 512
#define CHANNELS 256

void link_init(struct link *l, const struct url *u, const char *name, unsigned heartbeat,
               int64_t now)
{
    *l = (struct link){.state = LINK_GREETING,
                       .url = u,
                       .name = name,
                       .heartbeat = heartbeat,
                       .in.max = 2 * TAKE_LIMIT,
                       .out.max = OUT_LIMIT,
                       .heard_at = now,
                       .sent_at = now,
                       .frame_max = EARLY_LIMIT,
                       .frame_limit = EARLY_LIMIT};
    init_amqp_pool(&l->pool, POOL_PAGE);
    buf_append(&l->out, "AMQP\0\0\x09\x01", 8);
}

void link_done(struct link *l)
{
    buf_clear(&l->out);
    buf_wipe(&l->out); /* a login may be in it */
    buf_done(&l->in);
    buf_done(&l->out);
    empty_amqp_pool(&l->pool);
}

const char *link_where(const struct url *u, char out[LINK_WHERE_SIZE])
{
    bool v6 = strchr(u->host, ':') != NULL;
    snprintf(out, LINK_WHERE_SIZE, v6 ? "[%s]:%u" : "%s:%u", u->host, (unsigned)u->port);
    return out;
}

static enum link_event link_end(struct link *l)
{
    l->state = LINK_DEAD;
    return LINK_ENDED;
}

void link_fail(struct link *l, int code, const char *what)
{
    char where[LINK_WHERE_SIZE];
    error_set(&l->error, code, "%s: %s", link_where(l->url, where), what);
    l->state = LINK_DEAD;
}

/* ---- Handshake ------------------------------------------------------------------------------- */

static bool longstr_take(struct bytes *rest, struct bytes *s)
{
    if (rest->n < 4) return false;
    const uint8_t *p = rest->p;
    size_t n = bytes_be32(p);
    if (n > rest->n - 4) return false;
    *s = bytes_of(p + 4, n);
    *rest = bytes_of(p + 4 + n, rest->n - 4 - n);
    return true;
}

/* Mechanisms are words with one space between. */
static bool mechanism_offered(struct bytes list, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i + n <= list.n; i++)
        if (memcmp(list.p + i, name, n) == 0 && (i == 0 || list.p[i - 1] == ' ') &&
            (i + n == list.n || list.p[i + n] == ' '))
            return true;
    return false;
}

static amqp_table_entry_t entry_text(const char *key, const char *value)
{
    return (amqp_table_entry_t){amqp_text(key),
                                {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_text(value)}};
}

static amqp_table_entry_t entry_true(const char *key)
{
    return (amqp_table_entry_t){amqp_text(key),
                                {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
}

static bool start_ok(struct link *l)
{
    amqp_table_entry_t can[] = {
        entry_true("publisher_confirms"),
        entry_true("exchange_exchange_bindings"),
        entry_true("basic.nack"),
        entry_true("consumer_cancel_notify"),
        entry_true("connection.blocked"),
        entry_true("per_consumer_qos"),
        entry_true("authentication_failure_close"),
    };
    amqp_table_entry_t about[] = {
        entry_text("product", "ctask"),
        entry_text("version", CTASK_VERSION),
        entry_text("platform", "C"),
        entry_text("connection_name", l->name),
        {amqp_text("capabilities"),
         {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {sizeof can / sizeof can[0], can}}},
    };
    char plain[sizeof l->url->user + sizeof l->url->password];
    size_t user = strlen(l->url->user), password = strlen(l->url->password);
    plain[0] = '\0';
    memcpy(plain + 1, l->url->user, user + 1);
    memcpy(plain + user + 2, l->url->password, password);
    amqp_connection_start_ok_t ok = {
        .client_properties = {sizeof about / sizeof about[0], about},
        .mechanism = amqp_text("PLAIN"),
        .response = {user + password + 2, plain},
        .locale = amqp_text("en_US"),
    };
    bool put = frame_method(&l->out, 0, AMQP_CONNECTION_START_OK_METHOD, &ok);
    explicit_bzero(plain, sizeof plain);
    return put;
}

/* As link.rabbitmq_major. */
static unsigned rabbitmq_major(struct bytes properties)
{
    struct field product, version;
    unsigned major = 0;
    if (!table_find(properties, "product", &product) || !bytes_is(product.text, "RabbitMQ"))
        return 0;
    if (!table_find(properties, "version", &version)) return 0;
    for (size_t i = 0; i < version.text.n && i < 4 && isdigit(version.text.p[i]); i++)
        major = 10 * major + (unsigned)(version.text.p[i] - '0');
    return major;
}

static enum link_event greeted(struct link *l, struct bytes payload)
{
    struct bytes rest, table, mechanisms;
    if (method_number(payload) != AMQP_CONNECTION_START_METHOD || payload.n < 6) {
        link_fail(l, CTASK_EPROTO, "it does not begin as an AMQP 0-9-1 broker does");
        return LINK_ENDED;
    }
    rest = bytes_of(payload.p + 6, payload.n - 6);
    if (!longstr_take(&rest, &table) || table_check(table) || !longstr_take(&rest, &mechanisms)) {
        link_fail(l, CTASK_EPROTO, "its greeting is malformed");
        return LINK_ENDED;
    }
    l->rabbitmq_major = rabbitmq_major(table);
    if (!mechanism_offered(mechanisms, "PLAIN")) {
        link_fail(l, CTASK_EAUTH,
                  "the broker offers no PLAIN login, the only one known here: "
                  "add PLAIN to its auth_mechanisms");
        return LINK_ENDED;
    }
    if (!start_ok(l)) {
        link_fail(l, CTASK_ENOMEM, "out of memory");
        return LINK_ENDED;
    }
    l->state = LINK_TUNING;
    return LINK_NONE;
}

/* Nothing asked for stays nothing; else the smaller of both, but a broker's 0 means "as you like".
 */
static unsigned heartbeat_agree(unsigned ours, unsigned theirs)
{
    if (ours == 0 || theirs == 0) return ours;
    return ours < theirs ? ours : theirs;
}

static enum link_event tuned(struct link *l, const amqp_connection_tune_t *t)
{
    buf_wipe(&l->out); /* the login has left */
    size_t theirs = t->frame_max ? t->frame_max : FRAME_MAX;
    l->frame_max = theirs < FRAME_MAX ? theirs : FRAME_MAX;
    l->frame_limit = theirs < FRAME_MAX ? FRAME_MAX : theirs > TAKE_LIMIT ? TAKE_LIMIT : theirs;
    l->heartbeat = heartbeat_agree(l->heartbeat, t->heartbeat);
    l->channel_max = t->channel_max && t->channel_max < CHANNELS ? t->channel_max : CHANNELS;
    if (l->frame_max < AMQP_FRAME_MIN_SIZE) {
        link_fail(l, CTASK_EPROTO, "it wants frames smaller than the protocol allows");
        return LINK_ENDED;
    }
    amqp_connection_tune_ok_t ok = {l->channel_max, (uint32_t)l->frame_max, (uint16_t)l->heartbeat};
    amqp_connection_open_t open = {.virtual_host = amqp_text(l->url->vhost)};
    if (!frame_method(&l->out, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok) ||
        !frame_method(&l->out, 0, AMQP_CONNECTION_OPEN_METHOD, &open)) {
        link_fail(l, CTASK_ENOMEM, "out of memory");
        return LINK_ENDED;
    }
    l->state = LINK_OPENING;
    return LINK_NONE;
}

/* ---- Endings --------------------------------------------------------------------------------- */

/* RabbitMQ refuses a login with 403, a vhost with 530; a limit that is reached is 530 as well, but
 * passes. 530 on a connection that is up is a limit too. */
static void refusal_explain(struct link *l, unsigned code, struct bytes text)
{
    char where[LINK_WHERE_SIZE];
    const struct url *u = l->url;
    link_where(u, where);
    bool limit = bytes_has(text, "limit") || bytes_has(text, "is down");
    if (l->state == LINK_TUNING && code == 403)
        error_set(&l->error, CTASK_EAUTH,
                  "the broker at %s refused user \"%s\": wrong user name or password", where,
                  u->user);
    else if (l->state == LINK_OPENING && (code == 530 || code == 403) && !limit)
        error_set(&l->error, CTASK_EAUTH,
                  "the broker at %s has no virtual host \"%s\", or user \"%s\" may not use it",
                  where, u->vhost, u->user);
    else
        error_set(&l->error, l->state == LINK_UP && code == 530 ? CTASK_EREFUSED : CTASK_ECONN,
                  "the broker at %s closed the connection: %u %.*s", where, code, BYTES_ARG(text));
}

void link_lost(struct link *l, int reason)
{
    static const char *const silent[] = {
        [LINK_GREETING] = "before it said anything (is this RabbitMQ's AMQP port, and not TLS?)",
        [LINK_TUNING] = "after the login: check user name and password",
        [LINK_OPENING] = "at the virtual host: check its name and the user's permissions",
        [LINK_UP] = "without a word (stopped, restarted, or cut on the way)",
    };
    char where[LINK_WHERE_SIZE];
    if (l->state == LINK_DEAD) return;
    if (l->state == LINK_CLOSING)
        error_set(&l->error, CTASK_ECLOSED, "closed");
    else if (reason)
        error_set(&l->error, CTASK_ECONN, "lost the broker at %s: %s", link_where(l->url, where),
                  strerror(reason));
    else
        error_set(&l->error, CTASK_ECONN, "the broker at %s closed the connection %s",
                  link_where(l->url, where), silent[l->state]);
    l->state = LINK_DEAD;
}

/* True if something that was sent may be the reason of the close, and would be again. Not so for an
 * orderly shutdown (320), a lost right or virtual host, or one channel too many. */
static bool close_blames(const struct link *l, unsigned code)
{
    return l->state == LINK_UP && code > 500 && code != AMQP_CHANNEL_ERROR &&
           code != AMQP_NOT_ALLOWED;
}

static enum link_event closed_by_peer(struct link *l, const amqp_connection_close_t *close)
{
    amqp_connection_close_ok_t ok = {0};
    frame_method(&l->out, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    l->blames = close_blames(l, close->reply_code);
    if (l->state == LINK_CLOSING)
        error_set(&l->error, CTASK_ECLOSED, "closed");
    else
        refusal_explain(l, close->reply_code, bytes_amqp(close->reply_text));
    return link_end(l);
}

void link_close(struct link *l)
{
    if (l->state == LINK_CLOSING || l->state == LINK_DEAD) return;
    amqp_connection_close_t close = {.reply_code = 200, .reply_text = amqp_text("goodbye")};
    frame_method(&l->out, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
    l->state = LINK_CLOSING;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static enum link_event control_method(struct link *l, struct bytes payload)
{
    amqp_method_number_t id;
    if (l->state == LINK_GREETING) return greeted(l, payload);
    const void *m = method_read(&l->pool, payload, &id);
    bool up = l->state == LINK_UP || l->state == LINK_CLOSING;
    if (m && id == AMQP_CONNECTION_CLOSE_METHOD) return closed_by_peer(l, m);
    if (m && id == AMQP_CONNECTION_TUNE_METHOD && l->state == LINK_TUNING) return tuned(l, m);
    if (m && id == AMQP_CONNECTION_OPEN_OK_METHOD && l->state == LINK_OPENING) {
        l->state = LINK_UP;
        return LINK_OPENED;
    }
    if (m && id == AMQP_CONNECTION_BLOCKED_METHOD && up) {
        struct bytes why = bytes_amqp(((const amqp_connection_blocked_t *)m)->reason);
        snprintf(l->why, sizeof l->why, "%.*s", BYTES_ARG(why));
        l->blocked = true;
        return LINK_BLOCKED;
    }
    if (m && id == AMQP_CONNECTION_UNBLOCKED_METHOD && up) {
        l->blocked = false;
        return LINK_UNBLOCKED;
    }
    if (m && id == AMQP_CONNECTION_CLOSE_OK_METHOD && l->state == LINK_CLOSING) {
        error_set(&l->error, CTASK_ECLOSED, "closed");
        return link_end(l);
    }
    char what[64];
    snprintf(what, sizeof what, "unexpected method 0x%08x on the connection", (unsigned)id);
    link_fail(l, CTASK_EPROTO, what);
    return LINK_ENDED;
}

/* A broker of another protocol version answers with its own protocol header, as "AMQP" 0 0 9 1. */
static const char *noise_explain(const struct link *l)
{
    struct bytes in = buf_bytes(&l->in);
    if (l->state != LINK_GREETING) return "the stream of frames is broken";
    if (in.n >= 2 && in.p[0] == 21 && in.p[1] == 3) return "TLS is spoken there: use amqps://";
    if (in.n >= 4 && memcmp(in.p, "AMQP", 4) == 0) return "it speaks another version of AMQP";
    return "what answers there does not speak AMQP 0-9-1";
}

enum link_event link_next(struct link *l, struct frame *f)
{
    enum link_event event = LINK_NONE;
    buf_consume(&l->in, l->taken);
    l->taken = 0;
    while (event == LINK_NONE && l->state != LINK_DEAD) {
        long size = frame_next(buf_bytes(&l->in), l->frame_limit, f);
        if (size == 0) return LINK_NONE;
        bool early = l->state < LINK_UP;
        bool control = size > 0 && f->channel == 0;
        if (size < 0 || (early && !control) ||
            (control && f->type != AMQP_FRAME_METHOD && f->type != AMQP_FRAME_HEARTBEAT)) {
            link_fail(l, CTASK_EPROTO, noise_explain(l));
            return LINK_ENDED;
        }
        l->taken = (size_t)size;
        if (!control) return LINK_FRAME;
        if (f->type == AMQP_FRAME_METHOD) event = control_method(l, f->payload);
        buf_consume(&l->in, l->taken);
        l->taken = 0;
    }
    return event;
}

/* ---- Time ------------------------------------------------------------------------------------ */

void link_heard(struct link *l, int64_t now)
{
    l->heard_at = now;
}

void link_sent(struct link *l, size_t n, int64_t now)
{
    buf_consume(&l->out, n);
    l->sent += n;
    l->sent_at = now;
}

static int64_t half_beat(const struct link *l)
{
    return l->heartbeat * CLOCK_SECOND / 2;
}

bool link_tick(struct link *l, int64_t now)
{
    if (l->heartbeat == 0 || l->state < LINK_UP || l->state == LINK_DEAD) return true;
    if (now - l->heard_at > 4 * half_beat(l)) {
        char where[LINK_WHERE_SIZE];
        error_set(&l->error, CTASK_ECONN, "the broker at %s has been silent for %u s",
                  link_where(l->url, where), 2 * l->heartbeat);
        l->state = LINK_DEAD;
        return false;
    }
    if (l->out.len == 0 && now - l->sent_at >= half_beat(l)) frame_heartbeat(&l->out);
    return true;
}

int64_t link_wake(const struct link *l)
{
    if (l->heartbeat == 0 || l->state < LINK_UP || l->state == LINK_DEAD) return CLOCK_NEVER;
    int64_t dead = l->heard_at + 4 * half_beat(l) + 1;
    int64_t beat = l->sent_at + half_beat(l);
    return l->out.len == 0 && beat < dead ? beat : dead;
}
