/* share.c - arguments and answers, the clock, and what is said. */
#include "producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void die(const char *what)
{
    fprintf(stderr, "bench-producer: %s\n", what);
    exit(1);
}

void die_of(const struct ctask_error *e)
{
    die(e->text);
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Arguments and answers ------------------------------------------------------------------- */

struct ctask_arg argument_of(const struct run *x, long n)
{
    if (x->text) return ctask_arg_text(x->text);
    return ctask_arg_int(x->o->argument ? x->o->argument : n);
}

void check(const struct run *x, long n, struct ctask_result *r)
{
    const char *text = NULL;
    long value = 0;
    int rc = x->text ? ctask_result_get(r, 60, CTASK_OUT(&text))
                     : ctask_result_get(r, 60, CTASK_OUT(&value));
    if (rc != CTASK_OK) die_of(ctask_result_error(r));
    bool right = x->text ? text && strlen(text) == (size_t)x->o->argument
                         : value == (x->o->argument ? x->o->argument : n);
    if (!right) die("a task returned something else than it had to");
}

/* ---- The clock ------------------------------------------------------------------------------- */

void clock_start(struct run *x, double t)
{
    x->start = t;
    x->start_done = x->done;
    x->cpu = cpu_seconds();
    puts("START");
    fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    uint32_t p = *(const uint32_t *)a, q = *(const uint32_t *)b;
    return (p > q) - (p < q);
}

static void percentiles_say(struct run *x)
{
    static const struct {
        const char *name;
        double share;
    } which[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    if (x->latencies == 0) return;
    qsort(x->latency, x->latencies, sizeof *x->latency, by_size);
    for (size_t i = 0; i < sizeof which / sizeof which[0]; i++)
        printf(", \"%s_us\": %.1f", which[i].name,
               x->latency[(size_t)(which[i].share * (double)(x->latencies - 1))] / 10.0);
}

void clock_stop(struct run *x, double t, const char *more)
{
    long tasks = x->done - x->start_done;
    double seconds = t - x->start, cpu = (cpu_seconds() - x->cpu) * 1e6;
    x->end = t;
    printf("END {\"tasks\": %ld, \"seconds\": %.6f, \"rate\": %.1f, \"own_cpu_us\": %.3f", tasks,
           seconds, (double)tasks / seconds, tasks ? cpu / (double)tasks : 0);
    percentiles_say(x);
    printf("%s%s}\n", more ? ", " : "", more ? more : "");
    fflush(stdout);
}

void clock_look(struct run *x, double t)
{
    const struct options *o = x->o;
    if (x->start == 0 && x->done >= o->warm) clock_start(x, t);
    if (x->start == 0 || x->end > 0) return;
    if (o->count ? x->done == o->count : t - x->start >= o->seconds) clock_stop(x, t, NULL);
}

void latency_note(struct run *x, double seconds)
{
    if (x->start == 0 || x->end > 0) return;
    if (x->latencies == x->latencies_cap) {
        x->latencies_cap = x->latencies_cap ? x->latencies_cap * 2 : 1 << 16;
        x->latency = realloc(x->latency, x->latencies_cap * sizeof *x->latency);
        if (!x->latency) die("out of memory");
    }
    x->latency[x->latencies++] = (uint32_t)(seconds * 1e7);
}
