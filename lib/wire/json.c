/* json.c - see json.h. jansson reads. What is written is byte for byte as by jansson, whose writer
 * keeps a hash table of what it is inside of and passes each comma by a call; here the limit of
 * depth ends a loop. */
#include "wire/json.h"

#include "base/utf8.h"
#include "wire/text.h"

/* ---- Reading --------------------------------------------------------------------------------- */

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

/* ---- Writing --------------------------------------------------------------------------------- */

struct sink {
    struct buf *out;
    size_t end; /* where out may end at most */
};

static bool value_put(struct sink *s, const json_t *j, size_t depth);

static bool put(struct sink *s, const void *p, size_t n)
{
    return n <= s->end && s->out->len <= s->end - n && buf_append(s->out, p, n);
}

static bool integer_put(struct sink *s, json_int_t v)
{
    char text[24], *end = text + sizeof text;
    char *at = text_decimal(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0) *--at = '-';
    return put(s, at, (size_t)(end - at));
}

/* How a real is written is a science, and jansson's. */
static bool real_put(struct sink *s, const json_t *j)
{
    char text[64];
    size_t n = json_dumpb(j, text, sizeof text, JSON_ENCODE_ANY);
    return n > 0 && n <= sizeof text && put(s, text, n);
}

static bool escape_put(struct sink *s, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* what it is, how it is called */
    for (size_t i = 0; i < sizeof shorts - 1; i += 2)
        if (c == (uint8_t)shorts[i]) return put(s, (char[]){'\\', shorts[i + 1]}, 2);
    return put(s, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
}

static bool text_put(struct sink *s, struct bytes text)
{
    if (!put(s, "\"", 1)) return false;
    while (text.n > 0) {
        size_t n = text_literal(text);
        bool wide = n == 0 && text.p[0] >= 0x80;
        if (wide) n = utf8_char(text);
        if (wide && n == 0) return false;
        if (!(n > 0 ? put(s, text.p, n) : escape_put(s, text.p[0]))) return false;
        if (n == 0) n = 1;
        text = bytes_rest(text, n);
    }
    return put(s, "\"", 1);
}

static bool array_put(struct sink *s, const json_t *j, size_t depth)
{
    size_t n = json_array_size(j);
    if (!put(s, "[", 1)) return false;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && !put(s, ",", 1)) return false;
        if (!value_put(s, json_array_get(j, i), depth)) return false;
    }
    return put(s, "]", 1);
}

static bool object_put(struct sink *s, const json_t *j, size_t depth)
{
    json_t *own = (json_t *)(uintptr_t)j; /* is only read */
    void *first = json_object_iter(own);
    if (!put(s, "{", 1)) return false;
    for (void *at = first; at; at = json_object_iter_next(own, at)) {
        struct bytes key = bytes_of(json_object_iter_key(at), json_object_iter_key_len(at));
        if (at != first && !put(s, ",", 1)) return false;
        if (!text_put(s, key) || !put(s, ":", 1)) return false;
        if (!value_put(s, json_object_iter_value(at), depth)) return false;
    }
    return put(s, "}", 1);
}

/* depth: how many levels may still be opened. */
static bool value_put(struct sink *s, const json_t *j, size_t depth)
{
    switch (json_typeof(j)) {
    case JSON_NULL: return put(s, "null", 4);
    case JSON_TRUE: return put(s, "true", 4);
    case JSON_FALSE: return put(s, "false", 5);
    case JSON_INTEGER: return integer_put(s, json_integer_value(j));
    case JSON_REAL: return real_put(s, j);
    case JSON_STRING: return text_put(s, bytes_of(json_string_value(j), json_string_length(j)));
    case JSON_ARRAY: return depth > 0 && array_put(s, j, depth - 1);
    case JSON_OBJECT: return depth > 0 && object_put(s, j, depth - 1);
    }
    return false;
}

bool wire_json_append_within(const json_t *j, size_t depth, size_t max, struct buf *out)
{
    size_t before = out->len;
    struct sink s = {.out = out, .end = max < SIZE_MAX - before ? before + max : SIZE_MAX};
    if (j && value_put(&s, j, depth)) return true;
    out->len = before;
    return false;
}

bool wire_json_append(const json_t *j, size_t max, struct buf *out)
{
    return wire_json_append_within(j, JSON_DEPTH_WRITTEN, max, out);
}

bool wire_json_append_int(int64_t v, struct buf *out)
{
    struct sink s = {.out = out, .end = SIZE_MAX};
    return integer_put(&s, v);
}

bool wire_json_append_text(struct bytes text, struct buf *out)
{
    size_t before = out->len;
    struct sink s = {.out = out, .end = SIZE_MAX};
    if (text_put(&s, text)) return true;
    out->len = before;
    return false;
}
