/* element.c - see element.h. */
#include "wire/element.h"

#include "wire/flat.h"
#include "wire/json.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct bytes trimmed(struct bytes s)
{
    while (s.n > 0 && is_space(s.p[0])) s = bytes_rest(s, 1);
    while (s.n > 0 && is_space(s.p[s.n - 1])) s.n--;
    return s;
}

/* Where the string ends that begins at `at`; s.n if it does not. */
static size_t string_end(struct bytes s, size_t at)
{
    for (at++; at < s.n && s.p[at] != '"'; at++)
        if (s.p[at] == '\\') at++;
    return at < s.n ? at : s.n;
}

int element_next(struct bytes *rest, struct bytes *one)
{
    size_t i = 0, depth = 0;
    if (rest->n == 0) return 0;
    for (; i < rest->n; i++) {
        uint8_t c = rest->p[i];
        if (c == ',' && depth == 0) break;
        if (c == '"') {
            i = string_end(*rest, i);
            if (i == rest->n) return -1;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            if (depth-- == 0) return -1;
        }
    }
    *one = trimmed(bytes_of(rest->p, i));
    bool more = i < rest->n;
    *rest = bytes_rest(*rest, i + more);
    return depth > 0 || one->n == 0 || (more && trimmed(*rest).n == 0) ? -1 : 1;
}

bool element_count(struct bytes list, size_t *n)
{
    struct bytes rest = trimmed(list), one;
    int rc;
    *n = 0;
    while ((rc = element_next(&rest, &one)) == 1) ++*n;
    return rc == 0;
}

/* ---- Values ---------------------------------------------------------------------------------- */

json_t *element_value(struct bytes one, struct fault *f)
{
    struct bytes rest = one;
    json_t *j = flat_value_take(&rest);
    if (j && rest.n == 0) return j;
    json_decref(j);
    return wire_json(one, f);
}

bool element_array(struct bytes one, json_t **array, struct fault *f)
{
    struct bytes rest, next;
    int rc;
    if (one.n < 2 || one.p[0] != '[' || one.p[one.n - 1] != ']')
        return fault_set(f, "TypeError", "the arguments of an item are no list");
    if (*array && (*array)->refcount == 1) {
        json_array_clear(*array);
    } else {
        json_decref(*array);
        *array = json_array();
    }
    rest = trimmed(bytes_of(one.p + 1, one.n - 2));
    while ((rc = element_next(&rest, &next)) == 1) {
        json_t *j = element_value(next, f);
        if (!j) return false;
        if (json_array_append_new(*array, j) != 0)
            return fault_set(f, "MemoryError", "out of memory");
    }
    return rc == 0 || fault_set(f, "DecodeError", "the arguments of an item are no JSON");
}
