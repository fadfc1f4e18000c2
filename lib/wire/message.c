/* message.c - the head of a task message. See message.h. Reading is one walk over the header table
 * against the table below; whatever a sender puts there has a defined outcome. */
#include "wire/message.h"

#include "wire/date.h"
#include "wire/text.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- Reading --------------------------------------------------------------------------------- */

enum kind { TEXT, DATE, COUNT, FLAG, LIMITS, SEEN };

static const char *const kind_said[] = {
    [TEXT] = "text of at most 255 bytes without control characters",
    [DATE] = "an ISO 8601 date",
    [COUNT] = "a count",
    [FLAG] = "true or false",
    [LIMITS] = "two times in seconds, the hard and the soft limit, each of which may be null",
};

static const struct header {
    struct bytes name;
    enum kind kind;
    bool strict;  /* an odd value is a fault of the message; else it counts as absent */
    size_t value; /* where in struct message */
} headers[] = {
#define HEADER(name, kind, strict, field)                                                          \
    {                                                                                              \
        {(const uint8_t *)(name), sizeof(name) - 1}, kind, strict, offsetof(struct message, field) \
    }
    HEADER("task", TEXT, true, task),
    HEADER("id", TEXT, true, id),
    HEADER("root_id", TEXT, true, root_id),
    HEADER("parent_id", TEXT, true, parent_id),
    HEADER("x-ctask-map", TEXT, true, item_task),
    HEADER("group", TEXT, true, group),
    HEADER("origin", TEXT, false, origin),
    HEADER("eta", DATE, true, eta),
    HEADER("expires", DATE, true, expires),
    HEADER("timelimit", LIMITS, true, limits),
    HEADER("retries", COUNT, true, retries),
    HEADER("ignore_result", FLAG, true, ignore_result),
    HEADER("compression", SEEN, false, compression),
    HEADER("x-ctask-again", FLAG, false, again),
    HEADER("x-ctask-attempt", COUNT, false, attempt),
    HEADER("x-ctask-crashes", COUNT, false, crashes),
    HEADER("x-ctask-unknown", COUNT, false, unknown),
    HEADER("x-delivery-count", COUNT, false, delivery_count),
    HEADER("x-first-death-queue", TEXT, false, came_from),
#undef HEADER
};

static const struct header *header_named(struct bytes name)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        if (bytes_equal(headers[i].name, name)) return &headers[i];
    return NULL;
}

/* 0 is no limit, as null is: that is how Celery means it. */
static bool limit_read(struct bytes *rest, double *seconds)
{
    struct field f;
    if (!table_item_next(rest, &f)) return false;
    if (f.kind == 'V') return true;
    if (!f.is_int && f.kind != 'd' && f.kind != 'f') return false;
    *seconds = f.is_int ? (double)f.i : f.d;
    return *seconds >= 0; /* NaN is none */
}

static bool limits_read(const struct field *f, struct limits *limits)
{
    struct limits l = {0};
    struct bytes rest = f->text;
    if (f->kind != 'A' || !limit_read(&rest, &l.hard) || !limit_read(&rest, &l.soft) || rest.n > 0)
        return false;
    *limits = l;
    return true;
}

/* False if the value is not of the kind, and then nothing is stored. */
static bool value_read(enum kind kind, const struct field *f, void *value)
{
    double t;
    switch (kind) {
    case TEXT:
        if (!f->is_text || !text_plain(f->text)) return false;
        *(struct bytes *)value = f->text;
        return true;
    case DATE:
        if (!f->is_text || !date_read(f->text, &t)) return false;
        *(double *)value = t != 0 ? t : -1e-6; /* 1970 itself is a date too, and 0 means none */
        return true;
    case COUNT:
        if (!f->is_int || f->i < 0 || f->i >= INT32_MAX) return false; /* room for one more */
        *(int64_t *)value = f->i;
        return true;
    case FLAG:
        if (!f->is_int) return false;
        *(bool *)value = f->i != 0;
        return true;
    case LIMITS: return limits_read(f, value);
    case SEEN: *(struct bytes *)value = f->is_text ? f->text : bytes_text("?"); return true;
    }
    return false;
}

