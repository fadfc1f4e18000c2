/* ctask/task.h - write tasks.
 *
 *     static bool is_prime(int64_t n) { ... }        // plain C, tested without any framework
 *     CTASK_FN(bool, is_prime, (int64_t, n));        // types and parameter names, once
 *
 *     CTASK_APP(primes,
 *         { TASK(is_prime), .help = "is n prime?" });
 *
 * An app is compiled into primes.so and run by `ctask-worker -A primes`. A task that needs its
 * context (keyword arguments, failing with a type, retrying, progress) has the long form:
 *
 *     static ctask_outcome thumbnail(struct ctask_call *t)
 *     {
 *         const char *path; int64_t width = 640;     // optional: keeps its value when absent
 *         if (!task_args(t, &path, &width)) return ctask_failed(t);
 *         if (width <= 0) return task_fail(t, "ValueError", "width %" PRId64 " is not positive",
 * width);
 *         ...
 *         return task_return(t, out_path);
 *     }
 *     CTASK_APP(pictures, { TASK_CALL(thumbnail), .params = "path, width=640" });
 *
 * A task runs in a child process of the worker, one at a time in each; it may block, use any
 * library and crash without hurting other tasks. It may be run again when a worker is lost, and
 * can tell: ctask_call_redelivered. It may send tasks with task_delay, but not wait for them. */
#ifndef CTASK_TASK_H
#define CTASK_TASK_H

#include <ctask.h>
#include <inttypes.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a task ends with. Made only by the functions below, so `return prime(n);` does not compile.
 */
typedef struct {
    int code;
} ctask_outcome;

struct ctask_call;

/* ---- Inside a task --------------------------------------------------------------------------- */

/* Reads arguments into variables in the order of .params, positional first, then by name. False
 * when they do not fit; then return ctask_failed(t), the caller gets a TypeError that says why. */
CTASK_API bool ctask_call_args(struct ctask_call *t, size_t n,
                               const struct ctask_out *out) CTASK_MUST_USE;
/* The arguments as they came, borrowed: an array and an object. */
CTASK_API const json_t *ctask_call_argv(const struct ctask_call *t);
CTASK_API const json_t *ctask_call_kwargs(const struct ctask_call *t);

CTASK_API ctask_outcome ctask_call_return(struct ctask_call *t,
                                          struct ctask_arg value) CTASK_MUST_USE;
/* Fails with an exception type that a Python caller sees too ("ValueError", "RuntimeError", ...).
 */
CTASK_API ctask_outcome ctask_call_fail(struct ctask_call *t, const char *type, const char *fmt,
                                        ...) CTASK_PRINTF(3, 4) CTASK_MUST_USE;
/* The failure that is already noted in t: wrong arguments. */
CTASK_API ctask_outcome ctask_failed(struct ctask_call *t) CTASK_MUST_USE;
/* Runs again after so many seconds, at most .max_retries times (default 3); then it fails with the
 * text of the last ctask_call_because, or MaxRetriesExceededError. */
CTASK_API ctask_outcome ctask_call_retry(struct ctask_call *t, double seconds) CTASK_MUST_USE;
/* Why the retry: shown to the caller while it waits, and at the end. */
CTASK_API void ctask_call_because(struct ctask_call *t, const char *type, const char *fmt, ...)
    CTASK_PRINTF(3, 4);
/* Tells the caller how far it is (result_progress). Any value. Returns a code; losing one is
 * harmless. */
CTASK_API int ctask_call_progress(struct ctask_call *t, struct ctask_arg value);
/* True once the worker wants this task to end early (second SIGTERM). Poll it in long loops. */
CTASK_API bool ctask_call_cancelled(const struct ctask_call *t);

CTASK_API const char *ctask_call_id(const struct ctask_call *t);
CTASK_API const char *ctask_call_name(const struct ctask_call *t);
CTASK_API int64_t ctask_call_retries(const struct ctask_call *t); /* 0 the first time */
/* True if this task may have been started before. */
CTASK_API bool ctask_call_redelivered(const struct ctask_call *t);

/* ---- Tables ---------------------------------------------------------------------------------- */

enum ctask_ack { CTASK_ACK_LATE, CTASK_ACK_EARLY };

