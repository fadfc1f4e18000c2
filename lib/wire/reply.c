/* reply.c - the result message as a client reads it. See outcome.h. It may come from a worker in
 * any language, or from somebody who guessed the queue's name.
 *
 * Nearly all that come are successes of our own workers, so these are read where they lie, and only
 * the value itself becomes a json_t. */
#include "wire/outcome.h"

#include "wire/flat.h"
#include "wire/json.h"
#include "wire/layout.h"
#include "wire/text.h"

#include <math.h>

/* ---- As our workers write it ----------------------------------------------------------------- */

/* A success as outcome.c writes it. False: it is something else, and *r is to be read in full. */
static bool ours_read(struct bytes body, struct reply *r)
{
    struct bytes id;
    if (!flat_word_take(&body, REPLY_STATUS STATE_SUCCESS REPLY_RESULT)) return false;
    r->result = flat_value_take(&body);
    if (!r->result) r->result = wire_json_front(&body, JSON_DEPTH_MAX - 1);
    if (!r->result || !flat_word_take(&body, REPLY_ID) || !flat_string_take(&body, &id))
        return false;
    double runtime = 0;
    if (flat_word_take(&body, REPLY_RUNTIME) && !flat_number_take(&body, &runtime)) return false;
    if (runtime > 0) r->runtime = runtime;
    r->redelivered = flat_word_take(&body, REPLY_REDELIVERED);
    memcpy(r->state, STATE_SUCCESS, sizeof STATE_SUCCESS);
    return r->ready = r->success = bytes_is(body, "}");
}

/* ---- Whatever else it is --------------------------------------------------------------------- */

static bool is_state(const json_t *status, char out[32])
{
    struct bytes s = bytes_of(json_string_value(status), json_string_length(status));
    if (s.n == 0 || s.n >= 32 || !text_plain(s)) return false;
    text_copy(out, 32, s);
    return true;
}

static bool whole_read(struct bytes body, struct reply *r, struct fault *f)
{
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
    r->notes = json_incref(json_object_get(whole, "items"));
    json_int_t count = json_integer_value(json_object_get(whole, "count"));
    if (count > 0) r->count = (size_t)count;
    if (failed || strcmp(r->state, STATE_RETRY) == 0) fault_from_json(r->result, &r->fault);
    double runtime = json_number_value(json_object_get(whole, "runtime"));
    if (isfinite(runtime) && runtime > 0) r->runtime = runtime;
    r->redelivered = json_is_true(json_object_get(whole, "redelivered"));
    json_decref(whole);
    return true;
}

/* Leaves the texts of the fault, of which the first byte tells. */
static void reply_clear(struct reply *r)
{
    r->state[0] = r->fault.type[0] = r->fault.text[0] = '\0';
    r->ready = r->success = r->redelivered = false;
    r->result = r->notes = NULL;
    r->count = 0;
    r->runtime = 0;
}

bool reply_read(struct bytes body, struct reply *r, struct fault *f)
{
    reply_clear(r);
    if (ours_read(body, r)) return true;
    reply_done(r);
    return whole_read(body, r, f);
}

void reply_done(struct reply *r)
{
    json_decref(r->result);
    json_decref(r->notes);
    reply_clear(r);
}
