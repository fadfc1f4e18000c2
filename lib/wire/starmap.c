/* starmap.c - see starmap.h. */
#include "wire/starmap.h"

#include "wire/element.h"
#include "wire/layout.h"
#include "wire/text.h"

#include <math.h>

/* ---- Parts ----------------------------------------------------------------------------------- */

/* Takes a number below PARTS_MAX without leading zeros off the front. */
static bool count_take(struct bytes *s, size_t *n)
{
    size_t v = 0, digits = 0;
    while (digits < s->n && s->p[digits] >= '0' && s->p[digits] <= '9' && v < PARTS_MAX)
        v = 10 * v + (size_t)(s->p[digits++] - '0');
    if (digits == 0 || (digits > 1 && s->p[0] == '0') || v >= PARTS_MAX) return false;
    *s = bytes_rest(*s, digits);
    *n = v;
    return true;
}

struct part part_read(struct bytes id)
{
    struct part all = {.whole = id}, p = {.count = 1, .one = true};
    size_t colon = id.n;
    while (colon > 0 && id.p[colon - 1] != ':') colon--;
    if (colon < 2) return all;
    struct bytes rest = bytes_rest(id, colon);
    p.whole = bytes_of(id.p, colon - 1);
    if (!count_take(&rest, &p.first)) return all;
    if (rest.n == 0) return p;
    p.one = false;
    if (rest.p[0] != '+') return all;
    rest = bytes_rest(rest, 1);
    return count_take(&rest, &p.count) && p.count > 0 && rest.n == 0 ? p : all;
}

/* Returns where it ends. */
static char *count_put(char *out, size_t n)
{
    char text[20], *end = text + sizeof text, *at = text_decimal(end, n);
    memcpy(out, at, (size_t)(end - at));
    return out + (end - at);
}

