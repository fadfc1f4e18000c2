/* outcome.c - the result message as a worker writes it. See outcome.h. */
#include "wire/outcome.h"

#include "wire/body.h"
#include "wire/layout.h"

#include <math.h>

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

/* To the nanosecond. */
static bool seconds_write(double seconds, struct buf *out)
{
    char fraction[] = ".000000000";
    size_t n = sizeof fraction - 1;
    int64_t ns = llround(seconds * 1e9), rest = ns % 1000000000;
    for (size_t i = n - 1; i > 0; i--, rest /= 10) fraction[i] = (char)('0' + rest % 10);
    while (n > 2 && fraction[n - 1] == '0') n--;
    return wire_json_append_int(ns / 1000000000, out) && buf_append(out, fraction, n);
}

/* Python finds its waiter by either of the two, so they are one. */
static struct bytes outcome_id(const struct message *m)
{
    return m->correlation_id.n > 0 ? m->correlation_id : m->id;
}

bool outcome_rest_write(const struct message *m, double runtime, bool redelivered, struct buf *out)
{
    bool ok = buf_text(out, REPLY_ID) && wire_json_append_text(outcome_id(m), out);
    if (runtime > 0) ok = ok && buf_text(out, REPLY_RUNTIME) && seconds_write(runtime, out);
    if (redelivered) ok = ok && buf_text(out, REPLY_REDELIVERED);
    return ok;
}

/* Written member by member: only the result is somebody's value. */
static bool body_write(const struct message *m, const struct outcome *o, struct buf *out)
{
    size_t before = out->len;
    json_t *result = outcome_result(o);
    bool ok = buf_text(out, REPLY_STATUS) && buf_text(out, o->state) &&
              buf_text(out, REPLY_RESULT) &&
              wire_json_append_within(result, VALUE_DEPTH_MAX, MESSAGE_BODY_MAX, out) &&
              outcome_rest_write(m, o->runtime, o->redelivered, out) && buf_text(out, "}") &&
              out->len - before <= MESSAGE_BODY_MAX;
    if (!ok) out->len = before;
    json_decref(result);
    return ok;
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
    return body_write(m, o, body) && outcome_props_write(m, props);
}
