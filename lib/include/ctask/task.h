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
 *         if (width <= 0) return task_fail(t, "ValueError", "%" PRId64 " is not positive", width);
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

/* t, and all that is borrowed from it, is valid until the task returns, and for its thread only. */

/* Reads n arguments into variables in the order of .params, positional first, then by name. False
 * when they do not fit; then return ctask_failed(t), the caller gets a TypeError that says why. */
CTASK_API bool ctask_call_args(struct ctask_call *t, size_t n,
                               const struct ctask_out *out) CTASK_MUST_USE;
/* The arguments as they came, borrowed: an array and an object. */
CTASK_API const json_t *ctask_call_argv(const struct ctask_call *t);
CTASK_API const json_t *ctask_call_kwargs(const struct ctask_call *t);

/* Succeeds with this value. Takes over a CTASK_TAKE value. One that has no JSON form, over 15
 * MiB of it or over 126 levels fails with EncodeError. */
CTASK_API ctask_outcome ctask_call_return(struct ctask_call *t,
                                          struct ctask_arg value) CTASK_MUST_USE;
/* Fails with an exception type that a Python caller sees too ("ValueError", "RuntimeError", ...);
 * at most 63 bytes of it and 511 of the text arrive. NULL is RuntimeError. */
CTASK_API ctask_outcome ctask_call_fail(struct ctask_call *t, const char *type, const char *fmt,
                                        ...) CTASK_PRINTF(3, 4) CTASK_MUST_USE;
/* The failure that is already noted in t: wrong arguments. */
CTASK_API ctask_outcome ctask_failed(struct ctask_call *t) CTASK_MUST_USE;
/* Runs again after so many seconds (up to 2^28 - 1), at most .max_retries times (default 3); then
 * it fails with what ctask_call_because said in this run, or MaxRetriesExceededError. Negative
 * seconds: by the task's back-off, a random time between 0 and .retry_backoff doubled with each
 * retry, .retry_backoff_max at most. */
CTASK_API ctask_outcome ctask_call_retry(struct ctask_call *t, double seconds) CTASK_MUST_USE;
/* Why the retry: shown to the caller while it waits, and at the end. */
CTASK_API void ctask_call_because(struct ctask_call *t, const char *type, const char *fmt, ...)
    CTASK_PRINTF(3, 4);
/* Tells the caller how far it is (result_progress). Any value; takes over a CTASK_TAKE one. Returns
 * a code; losing one is harmless. */
CTASK_API int ctask_call_progress(struct ctask_call *t, struct ctask_arg value);
/* True once the worker wants this task to end early: its soft time limit is over, or the worker has
 * to go (second SIGTERM, or its grace is over). Poll it in long loops; any thread may. */
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
    /* Seconds until its process is killed, which fails it with TimeLimitExceeded, and until it is
     * asked to end (task_cancelled). A message may name its own; 0: the worker's --time-limit and
     * --soft-time-limit, by default none. */
    double hard_limit, soft_limit;
    int max_retries;                         /* 0: 3; negative: without limit */
    double retry_backoff, retry_backoff_max; /* seconds, see ctask_call_retry; 0: 1 and 600 */
    /* "OSError, TimeoutError": failures of these types (task_fail) are tried again by themselves,
     * by the back-off; the last one is the task's. Names are compared as they are, but "Exception"
     * means all. Arguments that do not fit are never tried again. */
    const char *autoretry;
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

/* CTASK_FN(type, function, (type, name)...): a plain function as a task; up to 8 parameters. What
 * it returns is sent as a `type`; a json_t * is given away. CTASK_PROC(function, (type, name)...):
 * the same for a void function; it returns null. */
#define CTASK_FN(type, ...) CTASK_WRAP_(CTASK_VALUE_, type, __VA_ARGS__)
#define CTASK_PROC(...) CTASK_WRAP_(CTASK_NO_VALUE_, void, __VA_ARGS__)

/* What they make: ctask_params_<function> and ctask_run_<function>, which TASK puts into a table.
 * Lists of parameters keep the function in front, since C11 knows no empty __VA_ARGS__; so n is one
 * more than there are. For the same reason the array of places has one too many. */
