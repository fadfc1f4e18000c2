/* params.c - see params.h. */
#include "task/params.h"

#include <ctype.h>
#include <stdio.h>

struct param {
    struct bytes name;
    bool optional;
};

static struct bytes trim(struct bytes s)
{
    while (s.n > 0 && isspace(s.p[0])) s = bytes_of(s.p + 1, s.n - 1);
    while (s.n > 0 && isspace(s.p[s.n - 1])) s.n--;
    return s;
}

/* Takes the next parameter off the front of *rest. False at the end. */
static bool param_next(struct bytes *rest, struct param *p)
{
    if (rest->n == 0) return false;
    const uint8_t *comma = memchr(rest->p, ',', rest->n);
    struct bytes item = bytes_of(rest->p, comma ? (size_t)(comma - rest->p) : rest->n);
    size_t taken = comma ? item.n + 1 : item.n;
    *rest = bytes_of(rest->p + taken, rest->n - taken);
    const uint8_t *equals = item.n ? memchr(item.p, '=', item.n) : NULL;
    p->optional = equals != NULL;
    p->name = trim(bytes_of(item.p, equals ? (size_t)(equals - item.p) : item.n));
    return true;
}

/* The whole list: its length, or PARAMS_MAX + 1 if it is longer than PARAMS_MAX. */
static size_t params_read(const char *params, struct param out[PARAMS_MAX])
{
    struct bytes rest = trim(bytes_text(params));
    struct param p;
    size_t n = 0;
    while (n <= PARAMS_MAX && param_next(&rest, &p)) {
        if (n < PARAMS_MAX) out[n] = p;
        n++;
    }
    return n;
}

static bool is_identifier(struct bytes s)
{
    if (s.n == 0 || isdigit(s.p[0])) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum(s.p[i]) && s.p[i] != '_') return false;
    return true;
}

const char *params_check(const char *params)
{
    struct param list[PARAMS_MAX];
    size_t n = params_read(params, list);
    if (n > PARAMS_MAX) return "it has over 64 names";
    for (size_t i = 0; i < n; i++) {
        if (!is_identifier(list[i].name)) return "it needs names, separated by commas";
        if (!list[i].optional && i > 0 && list[i - 1].optional)
            return "a parameter without a default follows one with a default";
        for (size_t k = 0; k < i; k++)
            if (bytes_equal(list[k].name, list[i].name)) return "it has a name twice";
    }
    return NULL;
}

/* ---- Matching -------------------------------------------------------------------------------- */

/* One call being matched: what all sentences need. */
struct match {
    const char *task;
    bool named;
    size_t n;
    struct param params[PARAMS_MAX];
    const json_t *args, *kwargs;
    struct fault *fault;
};

static const json_t *keyword(const struct match *m, size_t i)
{
    if (!m->named) return NULL;
    struct bytes name = m->params[i].name;
    return json_object_getn(m->kwargs, (const char *)name.p, name.n);
}

/* Of parameter i as in `argument n` or `argument 2`. */
static const char *param_show(const struct match *m, size_t i, char out[80])
{
    if (m->named)
        snprintf(out, 80, "%.*s", BYTES_ARG(m->params[i].name));
    else
        snprintf(out, 80, "%zu", i + 1);
    return out;
}

static size_t required(const struct match *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) n += !m->params[i].optional;
    return n;
}

static bool check_positional(const struct match *m)
{
    size_t given = json_array_size(m->args);
    if (given <= m->n) return true;
    return fault_set(m->fault, "TypeError",
                     "%s() takes %s%zu positional argument%s but %zu %s given", m->task,
                     required(m) < m->n ? "at most " : "", m->n, m->n == 1 ? "" : "s", given,
                     given == 1 ? "was" : "were");
}

static bool check_keywords(const struct match *m)
{
    const char *key;
    size_t length;
    json_t *value;
    json_object_keylen_foreach((json_t *)m->kwargs, key, length, value)
    {
        size_t i = 0;
        while (i < m->n && !(m->named && bytes_equal(m->params[i].name, bytes_of(key, length))))
            i++;
        if (i == m->n)
            return fault_set(m->fault, "TypeError", "%s() got an unexpected keyword argument '%s'",
                             m->task, key);
        if (i < json_array_size(m->args))
            return fault_set(m->fault, "TypeError", "%s() got multiple values for argument '%s'",
                             m->task, key);
    }
    return true;
}

static bool check_missing(const struct match *m)
{
    for (size_t i = json_array_size(m->args); i < m->n; i++) {
        char shown[80];
        if (!m->params[i].optional && !keyword(m, i))
            return fault_set(m->fault, "TypeError", "%s() missing required argument '%s'", m->task,
                             param_show(m, i, shown));
    }
    return true;
}

/* ---- Storing --------------------------------------------------------------------------------- */

static const char *value_show(const json_t *j, char out[40])
{
    switch (json_typeof(j)) {
    case JSON_INTEGER: snprintf(out, 40, "%" JSON_INTEGER_FORMAT, json_integer_value(j)); break;
    case JSON_REAL: snprintf(out, 40, "%.15g", json_real_value(j)); break;
    case JSON_STRING: return "a string";
    case JSON_ARRAY: return "an array";
    case JSON_OBJECT: return "an object";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return out;
}

static const char *out_show(struct ctask_out o, char out[16])
{
    switch (o.kind) {
    case CTASK_OUT_BOOL: return "bool";
    case CTASK_OUT_INT: snprintf(out, 16, "int%zu", 8 * o.size); break;
    case CTASK_OUT_UINT: snprintf(out, 16, "uint%zu", 8 * o.size); break;
    case CTASK_OUT_REAL: return o.size == sizeof(float) ? "float" : "double";
    case CTASK_OUT_TEXT: return "text";
    case CTASK_OUT_JSON:
    case CTASK_OUT_NOTHING: return "anything";
    }
    return out;
}

/* Stores the arguments whose variables are JSON references, or those that are not. */
static bool store(const struct match *m, const struct ctask_out *out, bool references)
{
    for (size_t i = 0; i < m->n; i++) {
        if ((out[i].kind == CTASK_OUT_JSON) != references) continue;
        const json_t *j = json_array_get(m->args, i);
        if (!j) j = keyword(m, i);
        const char *why = j ? ctask_out_store(out[i], j) : NULL;
        char shown[80], given[40], wanted[16];
        if (why)
            return fault_set(m->fault, "TypeError", "%s() argument %s: %s does not fit %s: %s",
                             m->task, param_show(m, i, shown), value_show(j, given),
                             out_show(out[i], wanted), why);
    }
    return true;
}

bool params_store(const char *name, const char *params, const json_t *args, const json_t *kwargs,
                  size_t n, const struct ctask_out *out, struct fault *f)
{
    struct match m = {
        .task = name, .named = params, .n = n, .args = args, .kwargs = kwargs, .fault = f};
    size_t listed = params ? params_read(params, m.params) : n;
    if (listed != n || n > PARAMS_MAX)
        return fault_set(f, "SystemError", "%s() reads %zu arguments and its table names %zu", name,
                         n, listed);
    /* References last: they fit anything, so that wrong arguments leave none behind. */
    return check_positional(&m) && check_keywords(&m) && check_missing(&m) &&
           store(&m, out, false) && store(&m, out, true);
}
