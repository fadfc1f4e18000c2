/* body.c - see body.h. What most bodies say is read without looking at all of it. */
#include "wire/body.h"

#include "wire/flat.h"
#include "wire/layout.h"

#define HEAD_MAX 1024 /* bytes of arguments that are worth a copy */

static bool body_refuse(struct message_body *b, struct fault *f, const char *why)
{
    message_body_done(b);
    return fault_set(f, "InvalidTaskError", "the body is not [args, kwargs, embed]: %s", why);
}

/* Nothing follows most tasks. This is how ctask and Celery write that; whole it is an object of
 * four members for each of them to be made and freed. */
static const char *const nothing_follows[] = {
    BODY_END,
    ", {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]",
};

/* Reads a body that ends in one of nothing_follows, without that end. False, and nothing is read,
 * if it has another one or is not sound: then all of it is looked at. The end cannot be inside of a
 * string, since it would close that and go on with a bare word. This is for what flat_body_read
 * refuses: all of Celery's, which have spaces, and arguments that are named or not flat. */
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

/* One for all messages. NULL when out of memory. */
static json_t *no_kwargs(void)
{
    static json_t *none;
    if (!none) none = json_object();
    return none;
}

/* The same of ours with positional arguments that are flat, which need no copy, however large they
 * are. */
static bool flat_body_read(struct bytes body, struct message_body *b)
{
    json_t *args = flat_word_take(&body, "[") ? flat_list_take(&body) : NULL;
    if (args && flat_word_take(&body, ",{}") && bytes_is(body, BODY_END)) {
        b->whole = b->args = args;
        b->kwargs = no_kwargs();
        if (b->kwargs) return true;
        b->whole = b->args = NULL;
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
    bool ok = buf_text(out, "[") &&
              (args ? wire_json_append(args, BUF_MAX, out) : buf_text(out, "[]")) &&
              buf_text(out, ",") &&
              (kwargs ? wire_json_append(kwargs, BUF_MAX, out) : buf_text(out, "{}")) &&
              buf_text(out, BODY_END);
    if (!ok) out->len = before;
    return ok;
}

bool message_body_put(struct bytes args, struct buf *out)
{
    return buf_text(out, "[") && buf_bytes_append(out, args) && buf_text(out, ",{}") &&
           buf_text(out, BODY_END);
}
