/* body.c - JSON with our limits, and the three elements of a task's body. See message.h. This is
 * for children and clients: a worker's parent never comes here. */
#include "wire/body.h"

#include "wire/message.h"
#include "wire/scalar.h"

/* ---- JSON ------------------------------------------------------------------------------------ */

/* How deeply a text is nested, followed piece by piece. */
struct depth {
    size_t now, most;
    bool quoted, escaped;
};

/* jansson descends recursively, so depth is looked at before it sees the text, and while it writes
 * one. Strings are skipped as jansson reads them; where the two differ the text is no JSON and
 * jansson stops there. Returns where the limit is passed, text.n if nowhere. */
static size_t depth_exceeded(struct depth *d, struct bytes text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (d->escaped) {
            d->escaped = false;
        } else if (d->quoted) {
            d->escaped = c == '\\';
            d->quoted = c != '"';
        } else if (c == '"') {
            d->quoted = true;
        } else if (c == '[' || c == '{') {
            if (++d->now > d->most) return i;
        } else if (c == ']' || c == '}') {
            if (d->now > 0) d->now--;
        }
    }
    return text.n;
}

json_t *wire_json(struct bytes text, struct fault *f)
{
    if (text.n == 0) {
        fault_set(f, "DecodeError", "not JSON: there is no text");
        return NULL;
    }
    struct depth depth = {.most = JSON_DEPTH_MAX};
    size_t deep = depth_exceeded(&depth, text);
    if (deep < text.n) {
        fault_set(f, "DecodeError", "JSON nested deeper than %d at byte %zu", JSON_DEPTH_MAX, deep);
        return NULL;
    }
    json_error_t e;
    json_t *j = json_loadb((const char *)text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!j)
        fault_set(f, "DecodeError", "not JSON, line %d column %d (byte %d): %s", e.line, e.column,
                  e.position, e.text);
    return j;
}

struct sink {
    struct buf *out;
    size_t left;
    struct depth depth;
};

static int sink_add(const char *p, size_t n, void *ctx)
{
    struct sink *s = ctx;
    if (depth_exceeded(&s->depth, bytes_of(p, n)) < n) return -1;
    if (n > s->left || !buf_append(s->out, p, n)) return -1;
    s->left -= n;
    return 0;
}

bool body_append_within(const json_t *j, size_t depth, size_t max, struct buf *out)
{
    struct sink s = {.out = out, .left = max, .depth.most = depth};
    size_t before = out->len;
    if (j && scalar_append(out, j) && out->len - before <= max) return true;
    out->len = before;
    if (json_dump_callback(j, sink_add, &s, JSON_COMPACT | JSON_ENCODE_ANY) == 0) return true;
    out->len = before;
    return false;
}

bool body_append(const json_t *j, size_t max, struct buf *out)
{
    return body_append_within(j, BODY_DEPTH_MAX, max, out);
}

static int depth_add(const char *p, size_t n, void *ctx)
{
    return depth_exceeded(ctx, bytes_of(p, n)) < n ? -1 : 0;
}

const char *json_unfit(const json_t *j)
{
    struct depth d = {.most = VALUE_DEPTH_MAX};
    if (!j || json_dump_callback(j, depth_add, &d, JSON_ENCODE_ANY) == 0) return NULL;
    return d.now > d.most ? "is nested too deeply" : "has no JSON form";
}

/* ---- Task bodies ----------------------------------------------------------------------------- */

static bool body_refuse(struct message_body *b, struct fault *f, const char *why)
{
    message_body_done(b);
    return fault_set(f, "InvalidTaskError", "the body is not [args, kwargs, embed]: %s", why);
}

bool message_body_read(struct bytes body, struct message_body *b, struct fault *f)
{
    *b = (struct message_body){0};
    b->whole = wire_json(body, f);
    if (!b->whole) return false;
    if (!json_is_array(b->whole) || json_array_size(b->whole) != 3)
        return body_refuse(b, f, "not an array of three elements");
    b->args = json_array_get(b->whole, 0);
    b->kwargs = json_array_get(b->whole, 1);
    b->embed = json_array_get(b->whole, 2);
    if (!json_is_array(b->args)) return body_refuse(b, f, "args is not an array");
    if (!json_is_object(b->kwargs)) return body_refuse(b, f, "kwargs is not an object");
    if (!json_is_object(b->embed) && !json_is_null(b->embed))
        return body_refuse(b, f, "embed is neither an object nor null");
    return true;
}

void message_body_done(struct message_body *b)
{
    json_decref(b->whole);
    *b = (struct message_body){0};
}

static bool literal(struct buf *out, const char *s)
{
    return buf_bytes_append(out, bytes_text(s));
}

#define BODY_END ",{\"callbacks\":null,\"errbacks\":null,\"chain\":null,\"chord\":null}]"

bool message_body_write(const json_t *args, const json_t *kwargs, struct buf *out)
{
    size_t before = out->len;
    bool ok = literal(out, "[") && (args ? body_append(args, BUF_MAX, out) : literal(out, "[]")) &&
              literal(out, ",") &&
              (kwargs ? body_append(kwargs, BUF_MAX, out) : literal(out, "{}")) &&
              literal(out, BODY_END);
    if (!ok) out->len = before;
    return ok;
}

bool message_body_put(struct bytes args, struct buf *out)
{
    return literal(out, "[") && buf_bytes_append(out, args) && literal(out, ",{}" BODY_END);
}
