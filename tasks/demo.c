/* demo.c - tasks that behave, misbehave and use all that ctask/task.h offers, one thing each: for
 * trying out a worker, for the tests, and as examples. None of them is of any use by itself. */
#include <ctask/task.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (nanosleep(&t, &t) < 0 && errno == EINTR) continue;
}

/* False, and then *seconds is no time to wait. */
static bool is_pause(double seconds)
{
    return seconds >= 0 && seconds < 1e9;
}

/* ---- Arguments and values -------------------------------------------------------------------- */

static ctask_outcome add(struct ctask_call *t)
{
    int64_t a, b, sum;
    if (!task_args(t, &a, &b)) return ctask_failed(t);
    if (__builtin_add_overflow(a, b, &sum))
        return task_fail(t, "OverflowError", "%" PRId64 " + %" PRId64 " is over 64 bits", a, b);
    return task_return(t, sum);
}

static ctask_outcome echo(struct ctask_call *t)
{
    json_t *value;
    if (!task_args(t, &value)) return ctask_failed(t);
    return task_return(t, ctask_take(value));
}

/* Optional parameters keep the value that they are declared with. */
static ctask_outcome thumbnail(struct ctask_call *t)
{
    const char *path;
    int64_t width = 640;
    bool crop = false;
    if (!task_args(t, &path, &width, &crop)) return ctask_failed(t);
    if (!path) return task_fail(t, "TypeError", "path is null");
    if (width <= 0) return task_fail(t, "ValueError", "width %" PRId64 " is not positive", width);
    char out[256];
    snprintf(out, sizeof out, "%.200s.%" PRId64 "%s", path, width, crop ? ".cropped" : "");
    return task_return(t, (const char *)out);
}

static ctask_outcome big(struct ctask_call *t)
{
    uint32_t bytes;
    if (!task_args(t, &bytes)) return ctask_failed(t);
    char *text = malloc((size_t)bytes + 1);
    if (!text) return task_fail(t, "MemoryError", "no room for %" PRIu32 " bytes", bytes);
    memset(text, 'x', bytes);
    json_t *value = json_stringn(text, bytes);
    free(text);
    return task_return(t, ctask_take(value));
}

/* ---- Time ------------------------------------------------------------------------------------ */

static ctask_outcome sleep_for(struct ctask_call *t)
{
    double seconds;
    if (!task_args(t, &seconds)) return ctask_failed(t);
    if (!is_pause(seconds)) return task_fail(t, "ValueError", "cannot sleep for %g s", seconds);
    pause_for(seconds);
    return task_return(t, seconds);
}

/* Computes, and gives its work to another worker when this one has to go. */
static ctask_outcome spin(struct ctask_call *t)
{
    double seconds;
    if (!task_args(t, &seconds)) return ctask_failed(t);
    uint64_t rounds = 0;
    for (double end = now() + seconds; now() < end; rounds++) {
        if (!task_cancelled(t)) continue;
        task_because(t, "InterruptedError", "the worker stops");
        return task_retry(t, 0);
    }
    return task_return(t, rounds);
}

/* Works until it is asked to end, and says so. */
static ctask_outcome obey(struct ctask_call *t)
{
    double seconds;
    if (!task_args(t, &seconds)) return ctask_failed(t);
    double start = now();
    while (now() < start + seconds) {
        if (task_cancelled(t))
            return task_fail(t, "SoftTimeLimitExceeded", "asked after %.1f s", now() - start);
        pause_for(0.001);
    }
    return task_return(t, seconds);
}

static ctask_outcome flagged(struct ctask_call *t)
{
    double seconds = 0;
    if (!task_args(t, &seconds)) return ctask_failed(t);
    if (!is_pause(seconds)) return task_fail(t, "ValueError", "cannot sleep for %g s", seconds);
    pause_for(seconds);
    return task_return_bool(t, ctask_call_redelivered(t));
}

/* As a debugger or a user may stop it. */
static ctask_outcome stop(struct ctask_call *t)
{
    raise(SIGSTOP);
    return task_return_null(t);
}

