/* reply.c - the result message as a client reads it. See outcome.h. It may come from a worker in
 * any language, or from somebody who guessed the queue's name.
 *
 * Nearly all that come are successes in a few flat members, so these are read in one pass over the
 * bytes: only the value itself becomes a json_t. The pass knows a part of JSON and does not err in
 * it: whatever else it meets, sound or not, is left to the full reader. */
#include "wire/outcome.h"

#include "wire/body.h"
#include "wire/text.h"

#include <math.h>

/* ---- The pass -------------------------------------------------------------------------------- */

static inline void space_skip(struct bytes *rest)
{
    while (rest->n > 0 && (*rest->p == ' ' || *rest->p == '\n')) *rest = bytes_rest(*rest, 1);
}

static inline bool char_take(struct bytes *rest, char c)
{
    space_skip(rest);
    if (rest->n == 0 || *rest->p != (uint8_t)c) return false;
    *rest = bytes_rest(*rest, 1);
    return true;
}

static inline bool word_take(struct bytes *rest, const char *word)
{
    size_t n = strlen(word);
    if (rest->n < n || memcmp(rest->p, word, n) != 0) return false;
    *rest = bytes_rest(*rest, n);
    return true;
}

/* A string of ASCII without escapes. */
static bool string_take(struct bytes *rest, struct bytes *s)
{
    if (!char_take(rest, '"')) return false;
    *s = bytes_of(rest->p, text_literal(*rest));
    *rest = bytes_rest(*rest, s->n);
    return word_take(rest, "\"");
}

struct number {
    bool negative, real;
    uint64_t digits; /* all of them, of which so many are behind the point: */
    int places;
};

/* Appends a run of digits to *x, as far as 63 bits take any; how many there were. */
static size_t digits_take(struct bytes *rest, uint64_t *x)
{
    const uint64_t full = UINT64_C(100000000000000000);
    size_t n = 0;
    for (; n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9' && *x < full; n++)
        *x = *x * 10 + (rest->p[n] - '0');
    *rest = bytes_rest(*rest, n);
    return n;
}

static bool exponent_take(struct bytes *rest, struct number *x)
{
    uint64_t e = 0;
    if (!word_take(rest, "e") && !word_take(rest, "E")) return true;
    bool negative = word_take(rest, "-");
    if (!negative) word_take(rest, "+");
    if (digits_take(rest, &e) == 0 || e > 99) return false;
    x->real = true;
    x->places += negative ? (int)e : -(int)e;
    return true;
}

static bool number_take(struct bytes *rest, struct number *x)
{
    *x = (struct number){0};
    x->negative = word_take(rest, "-");
    bool zero = rest->n > 0 && *rest->p == '0';
    size_t whole = digits_take(rest, &x->digits);
    if (whole == 0 || (zero && whole > 1)) return false;
    if (word_take(rest, ".")) {
        x->real = true;
        x->places = (int)digits_take(rest, &x->digits);
        if (x->places == 0) return false;
    }
    if (!exponent_take(rest, x)) return false;
    return rest->n > 0 && (*rest->p < '0' || *rest->p > '9'); /* that was all of it */
}

/* The last bit may differ from the nearest double. */
static double number_value(const struct number *x)
{
    double v = (double)x->digits / pow(10, x->places);
    return x->negative ? -v : v;
}

/* What does not matter, as long as it is flat. */
static bool flat_skip(struct bytes *rest)
{
    struct bytes ignored;
    struct number x;
    if (rest->n == 0) return false;
    switch (*rest->p) {
    case '"': return string_take(rest, &ignored);
    case 'n': return word_take(rest, "null");
    case 't': return word_take(rest, "true");
    case 'f': return word_take(rest, "false");
    case '[': return char_take(rest, '[') && char_take(rest, ']');
    case '{': return char_take(rest, '{') && char_take(rest, '}');
    default: return number_take(rest, &x);
    }
}

/* What is not flat, and reals, which are to be exact, are jansson's. */
static json_t *value_take(struct bytes *rest)
{
    struct bytes s, at = *rest;
    struct number x;
    json_t *j = NULL;
    if (word_take(&at, "null"))
        j = json_null();
    else if (word_take(&at, "true"))
        j = json_true();
    else if (word_take(&at, "false"))
        j = json_false();
    else if (string_take(&at, &s))
        j = json_stringn_nocheck((const char *)s.p, s.n);
    else if (at = *rest, number_take(&at, &x) && !x.real)
        j = json_integer(x.negative ? -(json_int_t)x.digits : (json_int_t)x.digits);
    else
        return wire_json_front(rest, JSON_DEPTH_MAX - 1);
    *rest = at;
    return j;
}

/* The value of one member. Of two with one name the last counts; that too is rare. */
static bool member_take(struct bytes *rest, struct bytes key, struct reply *r)
{
    struct bytes s;
    struct number x;
    space_skip(rest);
    if (bytes_is(key, "status")) {
        if (r->success || !string_take(rest, &s) || !bytes_is(s, STATE_SUCCESS)) return false;
        memcpy(r->state, STATE_SUCCESS, sizeof STATE_SUCCESS);
        return r->ready = r->success = true;
    }
    if (bytes_is(key, "result")) return !r->result && (r->result = value_take(rest)) != NULL;
    if (bytes_is(key, "runtime")) {
        if (r->runtime != 0 || !number_take(rest, &x)) return false;
        double runtime = number_value(&x);
        if (isfinite(runtime) && runtime > 0) r->runtime = runtime;
        return true;
    }
    if (bytes_is(key, "redelivered"))
        return !r->redelivered && (r->redelivered = word_take(rest, "true"));
    return !bytes_is(key, "items") && !bytes_is(key, "count") && flat_skip(rest);
}

/* False: not a flat success, and *r is to be read in full. */
static bool flat_read(struct bytes body, struct reply *r)
{
    struct bytes key;
    if (!char_take(&body, '{')) return false;
    do
        if (!string_take(&body, &key) || !char_take(&body, ':') || !member_take(&body, key, r))
            return false;
    while (char_take(&body, ','));
    if (!char_take(&body, '}')) return false;
    space_skip(&body);
    return body.n == 0 && r->success;
}

/* ---- The full reader ------------------------------------------------------------------------- */

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

/* Leaves the texts of the fault, of which the first byte tells. */
static void reply_clear(struct reply *r)
{
    r->state[0] = r->fault.type[0] = r->fault.text[0] = '\0';
    r->ready = r->success = r->redelivered = false;
    r->result = r->items = NULL;
    r->count = 0;
    r->runtime = 0;
}

bool reply_read(struct bytes body, struct reply *r, struct fault *f)
{
    reply_clear(r);
    if (flat_read(body, r)) return true;
    reply_done(r);
    return whole_read(body, r, f);
}

void reply_done(struct reply *r)
{
    json_decref(r->result);
    json_decref(r->items);
    reply_clear(r);
}
