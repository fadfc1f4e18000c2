/* gearman.c - a job server in C, for comparison: a worker that returns what it got, and a producer.
 * gearmand keeps jobs in memory and confirms nothing.
 *
 *     bench-gearman work PORT
 *     bench-gearman handles PORT WINDOW SECONDS        batches of that many
 *     bench-gearman alone PORT WARM SECONDS */
#include <libgearman/gearman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME "noop"
#define SAMPLES (1 << 20)

static long sent, done;
static uint32_t took[SAMPLES]; /* in steps of 100 ns */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "bench-gearman: %s\n", what);
    exit(1);
}

/* ---- The worker ------------------------------------------------------------------------------ */

static void *noop(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret)
{
    (void)context;
    *size = gearman_job_workload_size(job);
    void *copy = malloc(*size);
    if (copy) memcpy(copy, gearman_job_workload(job), *size);
    *ret = copy ? GEARMAN_SUCCESS : GEARMAN_WORK_FAIL;
    return copy;
}

static void work(in_port_t port)
{
    gearman_worker_st *w = gearman_worker_create(NULL);
    if (!w || gearman_worker_add_server(w, "127.0.0.1", port) != GEARMAN_SUCCESS ||
        gearman_worker_add_function(w, NAME, 0, noop, NULL) != GEARMAN_SUCCESS)
        die("no worker");
    while (gearman_worker_work(w) == GEARMAN_SUCCESS) continue;
}

/* ---- The producer ---------------------------------------------------------------------------- */

static gearman_return_t completed(gearman_task_st *task)
{
    char text[24] = "";
    size_t n = gearman_task_data_size(task);
    if (n >= sizeof text) die("a job returned too much");
    memcpy(text, gearman_task_data(task), n);
    if (strtol(text, NULL, 10) != (long)(intptr_t)gearman_task_context(task))
        die("a job returned something else than it had to");
    done++;
    return GEARMAN_SUCCESS;
}

static void batch(gearman_client_st *c, long n)
{
    char text[24];
    for (long i = 0; i < n; i++, sent++) {
        gearman_return_t ret;
        int size = snprintf(text, sizeof text, "%ld", sent);
        if (!gearman_client_add_task(c, NULL, (void *)(intptr_t)sent, NAME, NULL, text,
                                     (size_t)size, &ret))
            die("a job was not taken");
    }
    if (gearman_client_run_tasks(c) != GEARMAN_SUCCESS || done != sent) die("jobs got lost");
    gearman_client_task_free_all(c);
}

static void one(gearman_client_st *c)
{
    char text[24];
    size_t size;
    gearman_return_t ret;
    int n = snprintf(text, sizeof text, "%ld", sent++);
    char *value = gearman_client_do(c, NAME, NULL, text, (size_t)n, &size, &ret);
    if (ret != GEARMAN_SUCCESS || size != (size_t)n || memcmp(value, text, size) != 0)
        die("a job returned something else than it had to");
    free(value);
    done++;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(long n, double share)
{
    return took[(size_t)(share * (double)(n - 1))] / 10.0;
}

static void produce(in_port_t port, bool alone, long size, double seconds)
{
    gearman_client_st *c = gearman_client_create(NULL);
    if (!c || gearman_client_add_server(c, "127.0.0.1", port) != GEARMAN_SUCCESS) die("no client");
    gearman_client_set_complete_fn(c, completed);
    for (long i = 0; alone && i < size; i++) one(c);
    if (!alone) batch(c, size);
    puts("START");
    fflush(stdout);
    long first = done, samples = 0;
    double start = now(), t = start;
    while (t - start < seconds) {
        double before = t;
        if (alone)
            one(c);
        else
            batch(c, size);
        t = now();
        if (alone && samples < SAMPLES) took[samples++] = (uint32_t)((t - before) * 1e7);
    }
    printf("END {\"tasks\": %ld, \"seconds\": %.6f, \"rate\": %.1f", done - first, t - start,
           (double)(done - first) / (t - start));
    if (alone) {
        qsort(took, (size_t)samples, sizeof *took, by_size);
        printf(", \"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
               "\"max_us\": %.1f",
               percentile(samples, 0.5), percentile(samples, 0.95), percentile(samples, 0.99),
               percentile(samples, 0.999), percentile(samples, 1));
    }
    puts("}\nDONE {}");
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "work") == 0) {
        work((in_port_t)atoi(argv[2]));
    } else if (argc == 5) {
        bool alone = strcmp(argv[1], "alone") == 0;
        produce((in_port_t)atoi(argv[2]), alone, atol(argv[3]), atof(argv[4]));
    } else {
        fputs("usage: bench-gearman work PORT | handles|alone PORT WINDOW|WARM SECONDS\n", stderr);
        return 2;
    }
    return 0;
}
