/* ctask/args.h - C values to and from JSON, checked by the compiler.
 *
 * _Generic picks one small inline function by the type of each argument, so that
 * task_delay("f", 1, "two", 3.0) becomes an array of tagged values and result_get(r, 1, &x)
 * knows what x is. Types that have no JSON form do not compile. The traps, each pinned by
 * tests/unit/test_args.c:
 *   - In C11 `true` and `a == b` have type int and are sent as 1 and 0; ctask_bool(x) sends
 *     true and false. A bool variable is sent as true or false. A bool * reader accepts 0 and 1.
 *   - 'a' has type int; a char variable is sent as its number.
 *   - An unsigned value above INT64_MAX has no JSON integer here and is refused, never wrapped.
 *   - A number too wide for the variable it is read into is refused (CTASK_ETYPE), and so is a
 *     real read into an integer unless it is whole. An integer reads into a double if it fits
 *     exactly.
 *   - NULL is JSON null, in whatever way it is spelled: (void *)0 or a null char *. Any other
 *     void * is refused.
 *   - A json_t * is borrowed; ctask_take(j) gives it away.
 *   - NaN and infinity have no JSON form and are refused.
 *   - Text must be UTF-8, else it is refused.
 * At most 16 arguments; ctask_send_json takes any number. */
#ifndef CTASK_ARGS_H
#define CTASK_ARGS_H

#include <ctask.h>

/* ---- Values going out ------------------------------------------------------------------------ */

enum ctask_kind {
    CTASK_NULL,
    CTASK_BOOL,
    CTASK_INT,
    CTASK_UINT, /* above INT64_MAX it is refused when sent */
    CTASK_REAL,
    CTASK_TEXT, /* UTF-8, NUL-terminated, borrowed; NULL is null */
    CTASK_JSON, /* borrowed */
    CTASK_TAKE, /* owned: freed by the call, also when it fails */
    CTASK_WRONG /* a void * that is not NULL */
};

struct ctask_arg {
    enum ctask_kind kind;
    const char *key; /* a keyword argument's name, else NULL */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        const char *s;
        json_t *j;
    } v;
};

static inline struct ctask_arg ctask_arg_bool(bool x)
{
    return (struct ctask_arg){.kind = CTASK_BOOL, .v.b = x};
}
static inline struct ctask_arg ctask_arg_int(long long x)
{
    return (struct ctask_arg){.kind = CTASK_INT, .v.i = x};
}
static inline struct ctask_arg ctask_arg_uint(unsigned long long x)
{
    return (struct ctask_arg){.kind = CTASK_UINT, .v.u = x};
}
static inline struct ctask_arg ctask_arg_real(double x)
{
    return (struct ctask_arg){.kind = CTASK_REAL, .v.d = x};
}
static inline struct ctask_arg ctask_arg_text(const char *x)
{
    return (struct ctask_arg){.kind = CTASK_TEXT, .v.s = x};
}
static inline struct ctask_arg ctask_arg_json(const json_t *x)
{
    return (struct ctask_arg){.kind = CTASK_JSON, .v.j = (json_t *)x};
}
static inline struct ctask_arg ctask_arg_void(const void *x)
{
    return (struct ctask_arg){.kind = x ? CTASK_WRONG : CTASK_NULL};
}
static inline struct ctask_arg ctask_arg_same(struct ctask_arg x)
{
    return x;
}
static inline struct ctask_arg ctask_arg_named(const char *key, struct ctask_arg x)
{
    x.key = key;
    return x;
}

/* Any C value as a struct ctask_arg. */
#define CTASK_ARG(x) \
    _Generic((x),                                                                                  \
        bool: ctask_arg_bool,                                                                      \
        char: ctask_arg_int, signed char: ctask_arg_int, unsigned char: ctask_arg_int,             \
        short: ctask_arg_int, unsigned short: ctask_arg_int,                                       \
        int: ctask_arg_int, unsigned int: ctask_arg_int,                                           \
        long: ctask_arg_int, unsigned long: ctask_arg_uint,                                        \
        long long: ctask_arg_int, unsigned long long: ctask_arg_uint,                              \
        float: ctask_arg_real, double: ctask_arg_real,                                             \
        char *: ctask_arg_text, const char *: ctask_arg_text,                                      \
        json_t *: ctask_arg_json, const json_t *: ctask_arg_json,                                  \
        void *: ctask_arg_void, const void *: ctask_arg_void,                                      \
        struct ctask_arg: ctask_arg_same)(x)