struct ctask_task {
    const char *name; /* as producers call it */
    ctask_outcome (*run)(struct ctask_call *t);
    const char *params; /* "path, width=640": names; those with a default are optional */
    const char *help;
    double
        hard_limit; /* seconds until the child is killed; 0: none (enforced from a later version) */
    double soft_limit;
    int max_retries;    /* 0: 3; negative: without limit */
    enum ctask_ack ack; /* CTASK_ACK_EARLY: acknowledged before it runs: at most once */
};

#define CTASK_ABI 1

/* What an app's one symbol, ctask_app_<name>, returns. Sizes are compared before anything is used.
 */
struct ctask_app {
    uint32_t abi;
    uint32_t app_size, task_size;
    uint32_t count;
    const char *name;
    const struct ctask_task *tasks;
};

#define CTASK_APP(app, ...)                                                   \
    CTASK_API const struct ctask_app *ctask_app_##app(void);                  \
    const struct ctask_app *ctask_app_##app(void)                             \
    {                                                                         \
        static const struct ctask_task tasks[] = {__VA_ARGS__};               \
        static const struct ctask_app self = {CTASK_ABI,                      \
                                              sizeof(struct ctask_app),       \
                                              sizeof(struct ctask_task),      \
                                              sizeof tasks / sizeof tasks[0], \
                                              #app,                           \
                                              tasks};                         \
        return &self;                                                         \
    }                                                                         \
    struct ctask_app_##app##_ends_with_a_semicolon

/* Entries of the table: a plain function that CTASK_FN wrapped, or one of the long form. */
#define TASK(fn) .name = #fn, .run = ctask_run_##fn, .params = ctask_params_##fn
#define TASK_CALL(fn) .name = #fn, .run = fn
/* The same under another name, as "pictures.thumbnail". */
#define TASK_AS(text, fn) .name = text, .run = ctask_run_##fn, .params = ctask_params_##fn
#define TASK_CALL_AS(text, fn) .name = text, .run = fn

#ifdef __cplusplus
}
#else

/* CTASK_FN(type, function, (type, name)...): a plain function as a task; up to 8 parameters.
 * CTASK_PROC(function, (type, name)...): the same for a void function; it returns null. */
#define CTASK_FN(...) CTASK_FN_PICK_(__VA_ARGS__)(__VA_ARGS__)
#define CTASK_PROC(...) CTASK_PROC_PICK_(__VA_ARGS__)(__VA_ARGS__)

#define CTASK_TYPE_(type, name) type
#define CTASK_NAME_(type, name) name
#define CTASK_DECL_(type, name) type name = (type){0};
#define CTASK_STR_(x) CTASK_STR2_(x)
#define CTASK_STR2_(x) #x
#define CTASK_VALUE_(t, call) return ctask_call_return(t, CTASK_ARG(call));
#define CTASK_NOVALUE_(t, call) \
    call;                       \
    return ctask_call_return(t, ctask_arg_void(NULL));
#define CTASK_BODY_0_(fn, result)                                 \
    static const char ctask_params_##fn[] = "";                   \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)     \
    {                                                             \
        if (!ctask_call_args(t, 0, NULL)) return ctask_failed(t); \
        result(t, fn())                                           \
    }                                                             \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_0_(type, fn) CTASK_BODY_0_(fn, CTASK_VALUE_)
#define CTASK_PROC_0_(fn) CTASK_BODY_0_(fn, CTASK_NOVALUE_)
#define CTASK_BODY_1_(fn, p1, result)                                                       \
    static const char ctask_params_##fn[] = CTASK_STR_(CTASK_NAME_ p1);                     \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                               \
    {                                                                                       \
        CTASK_DECL_ p1 if (!ctask_call_args(t, 1,                                           \
                                            (const struct ctask_out[]){CTASK_OUT(           \
                                                &CTASK_NAME_ p1)})) return ctask_failed(t); \
        result(t, fn(CTASK_NAME_ p1))                                                       \
    }                                                                                       \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_1_(type, fn, p1) CTASK_BODY_1_(fn, p1, CTASK_VALUE_)
