/* body.c - JSON with our limits, and the three elements of a task's body. See message.h. This is
 * for children and clients: a worker's parent never comes here. */
#include "wire/body.h"

#include "wire/flat.h"
#include "wire/message.h"
#include "wire/text.h"

#define HEAD_MAX 1024 /* bytes of arguments that are worth a copy */

/* ---- JSON ------------------------------------------------------------------------------------ */

/* How deeply a text is nested, followed piece by piece. */
struct depth {
    size_t now, most;
    bool quoted, escaped;
};

/* jansson descends recursively, so depth is looked at before it sees the text. Strings are skipped
 * as jansson reads them; where the two differ the text is no JSON and jansson stops there. Returns
 * where the limit is passed, text.n if nowhere. */
static size_t depth_exceeded(struct depth *d, struct bytes text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (d->quoted && !d->escaped) i += text_literal(bytes_rest(text, i));
        if (i == text.n) break;
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
    size_t deep = text.n <= depth.most ? text.n : depth_exceeded(&depth, text);
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

json_t *wire_json_front(struct bytes *text, size_t depth)
{
    json_error_t e;
    struct depth d = {.most = depth};
    if (text->n == 0 || depth_exceeded(&d, *text) < text->n) return NULL;
    if (memchr(text->p, 0, text->n)) return NULL; /* jansson's count of bytes misses some of them */
    json_t *j = json_loadb((const char *)text->p, text->n,
                           JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &e);
    if (j) *text = bytes_rest(*text, (size_t)e.position);
    return j;
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

/* Nothing follows most tasks. This is how ctask and Celery write that; whole it is an object of
 * four members for each of them to be made and freed. */
static const char *const nothing_follows[] = {
    ",{\"callbacks\":null,\"errbacks\":null,\"chain\":null,\"chord\":null}]",
    ", {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]",
};

/* Reads a body without the end that says so. False, and nothing is read, if it has another one or
 * is not sound: then all of it is looked at. The end cannot be inside of a string, since it would
 * close that and go on with a bare word. */
static bool plain_body_read(struct bytes body, struct message_body *b)
{
    char head[HEAD_MAX];
    struct fault ignored;
    for (size_t i = 0; i < sizeof nothing_follows / sizeof nothing_follows[0]; i++) {
        size_t end = strlen(nothing_follows[i]), n = body.n - end;
        if (body.n <= end || n >= HEAD_MAX || memcmp(body.p + n, nothing_follows[i], end) != 0)
            continue;
        memcpy(head, body.p, n);
        head[n] = ']';
        b->whole = wire_json(bytes_of(head, n + 1), &ignored);
        b->args = json_array_get(b->whole, 0);
        b->kwargs = json_array_get(b->whole, 1);
        if (json_array_size(b->whole) == 2 && json_is_array(b->args) && json_is_object(b->kwargs))
            return true;
        message_body_done(b);
        return false;
    }
    return false;
}

/* The same of positional arguments that are flat, which need no copy, however large they are. */
static bool flat_body_read(struct bytes body, struct message_body *b)
{
    json_t *args = flat_word_take(&body, "[") ? flat_list_take(&body) : NULL;
    if (args && flat_word_take(&body, ",{}") && bytes_is(body, nothing_follows[0])) {
        b->whole = json_pack("[o{}]", args);
        b->args = json_array_get(b->whole, 0);
        b->kwargs = json_array_get(b->whole, 1);
        return b->whole != NULL;
    }
    json_decref(args);
    return false;
}

bool message_body_read(struct bytes body, struct message_body *b, struct fault *f)
{
    *b = (struct message_body){0};
    if (flat_body_read(body, b) || plain_body_read(body, b)) return true;
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

bool message_body_write(const json_t *args, const json_t *kwargs, struct buf *out)
{
    size_t before = out->len;
    bool ok =
        buf_text(out, "[") && (args ? body_append(args, BUF_MAX, out) : buf_text(out, "[]")) &&
        buf_text(out, ",") && (kwargs ? body_append(kwargs, BUF_MAX, out) : buf_text(out, "{}")) &&
        buf_text(out, nothing_follows[0]);
    if (!ok) out->len = before;
    return ok;
}

bool message_body_put(struct bytes args, struct buf *out)
{
    return buf_text(out, "[") && buf_bytes_append(out, args) && buf_text(out, ",{}") &&
           buf_text(out, nothing_follows[0]);
}