/* Send x, any scalar, as JSON true or false. */
#define ctask_bool(x) ctask_arg_bool((x) ? true : false)
/* Send j and give the reference away. */
static inline struct ctask_arg ctask_take(json_t *j)
{
    return (struct ctask_arg){.kind = CTASK_TAKE, .v.j = j};
}
/* A keyword argument: ctask_kw("width", 300), anywhere among the others. */
#define ctask_kw(name, x) ctask_arg_named(name, CTASK_ARG(x))

/* The JSON value of a (new reference). Takes over a CTASK_TAKE value. NULL with *why set to a
 * static sentence when it has none. */
CTASK_API json_t *ctask_arg_to_json(struct ctask_arg a, const char **why);

/* ---- Values coming in ------------------------------------------------------------------------ */

enum ctask_out_kind {
    CTASK_OUT_NOTHING,
    CTASK_OUT_BOOL,
    CTASK_OUT_INT,
    CTASK_OUT_UINT,
    CTASK_OUT_REAL,
    CTASK_OUT_TEXT,
    CTASK_OUT_JSON
};

struct ctask_out {
    enum ctask_out_kind kind;
    size_t size; /* of *p, for the numbers */
    void *p;
};

#define CTASK_OUT_FN_(name, type, kind_)                     \
    static inline struct ctask_out ctask_out_##name(type *p) \
    {                                                        \
        return (struct ctask_out){kind_, sizeof *p, p};      \
    }
CTASK_OUT_FN_(bool, bool, CTASK_OUT_BOOL)
CTASK_OUT_FN_(schar, signed char, CTASK_OUT_INT)
CTASK_OUT_FN_(uchar, unsigned char, CTASK_OUT_UINT)
CTASK_OUT_FN_(short, short, CTASK_OUT_INT)
CTASK_OUT_FN_(ushort, unsigned short, CTASK_OUT_UINT)
CTASK_OUT_FN_(int, int, CTASK_OUT_INT)
CTASK_OUT_FN_(uint, unsigned int, CTASK_OUT_UINT)
CTASK_OUT_FN_(long, long, CTASK_OUT_INT)
CTASK_OUT_FN_(ulong, unsigned long, CTASK_OUT_UINT)
CTASK_OUT_FN_(llong, long long, CTASK_OUT_INT)
CTASK_OUT_FN_(ullong, unsigned long long, CTASK_OUT_UINT)
CTASK_OUT_FN_(float, float, CTASK_OUT_REAL)
CTASK_OUT_FN_(double, double, CTASK_OUT_REAL)
CTASK_OUT_FN_(text, const char *, CTASK_OUT_TEXT)
CTASK_OUT_FN_(json, json_t *, CTASK_OUT_JSON)
static inline struct ctask_out ctask_out_void(void *p)
{
    (void)p;
    return (struct ctask_out){CTASK_OUT_NOTHING, 0, NULL};
}
static inline struct ctask_out ctask_out_same(struct ctask_out o)
{
    return o;
}

/* Where a value is to be stored. const char **: borrowed text, valid as long as the handle or the
 * call it came from (null reads as NULL). json_t **: a new reference, yours. NULL: not wanted. */
#define CTASK_OUT(p) \
    _Generic((p),                                                                                  \
        bool *: ctask_out_bool,                                                                    \
        signed char *: ctask_out_schar, unsigned char *: ctask_out_uchar,                          \
        short *: ctask_out_short, unsigned short *: ctask_out_ushort,                              \
        int *: ctask_out_int, unsigned int *: ctask_out_uint,                                      \
        long *: ctask_out_long, unsigned long *: ctask_out_ulong,                                  \
        long long *: ctask_out_llong, unsigned long long *: ctask_out_ullong,                      \
        float *: ctask_out_float, double *: ctask_out_double,                                      \
        const char **: ctask_out_text, json_t **: ctask_out_json,                                  \
        void *: ctask_out_void, struct ctask_out: ctask_out_same)(p)

/* Stores j (borrowed) into o. NULL, or a static sentence that says why it does not fit; then
 * nothing was stored. */
CTASK_API const char *ctask_out_store(struct ctask_out o, const json_t *j);

/* ---- Counting and mapping over __VA_ARGS__ --------------------------------------------------- */
#define CTASK_PICK_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, n, \
                    ...)                                                                           \
    n