#define CTASK_PROC_1_(fn, p1) CTASK_BODY_1_(fn, p1, CTASK_NOVALUE_)
#define CTASK_BODY_2_(fn, p1, p2, result)                                                     \
    static const char ctask_params_##fn[] =                                                   \
        CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(CTASK_NAME_ p2);                           \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                 \
    {                                                                                         \
        CTASK_DECL_ p1 CTASK_DECL_                                                            \
            p2 if (!ctask_call_args(t, 2,                                                     \
                                    (const struct ctask_out[]){                               \
                                        CTASK_OUT(&CTASK_NAME_ p1),                           \
                                        CTASK_OUT(&CTASK_NAME_ p2)})) return ctask_failed(t); \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2))                                         \
    }                                                                                         \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_2_(type, fn, p1, p2) CTASK_BODY_2_(fn, p1, p2, CTASK_VALUE_)
#define CTASK_PROC_2_(fn, p1, p2) CTASK_BODY_2_(fn, p1, p2, CTASK_NOVALUE_)
#define CTASK_BODY_3_(fn, p1, p2, p3, result)                                                   \
    static const char ctask_params_##fn[] = CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(         \
        CTASK_NAME_ p2) ", " CTASK_STR_(CTASK_NAME_ p3);                                        \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                   \
    {                                                                                           \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_                                               \
            p3 if (!ctask_call_args(t, 3,                                                       \
                                    (const struct ctask_out[]){                                 \
                                        CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2), \
                                        CTASK_OUT(&CTASK_NAME_ p3)})) return ctask_failed(t);   \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3))                           \
    }                                                                                           \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_3_(type, fn, p1, p2, p3) CTASK_BODY_3_(fn, p1, p2, p3, CTASK_VALUE_)
#define CTASK_PROC_3_(fn, p1, p2, p3) CTASK_BODY_3_(fn, p1, p2, p3, CTASK_NOVALUE_)
#define CTASK_BODY_4_(fn, p1, p2, p3, p4, result)                                               \
    static const char ctask_params_##fn[] = CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(         \
        CTASK_NAME_ p2) ", " CTASK_STR_(CTASK_NAME_ p3) ", " CTASK_STR_(CTASK_NAME_ p4);        \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                   \
    {                                                                                           \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_ p3 CTASK_DECL_                                \
            p4 if (!ctask_call_args(t, 4,                                                       \
                                    (const struct ctask_out[]){                                 \
                                        CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2), \
                                        CTASK_OUT(&CTASK_NAME_ p3),                             \
                                        CTASK_OUT(&CTASK_NAME_ p4)})) return ctask_failed(t);   \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3, CTASK_NAME_ p4))           \
    }                                                                                           \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_4_(type, fn, p1, p2, p3, p4) CTASK_BODY_4_(fn, p1, p2, p3, p4, CTASK_VALUE_)
#define CTASK_PROC_4_(fn, p1, p2, p3, p4) CTASK_BODY_4_(fn, p1, p2, p3, p4, CTASK_NOVALUE_)
#define CTASK_BODY_5_(fn, p1, p2, p3, p4, p5, result)                                              \
    static const char ctask_params_##fn[] =                                                        \
        CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(CTASK_NAME_ p2) ", " CTASK_STR_(                \
            CTASK_NAME_ p3) ", " CTASK_STR_(CTASK_NAME_ p4) ", " CTASK_STR_(CTASK_NAME_ p5);       \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                      \
    {                                                                                              \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_ p3 CTASK_DECL_ p4 CTASK_DECL_                    \
            p5 if (!ctask_call_args(t, 5,                                                          \
                                    (const struct ctask_out[]){                                    \
                                        CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2),    \
                                        CTASK_OUT(&CTASK_NAME_ p3), CTASK_OUT(&CTASK_NAME_ p4),    \
                                        CTASK_OUT(&CTASK_NAME_ p5)})) return ctask_failed(t);      \
        result(t,                                                                                  \
               fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3, CTASK_NAME_ p4, CTASK_NAME_ p5)) \
    }                                                                                              \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_5_(type, fn, p1, p2, p3, p4, p5) \
    CTASK_BODY_5_(fn, p1, p2, p3, p4, p5, CTASK_VALUE_)
