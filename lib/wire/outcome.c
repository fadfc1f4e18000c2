/* outcome.c - the result message as a worker writes it. See outcome.h. */
#include "wire/outcome.h"

#include "wire/body.h"

bool outcome_wanted(const struct message *m)
{
    return !m->ignore_result && m->correlation_id.n > 0 && message_reply_sane(m->reply_to);
}

/* In these states Python expects an exception as the result. */
static bool is_exceptional(const char *state)
{
    return strcmp(state, STATE_FAILURE) == 0 || strcmp(state, STATE_REVOKED) == 0 ||
           strcmp(state, STATE_RETRY) == 0;
}

/* A new reference, NULL when out of memory. */
static json_t *outcome_result(const struct outcome *o)
{
    if (!is_exceptional(o->state)) return o->result ? json_incref(o->result) : json_null();
    if (strcmp(o->state, STATE_RETRY) == 0 && !o->fault.type[0]) return json_null();
    return fault_to_json(&o->fault);
}

static bool body_write(struct bytes id, const struct outcome *o, struct buf *out)
{
    json_t *body =
        json_pack("{s:s, s:o, s:n, s:[], s:s%}", "status", o->state, "result", outcome_result(o),
                  "traceback", "children", "task_id", (const char *)id.p, id.n);
    bool ok = body && (!(o->runtime > 0) ||
                       json_object_set_new(body, "runtime", json_real(o->runtime)) == 0);
    ok = ok && (!o->redelivered || json_object_set_new(body, "redelivered", json_true()) == 0);
    ok = ok && body_append(body, MESSAGE_BODY_MAX, out);
    json_decref(body);
    return ok;
}

/* Python finds its waiter by either of the two, so they are one. */
struct bytes outcome_id(const struct message *m)
{
    return m->correlation_id.n > 0 ? m->correlation_id : m->id;
}

bool outcome_props_write(const struct message *m, struct buf *props)
{
    struct props p = {
        .content_type = bytes_text("application/json"),
        .content_encoding = bytes_text("utf-8"),
        .has_delivery_mode = true,
        .delivery_mode = 2,
        .correlation_id = outcome_id(m),
    };
    return props_write(props, &p);
}

bool outcome_write(const struct message *m, const struct outcome *o, struct buf *props,
                   struct buf *body)
{
    return body_write(outcome_id(m), o, body) && outcome_props_write(m, props);
}