static ctask_outcome progress(struct ctask_call *t)
{
    int64_t steps;
    double seconds = 0;
    if (!task_args(t, &steps, &seconds)) return ctask_failed(t);
    if (!is_pause(seconds)) return task_fail(t, "ValueError", "cannot sleep for %g s", seconds);
    for (int64_t i = 1; i <= steps; i++) {
        pause_for(seconds);
        task_progress(t, ctask_take(json_pack("{s:I, s:I}", "done", (json_int_t)i, "total",
                                              (json_int_t)steps)));
    }
    return task_return(t, steps);
}

/* ---- Failing --------------------------------------------------------------------------------- */

static ctask_outcome fail(struct ctask_call *t)
{
    const char *type = "RuntimeError", *text = "as asked";
    if (!task_args(t, &type, &text)) return ctask_failed(t);
    return task_fail(t, type, "%s", text ? text : "");
}

static ctask_outcome retry(struct ctask_call *t)
{
    int64_t times;
    double seconds = 0;
    if (!task_args(t, &times, &seconds)) return ctask_failed(t);
    if (ctask_call_retries(t) >= times) return task_return(t, ctask_call_retries(t));
    task_because(t, "ConnectionError", "attempt %" PRId64 " of %" PRId64 " fails",
                 ctask_call_retries(t) + 1, times);
    return task_retry(t, seconds);
}

/* Fails by its own word; that it is tried again is said in the table. */
static ctask_outcome flaky(struct ctask_call *t)
{
    int64_t times;
    if (!task_args(t, &times)) return ctask_failed(t);
    if (ctask_call_retries(t) >= times) return task_return(t, ctask_call_retries(t));
    return task_fail(t, "TimeoutError", "failure %" PRId64, ctask_call_retries(t) + 1);
}

static ctask_outcome crash(struct ctask_call *t)
{
    static const struct {
        const char *how;
        int signal;
    } ways[] = {{"abort", SIGABRT}, {"segv", SIGSEGV}, {"fpe", SIGFPE}, {"kill", SIGKILL}};
    const char *how = "abort";
    if (!task_args(t, &how)) return ctask_failed(t);
    for (size_t i = 0; how && i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(how, ways[i].how) == 0) raise(ways[i].signal);
    return task_fail(t, "ValueError", "knows abort, segv, fpe and kill");
}

static ctask_outcome leave(struct ctask_call *t)
{
    int status = 0;
    if (!task_args(t, &status)) return ctask_failed(t);
    exit(status);
}

/* Memory that is never given back: what --max-tasks-per-child is for. */
static ctask_outcome leak(struct ctask_call *t)
{
    static uint64_t total;
    uint32_t bytes;
    if (!task_args(t, &bytes)) return ctask_failed(t);
    static char *volatile lost;
    lost = malloc(bytes);
    if (!lost) return task_fail(t, "MemoryError", "%" PRIu64 " bytes are lost already", total);
    memset(lost, 1, bytes);
    total += bytes;
    return task_return(t, total);
}

static char *volatile held; /* so that no compiler leaves out what nobody reads */

