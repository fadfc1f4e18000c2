/* reply.c - the result message as a client reads it. See outcome.h. It may come from a worker in
 * any language, or from somebody who guessed the queue's name. */
#include "wire/outcome.h"

#include "wire/text.h"

#include <math.h>

static bool is_state(const json_t *status, char out[32])
{
    struct bytes s = bytes_of(json_string_value(status), json_string_length(status));
    if (s.n == 0 || s.n >= 32 || !text_plain(s)) return false;
    text_copy(out, 32, s);
    return true;
}

bool reply_read(struct bytes body, struct reply *r, struct fault *f)
{
    *r = (struct reply){0};
    json_t *whole = wire_json(body, f);
    if (!whole) return false;
    if (!is_state(json_object_get(whole, "status"), r->state)) {
        json_decref(whole);
        return fault_set(f, "DecodeError", "the reply is not a result: it has no status");
    }
    r->success = strcmp(r->state, STATE_SUCCESS) == 0;
    bool failed = strcmp(r->state, STATE_FAILURE) == 0 || strcmp(r->state, STATE_REVOKED) == 0;
    r->ready = r->success || failed;
    r->result = json_incref(json_object_get(whole, "result"));
    r->items = json_incref(json_object_get(whole, "items"));
    json_int_t count = json_integer_value(json_object_get(whole, "count"));
    if (count > 0) r->count = (size_t)count;
    if (failed || strcmp(r->state, STATE_RETRY) == 0) fault_from_json(r->result, &r->fault);
    double runtime = json_number_value(json_object_get(whole, "runtime"));
    if (isfinite(runtime) && runtime > 0) r->runtime = runtime;
    r->redelivered = json_is_true(json_object_get(whole, "redelivered"));
    json_decref(whole);
    return true;
}

void reply_done(struct reply *r)
{
    json_decref(r->result);
    json_decref(r->items);
    *r = (struct reply){0};
}
