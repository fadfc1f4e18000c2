/* talk.c - the talk's measurement on this machine: its list of numbers through is_prime, in a loop,
 * in threads, in processes, and as ctask tasks on workers that already run. Each way is measured
 * three times and its best time counts; each must give the loop's answers. The threads and
 * processes take the next number when they are free, as workers do. */
#include "../tasks/is_prime.h"

#include <ctask.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, RUNS = 3, MOST_CORES = 256 };

/* Shared with the processes, so all of it lives in one shared mapping. */
struct job {
    atomic_size_t next;
    size_t n, cores;
    int64_t number[MOST];
    bool prime[MOST];
};

static void work(struct job *j)
{
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n;)
        j->prime[i] = is_prime(j->number[i]);
}

static bool run_loop(struct job *j)
{
    work(j);
    return true;
}

static void *thread_work(void *j)
{
    work(j);
    return NULL;
}

static bool run_threads(struct job *j)
{
    pthread_t thread[MOST_CORES];
    size_t started = 0;
    while (started < j->cores && pthread_create(&thread[started], NULL, thread_work, j) == 0)
        started++;
    for (size_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
    return started == j->cores;
}

static bool run_processes(struct job *j)
{
    size_t started = 0;
    pid_t pid = 0;
    fflush(NULL);
    while (started < j->cores && (pid = fork()) > 0) started++;
    if (pid == 0) {
        work(j);
        _exit(0);
    }
    while (wait(NULL) > 0) continue;
    return started == j->cores;
}

static bool run_ctask(struct job *j)
{
    int rc = task_map(120.0, "is_prime", j->number, j->prime, j->n);
    if (rc != CTASK_OK) fprintf(stderr, "talk: ctask: %s\n", ctask_error()->text);
    return rc == CTASK_OK;
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The best of three times in seconds; negative when it failed or answered wrongly. */
static double measure(bool (*run)(struct job *), struct job *j, const bool *right)
{
    double best = -1;
    for (int i = 0; i < RUNS; i++) {
        atomic_store(&j->next, 0);
        memset(j->prime, 0, sizeof j->prime);
        double start = now_seconds();
        if (!run(j)) return -1;
        double took = now_seconds() - start;
        if (right && memcmp(j->prime, right, j->n * sizeof *right) != 0) {
            fprintf(stderr, "talk: the answers differ from the loop's\n");
            return -1;
        }
        if (best < 0 || took < best) best = took;
    }
    return best;
}

static bool read_numbers(struct job *j, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) return false;
    while (j->n < MOST && fscanf(f, "%" SCNd64, &j->number[j->n]) == 1) j->n++;
    fclose(f);
    return j->n > 0;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "producer/prime_list.txt";
    struct job *j =
        mmap(NULL, sizeof *j, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (j == MAP_FAILED || !read_numbers(j, path)) {
        fprintf(stderr, "talk: no numbers in %s; name a file with one a line\n", path);
        return 2;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    j->cores = cores < 1 ? 1 : cores > MOST_CORES ? MOST_CORES : (size_t)cores;

    static const struct {
        const char *name;
        bool (*run)(struct job *);
    } ways[] = {{"a loop", run_loop},
                {"pthreads", run_threads},
                {"fork", run_processes},
                {"ctask on RabbitMQ", run_ctask}};
    static bool right[MOST];
    double loop = 0;
    int status = 0;
    printf("%zu numbers, %zu cores, minimum of %d runs\n\n", j->n, j->cores, RUNS);
    printf("%-18s %8s %9s\n", "", "seconds", "speed-up");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        double best = measure(ways[i].run, j, i ? right : NULL);
        if (i == 0) {
            loop = best;
            memcpy(right, j->prime, sizeof right);
        }
        if (best < 0) status = 1;
        if (best < 0)
            printf("%-18s %8s %9s\n", ways[i].name, "failed", "");
        else
            printf("%-18s %8.3f %9.2f\n", ways[i].name, best, loop / best);
    }
    return status;
}
