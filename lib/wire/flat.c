/* flat.c - see flat.h. */
#include "wire/flat.h"

#include "wire/text.h"

#include <math.h>

bool flat_string_take(struct bytes *rest, struct bytes *s)
{
    if (!flat_word_take(rest, "\"")) return false;
    *s = bytes_of(rest->p, text_literal(*rest));
    *rest = bytes_rest(*rest, s->n);
    return flat_word_take(rest, "\"");
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
    if (!flat_word_take(rest, "e") && !flat_word_take(rest, "E")) return true;
    bool negative = flat_word_take(rest, "-");
    if (!negative) flat_word_take(rest, "+");
    if (digits_take(rest, &e) == 0 || e > 99) return false;
    x->real = true;
    x->places += negative ? (int)e : -(int)e;
    return true;
}

static bool number_take(struct bytes *rest, struct number *x)
{
    *x = (struct number){0};
    x->negative = flat_word_take(rest, "-");
    bool zero = rest->n > 0 && *rest->p == '0';
    size_t whole = digits_take(rest, &x->digits);
    if (whole == 0 || (zero && whole > 1)) return false;
    if (flat_word_take(rest, ".")) {
        x->real = true;
        x->places = (int)digits_take(rest, &x->digits);
        if (x->places == 0) return false;
    }
    if (!exponent_take(rest, x)) return false;
    return rest->n == 0 || *rest->p < '0' || *rest->p > '9'; /* that was all of it */
}

bool flat_number_take(struct bytes *rest, double *x)
{
    struct number n;
    if (!number_take(rest, &n)) return false;
    *x = (double)n.digits / pow(10, n.places);
    if (n.negative) *x = -*x;
    return true;
}

/* Reals are to be exact, so they are not for us. */
json_t *flat_value_take(struct bytes *rest)
{
    struct bytes s, at = *rest;
    struct number x;
    json_t *j = NULL;
    if (flat_word_take(&at, "null"))
        j = json_null();
    else if (flat_word_take(&at, "true"))
        j = json_true();
    else if (flat_word_take(&at, "false"))
        j = json_false();
    else if (flat_string_take(&at, &s))
        j = json_stringn_nocheck((const char *)s.p, s.n);
    else if (at = *rest, number_take(&at, &x) && !x.real)
        j = json_integer(x.negative ? -(json_int_t)x.digits : (json_int_t)x.digits);
    if (j) *rest = at;
    return j;
}

json_t *flat_list_take(struct bytes *rest)
{
    struct bytes at = *rest;
    if (!flat_word_take(&at, "[")) return NULL;
    json_t *list = json_array();
    bool ok = list != NULL, more = !flat_word_take(&at, "]");
    while (ok && more) {
        ok = json_array_append_new(list, flat_value_take(&at)) == 0;
        more = flat_word_take(&at, ",");
        if (!more) ok = ok && flat_word_take(&at, "]");
    }
    if (ok) {
        *rest = at;
        return list;
    }
    json_decref(list);
    return NULL;
}
