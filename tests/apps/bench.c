/* bench.c - the benchmarks' tasks: one that does nothing, one that computes for so long, one that
 * hands back what it got. */
#include <ctask/task.h>
#include <time.h>

static int64_t noop(int64_t n)
{
    return n;
}

/* Time of this thread on a core, so that waiting for one does not count as work. */
static int64_t worked_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t spin(int64_t microseconds)
{
    for (int64_t end = worked_ns() + microseconds * 1000; worked_ns() < end;) continue;
    return microseconds;
}

CTASK_FN(int64_t, noop, (int64_t, n));
CTASK_FN(int64_t, spin, (int64_t, microseconds));

static ctask_outcome echo(struct ctask_call *t)
{
    json_t *value;
    if (!task_args(t, &value)) return ctask_failed(t);
    return task_return(t, ctask_take(value));
}

CTASK_APP(bench, {TASK_AS("bench.noop", noop), .help = "nothing"},
          {TASK_AS("bench.spin", spin), .help = "work of so many microseconds"},
          {TASK_CALL_AS("bench.echo", echo), .params = "value", .help = "the value"});
