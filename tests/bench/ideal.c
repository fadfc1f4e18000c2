/* ideal.c - the talk's list by one function in forked processes that take the next number from
 * shared memory: what the machine can do. It says START and END as the producers do. */
#include "../../tasks/is_prime.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIST_MAX 4096

struct job {
    int64_t number[LIST_MAX];
    bool prime[LIST_MAX];
    size_t n;
    atomic_size_t next;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void work(struct job *j)
{
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n;)
        j->prime[i] = is_prime(j->number[i]);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: bench-ideal LIST REPEAT PROCESSES\n", stderr);
        return 2;
    }
    struct job *j =
        mmap(NULL, sizeof *j, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *f = fopen(argv[1], "r");
    if (j == MAP_FAILED || !f) return 1;
    while (j->n < LIST_MAX && fscanf(f, "%" SCNd64, &j->number[j->n]) == 1) j->n++;
    fclose(f);
    size_t once = j->n, repeat = (size_t)atol(argv[2]);
    if (once == 0 || once * repeat > LIST_MAX) return 1;
    for (; j->n < once * repeat; j->n++) j->number[j->n] = j->number[j->n - once];
    puts("START");
    fflush(stdout);
    double start = now();
    int processes = atoi(argv[3]);
    for (int i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0) return 1;
        if (pid > 0) continue;
        work(j);
        _exit(0);
    }
    size_t primes = 0;
    while (wait(NULL) > 0) continue;
    double seconds = now() - start;
    for (size_t i = 0; i < j->n; i++) primes += j->prime[i];
    printf("END {\"tasks\": %zu, \"seconds\": %.6f, \"rate\": %.1f, \"primes\": %zu}\n", j->n,
           seconds, (double)j->n / seconds, primes);
    puts("DONE {}");
    return 0;
}