#define CTASK_PROC_5_(fn, p1, p2, p3, p4, p5) CTASK_BODY_5_(fn, p1, p2, p3, p4, p5, CTASK_NOVALUE_)
#define CTASK_BODY_6_(fn, p1, p2, p3, p4, p5, p6, result)                                       \
    static const char ctask_params_##fn[] =                                                     \
        CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(CTASK_NAME_ p2) ", " CTASK_STR_(             \
            CTASK_NAME_                                                                         \
                p3) ", " CTASK_STR_(CTASK_NAME_                                                 \
                                        p4) ", " CTASK_STR_(CTASK_NAME_                         \
                                                                p5) ", " CTASK_STR_(CTASK_NAME_ \
                                                                                        p6);    \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                   \
    {                                                                                           \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_ p3 CTASK_DECL_ p4 CTASK_DECL_ p5 CTASK_DECL_  \
            p6 if (!ctask_call_args(t, 6,                                                       \
                                    (const struct ctask_out[]){                                 \
                                        CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2), \
                                        CTASK_OUT(&CTASK_NAME_ p3), CTASK_OUT(&CTASK_NAME_ p4), \
                                        CTASK_OUT(&CTASK_NAME_ p5),                             \
                                        CTASK_OUT(&CTASK_NAME_ p6)})) return ctask_failed(t);   \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3, CTASK_NAME_ p4,            \
                     CTASK_NAME_ p5, CTASK_NAME_ p6))                                           \
    }                                                                                           \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_6_(type, fn, p1, p2, p3, p4, p5, p6) \
    CTASK_BODY_6_(fn, p1, p2, p3, p4, p5, p6, CTASK_VALUE_)
#define CTASK_PROC_6_(fn, p1, p2, p3, p4, p5, p6) \
    CTASK_BODY_6_(fn, p1, p2, p3, p4, p5, p6, CTASK_NOVALUE_)
#define CTASK_BODY_7_(fn, p1, p2, p3, p4, p5, p6, p7, result)                                                       \
    static const char ctask_params_##fn[] =                                                                         \
        CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(CTASK_NAME_ p2) ", " CTASK_STR_(CTASK_NAME_ p3) ", " CTASK_STR_( \
            CTASK_NAME_                                                                                             \
                p4) ", " CTASK_STR_(CTASK_NAME_                                                                     \
                                        p5) ", " CTASK_STR_(CTASK_NAME_                                             \
                                                                p6) ", " CTASK_STR_(CTASK_NAME_                     \
                                                                                        p7);                        \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                                       \
    {                                                                                                               \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_ p3 CTASK_DECL_ p4 CTASK_DECL_ p5 CTASK_DECL_ p6                   \
            CTASK_DECL_ p7 if (!ctask_call_args(                                                                    \
                                   t, 7,                                                                            \
                                   (const struct ctask_out[]){                                                      \
                                       CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2),                      \
                                       CTASK_OUT(&CTASK_NAME_ p3), CTASK_OUT(&CTASK_NAME_ p4),                      \
                                       CTASK_OUT(&CTASK_NAME_ p5), CTASK_OUT(&CTASK_NAME_ p6),                      \
                                       CTASK_OUT(&CTASK_NAME_ p7)})) return ctask_failed(t);                        \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3, CTASK_NAME_ p4,                                \
                     CTASK_NAME_ p5, CTASK_NAME_ p6, CTASK_NAME_ p7))                                               \
    }                                                                                                               \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_7_(type, fn, p1, p2, p3, p4, p5, p6, p7) \
    CTASK_BODY_7_(fn, p1, p2, p3, p4, p5, p6, p7, CTASK_VALUE_)
#define CTASK_PROC_7_(fn, p1, p2, p3, p4, p5, p6, p7) \
    CTASK_BODY_7_(fn, p1, p2, p3, p4, p5, p6, p7, CTASK_NOVALUE_)