#define CTASK_WRAP_(end, type, ...) \
    CTASK_WRAP_N_(end, type, CTASK_COUNT(__VA_ARGS__), CTASK_FIRST_(__VA_ARGS__, ), __VA_ARGS__)
#define CTASK_WRAP_N_(end, type, n, fn, ...) CTASK_WRAPPER_(end, type, n, fn, __VA_ARGS__)
#define CTASK_WRAPPER_(end, type, n, fn, ...)                                              \
    static const char ctask_params_##fn[] = CTASK_STR_(CTASK_NAMES_##n##_(__VA_ARGS__));   \
    static ctask_outcome ctask_run_##fn(struct ctask_call *t)                              \
    {                                                                                      \
        CTASK_EACH_##n##_(CTASK_VARIABLE_, __VA_ARGS__);                                   \
        if (!ctask_call_args(t, n - 1,                                                     \
                             CTASK_PLACES_(CTASK_EACH_##n##_(CTASK_PLACE_, __VA_ARGS__)))) \
            return ctask_failed(t);                                                        \
        end(t, type, fn(CTASK_NAMES_##n##_(__VA_ARGS__)));                                 \
    }                                                                                      \
    struct ctask_fn_##fn##_ends_with_a_semicolon

#define CTASK_FIRST_(fn, ...) fn
#define CTASK_NAME_(type, name) name
#define CTASK_VARIABLE_(type, name) type name = (type){0};
#define CTASK_PLACE_(type, name) CTASK_OUT(&name),
#define CTASK_PLACES_(...)               \
    (const struct ctask_out[])           \
    {                                    \
        __VA_ARGS__ ctask_out_void(NULL) \
    }
#define CTASK_VALUE_(t, type, call)                                 \
    type value = call;                                              \
    return ctask_call_return(t, _Generic((value), json_t *          \
                                         : ctask_arg_given, default \
                                         : ctask_arg_same)(CTASK_ARG(value)))
static inline struct ctask_arg ctask_arg_given(struct ctask_arg x)
{
    return ctask_take(x.v.j);
}
#define CTASK_NO_VALUE_(t, type, call) \
    call;                              \
    return ctask_call_return(t, ctask_arg_void(NULL))
#define CTASK_STR_(...) CTASK_STR2_(__VA_ARGS__)
#define CTASK_STR2_(...) #__VA_ARGS__

/* The names of the parameters, with commas between. */
#define CTASK_NAMES_1_(fn)
#define CTASK_NAMES_2_(fn, p) CTASK_NAME_ p
#define CTASK_NAMES_3_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_2_(fn, __VA_ARGS__)
#define CTASK_NAMES_4_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_3_(fn, __VA_ARGS__)
#define CTASK_NAMES_5_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_4_(fn, __VA_ARGS__)
#define CTASK_NAMES_6_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_5_(fn, __VA_ARGS__)
#define CTASK_NAMES_7_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_6_(fn, __VA_ARGS__)
#define CTASK_NAMES_8_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_7_(fn, __VA_ARGS__)
#define CTASK_NAMES_9_(fn, p, ...) CTASK_NAME_ p, CTASK_NAMES_8_(fn, __VA_ARGS__)
/* Each parameter through the macro f. */
#define CTASK_EACH_1_(f, fn)
#define CTASK_EACH_2_(f, fn, p) f p
#define CTASK_EACH_3_(f, fn, p, ...) f p CTASK_EACH_2_(f, fn, __VA_ARGS__)
#define CTASK_EACH_4_(f, fn, p, ...) f p CTASK_EACH_3_(f, fn, __VA_ARGS__)
#define CTASK_EACH_5_(f, fn, p, ...) f p CTASK_EACH_4_(f, fn, __VA_ARGS__)
#define CTASK_EACH_6_(f, fn, p, ...) f p CTASK_EACH_5_(f, fn, __VA_ARGS__)
#define CTASK_EACH_7_(f, fn, p, ...) f p CTASK_EACH_6_(f, fn, __VA_ARGS__)
#define CTASK_EACH_8_(f, fn, p, ...) f p CTASK_EACH_7_(f, fn, __VA_ARGS__)
#define CTASK_EACH_9_(f, fn, p, ...) f p CTASK_EACH_8_(f, fn, __VA_ARGS__)

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