/* False: a message that is not fit to run. */
static bool header_fault(const struct header *h, const struct field *field, struct fault *f)
{
    bool says = h->kind == DATE && field->is_text && text_plain(field->text);
    return fault_set(f, "InvalidTaskError", "the header '%.*s' is not %s%s%.*s%s",
                     BYTES_ARG(h->name), kind_said[h->kind], says ? ": '" : "",
                     BYTES_ARG(says ? field->text : bytes_text("")), says ? "'" : "");
}

/* Of entries with the same name the last counts, as in Python. */
static bool headers_read(struct bytes table, struct message *m, struct fault *f)
{
    bool sound = true;
    struct field field;
    while (table_next(&table, &field)) {
        const struct header *h = header_named(field.key);
        if (!h || field.kind == 'V') continue;
        if (!value_read(h->kind, &field, (char *)m + h->value) && h->strict)
            sound = header_fault(h, &field, f);
    }
    return sound;
}

static bool content_check(const struct message *m, struct fault *f)
{
    static const char *const encodings[] = {"", "utf-8", "utf8", "us-ascii", "ascii"};
    const struct props *p = &m->props;
    if (!bytes_is(p->content_type, "application/json"))
        return fault_set(f, "ContentDisallowed",
                         "the content type is '%.*s'; only application/json is understood",
                         BYTES_ARG(p->content_type));
    if (m->compression.p)
        return fault_set(f, "ContentDisallowed",
                         "the body is compressed (%.*s), which is not understood",
                         BYTES_ARG(m->compression));
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++)
        if (p->content_encoding.n == strlen(encodings[i]) &&
            (p->content_encoding.n == 0 || strncasecmp((const char *)p->content_encoding.p,
                                                       encodings[i], p->content_encoding.n) == 0))
            return true;
    return fault_set(f, "DecodeError", "the content encoding is '%.*s'; only utf-8 is understood",
                     BYTES_ARG(p->content_encoding));
}

bool message_read(struct bytes props, struct message *m, struct fault *f)
{
    struct fault odd;
    *m = (struct message){0};
    const char *wrong = props_read(props, &m->props);
    bool sound = headers_read(m->props.headers, m, &odd);
    if (text_plain(m->props.reply_to)) m->reply_to = m->props.reply_to;
    if (text_plain(m->props.correlation_id)) m->correlation_id = m->props.correlation_id;
    if (m->correlation_id.n == 0) m->correlation_id = m->id;

    if (wrong) return fault_set(f, "DecodeError", "the message's head is unsound: %s", wrong);
    if (!content_check(m, f)) return false;
    if (!sound) {
        *f = odd;
        return false;
    }
    if (m->task.n == 0 && m->id.n == 0)
        return fault_set(f, "InvalidTaskError",
                         "the headers 'task' and 'id' are missing, as in messages of Celery's "
                         "protocol 1: set task_protocol = 2 where they are sent");
    if (m->task.n == 0) return fault_set(f, "InvalidTaskError", "the header 'task' is missing");
    if (m->id.n == 0) return fault_set(f, "InvalidTaskError", "the header 'id' is missing");
    return true;
}

struct message message_peek(struct bytes props)
{
    struct message m;
    struct fault ignored;
    message_read(props, &m, &ignored);
    return m;
}

static const char *reply_glob;

void message_reply_allow(const char *glob)
{
    reply_glob = glob;
}

static bool reply_allowed(struct bytes reply_to)
{
    char name[256];
    if (!reply_glob || reply_to.n >= sizeof name) return false;
    if (reply_to.n) memcpy(name, reply_to.p, reply_to.n);
    name[reply_to.n] = 0;
    return fnmatch(reply_glob, name, 0) == 0;
}