void part_write(char out[PART_SIZE], struct bytes whole, size_t first, size_t count)
{
    memcpy(out, whole.p, whole.n);
    out[whole.n] = ':';
    char *end = count_put(out + whole.n + 1, first);
    if (count > 0) {
        *end++ = '+';
        end = count_put(end, count);
    }
    *end = '\0';
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

bool starmap_begin(struct bytes task, struct buf *out)
{
    return buf_text(out, "[[],{\"task\":{\"task\":") && wire_json_append_text(task, out) &&
           buf_text(out, ",\"args\":[],\"kwargs\":{},\"options\":{},\"subtask_type\":null,"
                         "\"immutable\":false},\"it\":[");
}

#define END "]}" BODY_END

bool starmap_end(struct buf *out)
{
    return buf_text(out, END);
}

struct bytes starmap_items(struct bytes body, struct bytes task)
{
    static const struct bytes nothing, end = {(const uint8_t *)END, sizeof END - 1};
    struct buf begin = {0};
    bool same = starmap_begin(task, &begin) && body.n >= begin.len + end.n &&
                memcmp(body.p, buf_head(&begin), begin.len) == 0 &&
                bytes_equal(bytes_rest(body, body.n - end.n), end);
    struct bytes items = same ? bytes_of(body.p + begin.len, body.n - begin.len - end.n) : nothing;
    buf_done(&begin);
    return items;
}

bool starmap_read(const struct message_body *b, struct starmap *s, struct fault *f)
{
    /* By name, as Celery sends them, or in order. */
    const json_t *task = json_object_get(b->kwargs, "task");
    s->items = json_object_get(b->kwargs, "it");
    if (!task) task = json_array_get(b->args, 0);
    if (!s->items) s->items = json_array_get(b->args, task == json_array_get(b->args, 0));
    const json_t *name = json_is_object(task) ? json_object_get(task, "task") : task;
    if (!json_is_string(name) || !json_is_array(s->items))
        return fault_set(f, "TypeError",
                         "a map needs the signature of a task and the list of its items");
    s->task = bytes_of(json_string_value(name), json_string_length(name));
    return true;
}

/* ---- Notes ----------------------------------------------------------------------------------- */

bool note_write(struct buf *notes, const struct note *n)
{
    json_t *j = json_pack("{s:I}", "item", (json_int_t)n->item);
    if (j && n->elsewhere)
        json_object_set_new(j, "status", json_string(STATE_RETRY));
    else if (j && n->failed)
        json_object_update_missing_new(j, json_pack("{s:s, s:o}", "status", STATE_FAILURE, "result",
                                                    fault_to_json(&n->fault)));
    if (j && n->runtime > 0) json_object_set_new(j, "runtime", json_real(n->runtime));
    bool ok = j && (notes->len == 0 || buf_text(notes, ",")) && wire_json_append(j, BUF_MAX, notes);
    json_decref(j);
    return ok;
}

bool note_read(const json_t *j, struct note *n, const json_t **result)
{
    const json_t *item = json_object_get(j, "item");
    const char *status = json_string_value(json_object_get(j, "status"));
    double runtime = json_number_value(json_object_get(j, "runtime"));
    *n = (struct note){0};
    *result = NULL;
    if (!json_is_integer(item) || json_integer_value(item) < 0) return false;
    n->item = (size_t)json_integer_value(item);
    n->elsewhere = status && strcmp(status, STATE_RETRY) == 0;
    n->failed = status && strcmp(status, STATE_FAILURE) == 0;
    if (isfinite(runtime) && runtime > 0) n->runtime = runtime;
    if (!n->failed) return true;
    *result = json_object_get(j, "result");
    fault_from_json(*result, &n->fault);
    return true;
}

/* ---- Replies --------------------------------------------------------------------------------- */

/* The list last: what is beside it can be read without it. */
bool starmap_reply_write(const struct message *m, size_t count, struct bytes values,
                         struct bytes notes, double runtime, bool redelivered, struct buf *props,
                         struct buf *body)
{
    return buf_text(body, REPLY_STATUS STATE_SUCCESS REPLY_ITEMS) &&
           buf_bytes_append(body, notes) && buf_text(body, REPLY_COUNT) &&
           wire_json_append_int((int64_t)count, body) &&
           outcome_rest_write(m, runtime, redelivered, body) && buf_text(body, "," REPLY_LIST) &&
           buf_bytes_append(body, values) && buf_text(body, "]}") &&
           body->len <= MESSAGE_BODY_MAX && outcome_props_write(m, props);
}

/* Finds the list of a reply that has it last. *head: what stands before it, without the comma. */
static bool list_find(struct bytes body, struct bytes *head, struct bytes *list)
{
    static const char result[] = REPLY_LIST;
    struct bytes rest, member;
    if (!bytes_begins(body, REPLY_STATUS STATE_SUCCESS REPLY_ITEMS) || body.p[body.n - 1] != '}' ||
        body.p[body.n - 2] != ']')
        return false;
    rest = bytes_rest(body, 1);
    while (!bytes_begins(rest, result))
        if (element_next(&rest, &member) != 1) return false;
    *head = bytes_of(body.p, (size_t)(rest.p - body.p) - 1);
    *list = bytes_rest(rest, sizeof result - 1);
    list->n -= 2; /* ]} */
    return true;
}

/* As a worker of ours writes it. False: read it as a whole. */
static bool listed_read(struct bytes body, struct starmap_reply *r)
{
    struct bytes head;
    struct fault ignored;
    bool ok = list_find(body, &head, &r->list) && buf_bytes_append(&r->text, head) &&
              buf_text(&r->text, "}") && reply_read(buf_bytes(&r->text), &r->reply, &ignored);
    if (ok && r->reply.success && !r->reply.result && json_is_array(r->reply.notes) &&
        r->reply.count > 0) {
        r->listed = true;
        r->count = r->reply.count;
        return true;
    }
    starmap_reply_done(r);
    return false;
}

bool starmap_reply_read(struct bytes body, struct starmap_reply *r, struct fault *f)
{
    *r = (struct starmap_reply){0};
    if (listed_read(body, r)) return true;
    if (!reply_read(body, &r->reply, f)) return false;
    if (!r->reply.success || !json_is_array(r->reply.result)) return true;
    if (!wire_json_append(r->reply.result, BUF_MAX, &r->text)) {
        starmap_reply_done(r);
        return fault_set(f, "MemoryError", "out of memory");
    }
    r->listed = true;
    r->count = json_array_size(r->reply.result);
    r->list = bytes_of(buf_head(&r->text) + 1, r->text.len - 2);
    json_decref(r->reply.result);
    r->reply.result = NULL;
    return true;
}

void starmap_reply_done(struct starmap_reply *r)
{
    reply_done(&r->reply);
    buf_done(&r->text);
    *r = (struct starmap_reply){0};
}