#define CTASK_COUNT(...) \
    CTASK_PICK_(__VA_ARGS__, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define CTASK_ARGS_1(a) CTASK_ARG(a)
#define CTASK_ARGS_2(a, ...) CTASK_ARG(a), CTASK_ARGS_1(__VA_ARGS__)
#define CTASK_ARGS_3(a, ...) CTASK_ARG(a), CTASK_ARGS_2(__VA_ARGS__)
#define CTASK_ARGS_4(a, ...) CTASK_ARG(a), CTASK_ARGS_3(__VA_ARGS__)
#define CTASK_ARGS_5(a, ...) CTASK_ARG(a), CTASK_ARGS_4(__VA_ARGS__)
#define CTASK_ARGS_6(a, ...) CTASK_ARG(a), CTASK_ARGS_5(__VA_ARGS__)
#define CTASK_ARGS_7(a, ...) CTASK_ARG(a), CTASK_ARGS_6(__VA_ARGS__)
#define CTASK_ARGS_8(a, ...) CTASK_ARG(a), CTASK_ARGS_7(__VA_ARGS__)
#define CTASK_ARGS_9(a, ...) CTASK_ARG(a), CTASK_ARGS_8(__VA_ARGS__)
#define CTASK_ARGS_10(a, ...) CTASK_ARG(a), CTASK_ARGS_9(__VA_ARGS__)
#define CTASK_ARGS_11(a, ...) CTASK_ARG(a), CTASK_ARGS_10(__VA_ARGS__)
#define CTASK_ARGS_12(a, ...) CTASK_ARG(a), CTASK_ARGS_11(__VA_ARGS__)
#define CTASK_ARGS_13(a, ...) CTASK_ARG(a), CTASK_ARGS_12(__VA_ARGS__)
#define CTASK_ARGS_14(a, ...) CTASK_ARG(a), CTASK_ARGS_13(__VA_ARGS__)
#define CTASK_ARGS_15(a, ...) CTASK_ARG(a), CTASK_ARGS_14(__VA_ARGS__)
#define CTASK_ARGS_16(a, ...) CTASK_ARG(a), CTASK_ARGS_15(__VA_ARGS__)
#define CTASK_ARGS_17(a, ...) CTASK_ARG(a), CTASK_ARGS_16(__VA_ARGS__)
/* Each of 1 to 17 values through CTASK_ARG, with commas between. */
#define CTASK_ARGS(...)                                                                   \
    CTASK_PICK_(__VA_ARGS__, CTASK_ARGS_17, CTASK_ARGS_16, CTASK_ARGS_15, CTASK_ARGS_14,  \
                CTASK_ARGS_13, CTASK_ARGS_12, CTASK_ARGS_11, CTASK_ARGS_10, CTASK_ARGS_9, \
                CTASK_ARGS_8, CTASK_ARGS_7, CTASK_ARGS_6, CTASK_ARGS_5, CTASK_ARGS_4,     \
                CTASK_ARGS_3, CTASK_ARGS_2, CTASK_ARGS_1, 0)                              \
    (__VA_ARGS__)
#define CTASK_OUTS_1(a) CTASK_OUT(a)
#define CTASK_OUTS_2(a, ...) CTASK_OUT(a), CTASK_OUTS_1(__VA_ARGS__)
#define CTASK_OUTS_3(a, ...) CTASK_OUT(a), CTASK_OUTS_2(__VA_ARGS__)
#define CTASK_OUTS_4(a, ...) CTASK_OUT(a), CTASK_OUTS_3(__VA_ARGS__)
#define CTASK_OUTS_5(a, ...) CTASK_OUT(a), CTASK_OUTS_4(__VA_ARGS__)
#define CTASK_OUTS_6(a, ...) CTASK_OUT(a), CTASK_OUTS_5(__VA_ARGS__)
#define CTASK_OUTS_7(a, ...) CTASK_OUT(a), CTASK_OUTS_6(__VA_ARGS__)
#define CTASK_OUTS_8(a, ...) CTASK_OUT(a), CTASK_OUTS_7(__VA_ARGS__)
#define CTASK_OUTS_9(a, ...) CTASK_OUT(a), CTASK_OUTS_8(__VA_ARGS__)
#define CTASK_OUTS_10(a, ...) CTASK_OUT(a), CTASK_OUTS_9(__VA_ARGS__)
#define CTASK_OUTS_11(a, ...) CTASK_OUT(a), CTASK_OUTS_10(__VA_ARGS__)
#define CTASK_OUTS_12(a, ...) CTASK_OUT(a), CTASK_OUTS_11(__VA_ARGS__)
#define CTASK_OUTS_13(a, ...) CTASK_OUT(a), CTASK_OUTS_12(__VA_ARGS__)
#define CTASK_OUTS_14(a, ...) CTASK_OUT(a), CTASK_OUTS_13(__VA_ARGS__)
#define CTASK_OUTS_15(a, ...) CTASK_OUT(a), CTASK_OUTS_14(__VA_ARGS__)
#define CTASK_OUTS_16(a, ...) CTASK_OUT(a), CTASK_OUTS_15(__VA_ARGS__)
#define CTASK_OUTS_17(a, ...) CTASK_OUT(a), CTASK_OUTS_16(__VA_ARGS__)
/* Each of 1 to 17 values through CTASK_OUT, with commas between. */
#define CTASK_OUTS(...)                                                                   \
    CTASK_PICK_(__VA_ARGS__, CTASK_OUTS_17, CTASK_OUTS_16, CTASK_OUTS_15, CTASK_OUTS_14,  \
                CTASK_OUTS_13, CTASK_OUTS_12, CTASK_OUTS_11, CTASK_OUTS_10, CTASK_OUTS_9, \
                CTASK_OUTS_8, CTASK_OUTS_7, CTASK_OUTS_6, CTASK_OUTS_5, CTASK_OUTS_4,     \
                CTASK_OUTS_3, CTASK_OUTS_2, CTASK_OUTS_1, 0)                              \
    (__VA_ARGS__)
/* The same as one array of struct ctask_arg and its length. */
#define CTASK_LIST(...)                                  \
    CTASK_COUNT(__VA_ARGS__), (const struct ctask_arg[]) \
    {                                                    \
        CTASK_ARGS(__VA_ARGS__)                          \
    }
#define CTASK_OUT_LIST(...)                              \
    CTASK_COUNT(__VA_ARGS__), (const struct ctask_out[]) \
    {                                                    \
        CTASK_OUTS(__VA_ARGS__)                          \
    }

/* ---- The typed calls ------------------------------------------------------------------------- */

/* The function under task_delay and its kin: a[0] is the task's name, the rest its arguments.
 * Takes over CTASK_TAKE values, also when it fails. */
CTASK_API struct ctask_result *ctask_send(struct ctask_client *c, const struct ctask_options *o,
                                          size_t n, const struct ctask_arg *a) CTASK_MUST_USE;
/* The same without a result: CTASK_OK, or why it was not sent. */
CTASK_API int ctask_post(struct ctask_client *c, const struct ctask_options *o, size_t n,
                         const struct ctask_arg *a) CTASK_MUST_USE;
/* Waits like ctask_result_wait, then stores the value; CTASK_ETYPE if it does not fit. */
CTASK_API int ctask_result_get(struct ctask_result *r, double timeout,
                               struct ctask_out out) CTASK_MUST_USE;
/* The function under ctask_map_put: one item with these arguments, as ctask_map_put_json. Takes
 * over CTASK_TAKE values, also when it fails. */
CTASK_API int ctask_map_put_args(struct ctask_map *m, size_t n,
                                 const struct ctask_arg *a) CTASK_MUST_USE;

/* Plain arrays: one call of `name` for each of n elements of `in`, values stored in `out` in the
 * same order. Waits at most `timeout` seconds in all. CTASK_OK if all succeeded, else the first
 * failure, whose index ctask_error() names; the elements of failed items are left as they were.
 * `out` may be NULL, or be of any type but text, which would live no longer than its handle
 * (CTASK_EINVAL); json_t * elements are references of yours. Tiny items travel together, as
 * ctask_map_open says. */
struct ctask_array {
    struct ctask_arg (*load)(const void *p, size_t i);
    const void *p;
};
CTASK_API int ctask_map_arrays(struct ctask_client *c, double timeout, const char *name,
                               struct ctask_array in, struct ctask_out out,
                               size_t n) CTASK_MUST_USE;

#define CTASK_ARRAY_FN_(name, type)                                           \
    static inline struct ctask_arg ctask_load_##name(const void *p, size_t i) \
    {                                                                         \
        return CTASK_ARG(((type const *)p)[i]);                               \
    }                                                                         \
    static inline struct ctask_array ctask_array_##name(type const *p)        \
    {                                                                         \
        return (struct ctask_array){ctask_load_##name, p};                    \
    }
CTASK_ARRAY_FN_(bool, bool)
CTASK_ARRAY_FN_(int, int)
CTASK_ARRAY_FN_(uint, unsigned int)
CTASK_ARRAY_FN_(long, long)
CTASK_ARRAY_FN_(ulong, unsigned long)
CTASK_ARRAY_FN_(llong, long long)
CTASK_ARRAY_FN_(ullong, unsigned long long)
CTASK_ARRAY_FN_(float, float)
CTASK_ARRAY_FN_(double, double)
CTASK_ARRAY_FN_(text, char *)
static inline struct ctask_array ctask_array_ctext(const char *const *p)
{
    return ctask_array_text((char *const *)p);
}

#define CTASK_ARRAY(p) \
    _Generic((p),                                                                                  \
        bool *: ctask_array_bool, const bool *: ctask_array_bool,                                  \
        int *: ctask_array_int, const int *: ctask_array_int,                                      \
        unsigned int *: ctask_array_uint, const unsigned int *: ctask_array_uint,                  \
        long *: ctask_array_long, const long *: ctask_array_long,                                  \
        unsigned long *: ctask_array_ulong, const unsigned long *: ctask_array_ulong,              \
        long long *: ctask_array_llong, const long long *: ctask_array_llong,                      \
        unsigned long long *: ctask_array_ullong, const unsigned long long *: ctask_array_ullong,  \
        float *: ctask_array_float, const float *: ctask_array_float,                              \
        double *: ctask_array_double, const double *: ctask_array_double,                          \
        char **: ctask_array_text, char *const *: ctask_array_text,                                \
        const char **: ctask_array_ctext, const char *const *: ctask_array_ctext)(p)

/* On a named client. The first variadic argument is the task's name. */
#define ctask_delay(c, ...) ctask_send((c), NULL, CTASK_LIST(__VA_ARGS__))
#define ctask_apply(c, o, ...) ctask_send((c), (o), CTASK_LIST(__VA_ARGS__))
#define ctask_map_put(m, ...) ctask_map_put_args((m), CTASK_LIST(__VA_ARGS__))

#ifndef CTASK_NO_SUGAR

typedef struct ctask_result AsyncResult;

/* task_delay("name", args...): sends, returns an AsyncResult *. */
#define task_delay(...) ctask_send(NULL, NULL, CTASK_LIST(__VA_ARGS__))
/* task_apply(TASK_OPTIONS(.countdown = 5), "name", args...) */
#define task_apply(o, ...) ctask_send(NULL, (o), CTASK_LIST(__VA_ARGS__))
/* task_send("name", args...): sends, wants no result; returns a code. */
#define task_send(...) ctask_post(NULL, NULL, CTASK_LIST(__VA_ARGS__))
/* result_get(r, seconds, &variable) or result_get(r, seconds, NULL) */
#define result_get(r, timeout, p) ctask_result_get((r), (timeout), CTASK_OUT(p))
/* task_map(seconds, "name", in, out, n) on plain arrays */
#define task_map(timeout, name, in, out, n) \
    ctask_map_arrays(NULL, (timeout), (name), CTASK_ARRAY(in), CTASK_OUT(out), (n))

static inline const char *result_id(const AsyncResult *r)
{
    return ctask_result_id(r);
}
static inline enum ctask_state result_state(const AsyncResult *r)
{
    return ctask_result_state(r);
}
static inline bool result_ready(const AsyncResult *r)
{
    return ctask_result_ready(r);
}
static inline CTASK_MUST_USE int result_wait(AsyncResult *r, double timeout)
{
    return ctask_result_wait(r, timeout);
}
static inline const json_t *result_json(const AsyncResult *r)
{
    return ctask_result_json(r);
}
static inline const json_t *result_progress(const AsyncResult *r)
{
    return ctask_result_progress(r);
}
static inline bool result_redelivered(const AsyncResult *r)
{
    return ctask_result_redelivered(r);
}
static inline const struct ctask_error *result_error(const AsyncResult *r)
{
    return ctask_result_error(r);
}
static inline void result_forget(AsyncResult *r)
{
    ctask_result_forget(r);
}
static inline CTASK_MUST_USE long result_wait_any(AsyncResult *const *r, size_t n, double timeout)
{
    return ctask_result_wait_any(r, n, timeout);
}

#endif
#endif