#define CTASK_BODY_8_(fn, p1, p2, p3, p4, p5, p6, p7, p8, result)                                                      \
    static const char ctask_params_##fn[] =                                                                            \
        CTASK_STR_(CTASK_NAME_ p1) ", " CTASK_STR_(CTASK_NAME_ p2) ", " CTASK_STR_(CTASK_NAME_ p3) ", " CTASK_STR_(    \
            CTASK_NAME_                                                                                                \
                p4) ", " CTASK_STR_(CTASK_NAME_                                                                        \
                                        p5) ", " CTASK_STR_(CTASK_NAME_                                                \
                                                                p6) ", " CTASK_STR_(CTASK_NAME_                        \
                                                                                        p7) ","                        \
                                                                                            " " CTASK_STR_(CTASK_NAME_ \
                                                                                                               p8);    \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                                                          \
    {                                                                                                                  \
        CTASK_DECL_ p1 CTASK_DECL_ p2 CTASK_DECL_ p3 CTASK_DECL_ p4 CTASK_DECL_ p5 CTASK_DECL_ p6                      \
            CTASK_DECL_ p7 CTASK_DECL_                                                                                 \
                p8 if (!ctask_call_args(                                                                               \
                           t, 8,                                                                                       \
                           (const struct ctask_out[]){                                                                 \
                               CTASK_OUT(&CTASK_NAME_ p1), CTASK_OUT(&CTASK_NAME_ p2),                                 \
                               CTASK_OUT(&CTASK_NAME_ p3), CTASK_OUT(&CTASK_NAME_ p4),                                 \
                               CTASK_OUT(&CTASK_NAME_ p5), CTASK_OUT(&CTASK_NAME_ p6),                                 \
                               CTASK_OUT(&CTASK_NAME_ p7),                                                             \
                               CTASK_OUT(&CTASK_NAME_ p8)})) return ctask_failed(t);                                   \
        result(t, fn(CTASK_NAME_ p1, CTASK_NAME_ p2, CTASK_NAME_ p3, CTASK_NAME_ p4,                                   \
                     CTASK_NAME_ p5, CTASK_NAME_ p6, CTASK_NAME_ p7, CTASK_NAME_ p8))                                  \
    }                                                                                                                  \
    struct ctask_fn_##fn##_ends_with_a_semicolon
#define CTASK_FN_8_(type, fn, p1, p2, p3, p4, p5, p6, p7, p8) \
    CTASK_BODY_8_(fn, p1, p2, p3, p4, p5, p6, p7, p8, CTASK_VALUE_)
#define CTASK_PROC_8_(fn, p1, p2, p3, p4, p5, p6, p7, p8) \
    CTASK_BODY_8_(fn, p1, p2, p3, p4, p5, p6, p7, p8, CTASK_NOVALUE_)
#define CTASK_FN_PICK_(...)                                                              \
    CTASK_PICK_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0, CTASK_FN_8_, CTASK_FN_7_, CTASK_FN_6_, \
                CTASK_FN_5_, CTASK_FN_4_, CTASK_FN_3_, CTASK_FN_2_, CTASK_FN_1_, CTASK_FN_0_, 0)
#define CTASK_PROC_PICK_(...)                                                                     \
    CTASK_PICK_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0, 0, CTASK_PROC_8_, CTASK_PROC_7_, CTASK_PROC_6_, \
                CTASK_PROC_5_, CTASK_PROC_4_, CTASK_PROC_3_, CTASK_PROC_2_, CTASK_PROC_1_,        \
                CTASK_PROC_0_, 0)
#ifndef CTASK_NO_SUGAR
#define task_args(t, ...) ctask_call_args((t), CTASK_OUT_LIST(__VA_ARGS__))
#define task_return(t, x) ctask_call_return((t), CTASK_ARG(x))
#define task_return_bool(t, x) ctask_call_return((t), ctask_bool(x))
#define task_return_null(t) ctask_call_return((t), ctask_arg_void(NULL))
#define task_progress(t, x) ctask_call_progress((t), CTASK_ARG(x))
#define task_fail(...) ctask_call_fail(__VA_ARGS__)
#define task_because(...) ctask_call_because(__VA_ARGS__)
static inline CTASK_MUST_USE ctask_outcome task_retry(struct ctask_call *t, double seconds)
{
    return ctask_call_retry(t, seconds);
}
static inline bool task_cancelled(const struct ctask_call *t)
{
    return ctask_call_cancelled(t);
}
#endif
#endif
#endif