/* Holds so much memory for so long. */
static ctask_outcome hold(struct ctask_call *t)
{
    uint32_t bytes;
    double seconds;
    if (!task_args(t, &bytes, &seconds)) return ctask_failed(t);
    if (!is_pause(seconds)) return task_fail(t, "ValueError", "cannot wait for %g s", seconds);
    held = malloc(bytes);
    if (!held) return task_fail(t, "MemoryError", "no room for %" PRIu32 " bytes", bytes);
    memset(held, 1, bytes);
    pause_for(seconds);
    free(held);
    return task_return_null(t);
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* What a task sends leaves at once. It may pass on the id, but not wait for the result. */
static ctask_outcome sent(struct ctask_call *t, AsyncResult *r)
{
    ctask_outcome outcome = result_state(r) == CTASK_FAILURE
                                ? task_fail(t, "OSError", "not sent: %s", result_error(r)->text)
                                : task_return(t, result_id(r));
    result_forget(r);
    return outcome;
}

static ctask_outcome delay(struct ctask_call *t)
{
    const char *name;
    json_t *value;
    double countdown = 0;
    if (!task_args(t, &name, &value, &countdown)) return ctask_failed(t);
    AsyncResult *r = task_apply(TASK_OPTIONS(.countdown = countdown), name, value);
    json_decref(value);
    return sent(t, r);
}

/* A queue, a task and any number of arguments for it: those are read as they came. */
static ctask_outcome send_to(struct ctask_call *t)
{
    const json_t *given = ctask_call_argv(t);
    const char *queue = json_string_value(json_array_get(given, 0));
    const char *name = json_string_value(json_array_get(given, 1));
    if (!queue || !name) return task_fail(t, "TypeError", "needs a queue and the name of a task");
    json_t *args = json_array();
    for (size_t i = 2; i < json_array_size(given); i++)
        json_array_append(args, json_array_get(given, i));
    return sent(t, ctask_send_json(NULL, TASK_OPTIONS(.queue = queue), name, args, NULL));
}

static ctask_outcome fan(struct ctask_call *t)
{
    const char *name;
    json_t *values, *value;
    size_t i;
    int rc = CTASK_OK;
    if (!task_args(t, &name, &values)) return ctask_failed(t);
    json_array_foreach(values, i, value)
    {
        rc = task_send(name, value);
        if (rc != CTASK_OK) break;
    }
    json_decref(values);
    if (rc != CTASK_OK) return task_fail(t, "OSError", "not sent: %s", ctask_error()->text);
    return task_return(t, i);
}

CTASK_APP(demo, {TASK_CALL_AS("demo.add", add), .params = "a, b", .help = "a + b"},
          {TASK_CALL_AS("demo.echo", echo), .params = "value", .help = "the value itself"},
          {TASK_CALL_AS("demo.thumbnail", thumbnail), .params = "path, width=640, crop=false",
           .help = "the name of a picture that is not made"},
          {TASK_CALL_AS("demo.big", big), .params = "bytes", .help = "so many bytes of text"},
          {TASK_CALL_AS("demo.sleep", sleep_for), .params = "seconds", .help = "waits"},
          {TASK_CALL_AS("demo.flagged", flagged), .params = "seconds=0",
           .help = "waits, then tells if this may be a second start"},
          {TASK_CALL_AS("demo.spin", spin), .params = "seconds", .max_retries = -1,
           .help = "computes"},
          {TASK_CALL_AS("demo.brief", sleep_for), .params = "seconds", .hard_limit = 0.2,
           .soft_limit = 0.1, .help = "waits, for at most 0.2 s"},
          {TASK_CALL_AS("demo.obey", obey), .params = "seconds",
           .help = "works until it is asked to end"},
          {TASK_CALL_AS("demo.stop", stop), .help = "stops its process"},
          {TASK_CALL_AS("demo.progress", progress), .params = "steps, seconds=0",
           .help = "tells its progress after each step"},
          {TASK_CALL_AS("demo.fail", fail), .params = "type=RuntimeError, text=as asked",
           .help = "fails with that exception"},
          {TASK_CALL_AS("demo.retry", retry), .params = "times, seconds=0", .max_retries = 10,
           .help = "fails so many times, then returns"},
          {TASK_CALL_AS("demo.flaky", flaky), .params = "times", .autoretry = "TimeoutError",
           .retry_backoff = 0.01, .help = "fails so many times and is tried again by itself"},
          {TASK_CALL_AS("demo.crash", crash), .params = "how=abort",
           .help = "dies by abort, segv, fpe or kill"},
          {TASK_CALL_AS("demo.exit", leave), .params = "status=0", .help = "ends its process"},
          {TASK_CALL_AS("demo.leak", leak), .params = "bytes", .help = "loses so many bytes"},
          {TASK_CALL_AS("demo.hold", hold), .params = "bytes, seconds",
           .help = "occupies so much memory for so long"},
          {TASK_CALL_AS("demo.delay", delay), .params = "name, value, countdown=0",
           .help = "sends task `name` with value and returns its id"},
          {TASK_CALL_AS("demo.send", send_to),
           .help = "queue, task, arguments...: sends it there and returns its id"},
          {TASK_CALL_AS("demo.fan", fan), .params = "name, values",
           .help = "sends task `name` once for each of an array of values"});