bool message_reply_sane(struct bytes reply_to)
{
    static const char *const prefixes[] = {"ctask.reply.", "amq.gen-"};
    if (!text_plain(reply_to)) return false;
    if (reply_allowed(reply_to)) return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (bytes_begins(reply_to, prefixes[i]) && reply_to.n > strlen(prefixes[i])) return true;
    if (reply_to.n != 36) return false;
    for (size_t i = 0; i < 36; i++)
        if (!isxdigit(reply_to.p[i]) && reply_to.p[i] != '-') return false;
    return true;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void text_header(struct buf *b, const char *name, const char *value)
{
    if (value && *value) table_put_text(b, name, bytes_text(value));
}

static void date_header(struct buf *b, const char *name, double t)
{
    char date[DATE_SIZE];
    if (t != 0) table_put_text(b, name, bytes_text(date_write(t, date)));
}

/* Always both: a Python worker dies of any other number. */
static void limits_header(struct buf *b, const struct limits *l)
{
    const double pair[] = {l->hard > 0 ? l->hard : NAN, l->soft > 0 ? l->soft : NAN};
    if (l->hard > 0 || l->soft > 0) table_put_numbers(b, "timelimit", pair, 2);
}

/* What a task always has, in the order in which message_write puts it. props_write writes the same
 * bytes: see test_message.c, a_head_is_what_props_write_makes_of_it. */
#define FLAGS                                                                                    \
    (PROP_FLAG(PROP_CONTENT_TYPE) | PROP_FLAG(PROP_CONTENT_ENCODING) | PROP_FLAG(PROP_HEADERS) | \
     PROP_FLAG(PROP_DELIVERY_MODE) | PROP_FLAG(PROP_CORRELATION_ID))
#define PERSISTENT 2

/* The properties of a task that are always there, up to the length of its headers. */
static bool front_put(struct buf *props, bool reply)
{
    static const uint8_t type[] = "\x10"
                                  "application/json"
                                  "\x05"
                                  "utf-8";
    return buf_u16(props, (uint16_t)(reply ? FLAGS | PROP_FLAG(PROP_REPLY_TO) : FLAGS)) &&
           buf_append(props, type, sizeof type - 1) && buf_u32(props, 0);
}

static bool short_put(struct buf *props, const char *text)
{
    size_t n = strlen(text);
    return n <= 255 && buf_u8(props, (uint8_t)n) && buf_append(props, text, n);
}

/* In one go, not by way of struct props: this is done once a task. */
bool message_write(const struct send *s, struct buf *props)
{
    static const uint8_t language[] = "\x04"
                                      "langS\0\0\0\x01"
                                      "c";
    bool reply = s->reply_to && *s->reply_to;
    if (!front_put(props, reply)) return false;
    size_t start = props->len;
    buf_append(props, language, sizeof language - 1);
    table_put_text(props, "task", bytes_text(s->task));
    table_put_text(props, "id", bytes_text(s->id));
    text_header(props, "x-ctask-map", s->item_task);
    text_header(props, "root_id", s->root_id);
    text_header(props, "parent_id", s->parent_id);
    date_header(props, "eta", s->eta);
    date_header(props, "expires", s->expires);
    limits_header(props, &s->limits);
    if (s->ignore_result) table_put_bool(props, "ignore_result", true);
    text_header(props, "origin", s->origin);
    if (props->failed) return false;
    bytes_put_be32(buf_head(props) + start - 4, (uint32_t)(props->len - start));
    return buf_u8(props, PERSISTENT) && short_put(props, s->id) &&
           (!reply || short_put(props, s->reply_to));
}

uint32_t message_delay(double seconds)
{
    if (!(seconds > MESSAGE_DELAY_MIN)) return 0;
    return seconds < MESSAGE_DELAY_MAX ? (uint32_t)seconds : MESSAGE_DELAY_MAX;
}
