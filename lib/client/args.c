/* args.c - C values to JSON and back, for the inline functions of ctask/args.h. It refuses whatever
 * would arrive as something else than what was written: nothing is wrapped, rounded or cut. No I/O,
 * no state. */
#include <ctask.h>

#include <float.h>
#include <math.h>
#include <string.h>

static const char wide[] = "the number is too wide for its variable";

static json_t *refused(const char **why, const char *sentence)
{
    *why = sentence;
    return NULL;
}

static json_t *text_to_json(const char *s, const char **why)
{
    if (!s) return json_null();
    json_t *j = json_string(s);
    if (j) return j;
    /* jansson does not tell the two reasons apart; the unchecked call fails for memory only. */
    j = json_string_nocheck(s);
    if (!j) return refused(why, "out of memory");
    json_decref(j);
    return refused(why, "the text is not UTF-8");
}

json_t *ctask_arg_to_json(struct ctask_arg a, const char **why)
{
    json_t *j = NULL;
    switch (a.kind) {
    case CTASK_NULL: return json_null();
    case CTASK_BOOL: return json_boolean(a.v.b);
    case CTASK_TEXT: return text_to_json(a.v.s, why);
    case CTASK_INT: j = json_integer(a.v.i); break;
    case CTASK_UINT:
        if (a.v.u > INT64_MAX) return refused(why, "an unsigned number above 2^63 - 1");
        j = json_integer((json_int_t)a.v.u);
        break;
    case CTASK_REAL:
        if (!isfinite(a.v.d)) return refused(why, "NaN and infinity have no JSON form");
        j = json_real(a.v.d);
        break;
    case CTASK_JSON:
    case CTASK_TAKE:
        if (!a.v.j) return refused(why, "a json_t * that is NULL");
        return a.kind == CTASK_TAKE ? a.v.j : json_incref(a.v.j);
    case CTASK_WRONG: return refused(why, "a void * has no JSON form");
    }
    return j ? j : refused(why, "out of memory");
}

/* ---- Values coming in ------------------------------------------------------------------------ */

static const char *store_bool(void *p, const json_t *j)
{
    bool is_flag = json_is_integer(j) && (json_integer_value(j) == 0 || json_integer_value(j) == 1);
    if (!json_is_boolean(j) && !is_flag) return "the value is not true or false";
    *(bool *)p = json_is_true(j) || (is_flag && json_integer_value(j) == 1);
    return NULL;
}

/* Exact as doubles, which the largest integers below them are not. */
#define TWO_63 9223372036854775808.0
#define TWO_64 18446744073709551616.0

static const char *whole_int(const json_t *j, int64_t *v)
{
    if (json_is_integer(j)) {
        *v = json_integer_value(j);
        return NULL;
    }
    if (!json_is_real(j)) return "the value is not a number";
    double d = json_real_value(j);
    if (d != floor(d)) return "the number is not whole";
    if (d < -TWO_63 || d >= TWO_63) return wide;
    *v = (int64_t)d;
    return NULL;
}

static const char *whole_uint(const json_t *j, uint64_t *v)
{
    if (json_is_real(j) && json_real_value(j) >= TWO_63) {
        double d = json_real_value(j); /* whole: doubles of this size have no fraction */
        if (d >= TWO_64) return wide;
        *v = (uint64_t)d;
        return NULL;
    }
    int64_t i = 0;
    const char *why = whole_int(j, &i);
    if (why) return why;
    if (i < 0) return "the number is negative and its variable is unsigned";
    *v = (uint64_t)i;
    return NULL;
}

/* Both copy bytes: the variable may be a long long, which is not the type int64_t is. */
static const char *store_int(void *p, size_t size, const json_t *j)
{
    int64_t v = 0;
    const char *why = whole_int(j, &v);
    if (why) return why;
    int64_t max = INT64_MAX >> (64 - 8 * size);
    if (v > max || v < -max - 1) return wide;
    switch (size) {
    case sizeof(int8_t): memcpy(p, &(int8_t){(int8_t)v}, size); break;
    case sizeof(int16_t): memcpy(p, &(int16_t){(int16_t)v}, size); break;
    case sizeof(int32_t): memcpy(p, &(int32_t){(int32_t)v}, size); break;
    case sizeof(int64_t): memcpy(p, &v, size); break;
    }
    return NULL;
}

static const char *store_uint(void *p, size_t size, const json_t *j)
{
    uint64_t v = 0;
    const char *why = whole_uint(j, &v);
    if (why) return why;
    if (v > UINT64_MAX >> (64 - 8 * size)) return wide;
    switch (size) {
    case sizeof(uint8_t): memcpy(p, &(uint8_t){(uint8_t)v}, size); break;
    case sizeof(uint16_t): memcpy(p, &(uint16_t){(uint16_t)v}, size); break;
    case sizeof(uint32_t): memcpy(p, &(uint32_t){(uint32_t)v}, size); break;
    case sizeof(uint64_t): memcpy(p, &v, size); break;
    }
    return NULL;
}

/* A real is rounded to a float like any constant; an integer must survive as it is. */
static const char *store_real(void *p, size_t size, const json_t *j)
{
    if (!json_is_number(j)) return "the value is not a number";
    bool narrow = size == sizeof(float);
    double d = json_number_value(j);
    if (narrow && fabs(d) > (double)FLT_MAX) return wide;
    if (json_is_integer(j)) {
        if (narrow) d = (double)(float)d;
        if (d >= TWO_63 || (json_int_t)d != json_integer_value(j))
            return "the integer has no exact form as a real number";
    }
    if (narrow)
        *(float *)p = (float)d;
    else
        *(double *)p = d;
    return NULL;
}

static const char *store_text(void *p, const json_t *j)
{
    if (json_is_null(j)) {
        *(const char **)p = NULL;
        return NULL;
    }
    if (!json_is_string(j)) return "the value is not text";
    const char *s = json_string_value(j);
    if (strlen(s) != json_string_length(j)) return "the text holds a NUL character";
    *(const char **)p = s;
    return NULL;
}

const char *ctask_out_store(struct ctask_out o, const json_t *j)
{
    if (!o.p || o.kind == CTASK_OUT_NOTHING) return NULL;
    if (!j) j = json_null();
    switch (o.kind) {
    case CTASK_OUT_BOOL: return store_bool(o.p, j);
    case CTASK_OUT_INT: return store_int(o.p, o.size, j);
    case CTASK_OUT_UINT: return store_uint(o.p, o.size, j);
    case CTASK_OUT_REAL: return store_real(o.p, o.size, j);
    case CTASK_OUT_TEXT: return store_text(o.p, j);
    case CTASK_OUT_JSON: *(json_t **)o.p = json_incref((json_t *)j); return NULL;
    case CTASK_OUT_NOTHING: break;
    }
    return NULL;
}
