/* allocs.c - counts a program's calls of malloc, calloc and realloc, by LD_PRELOAD.
 *
 * Each process has a place of its own in the file that CTASK_BENCH_ALLOCS names: its pid and its
 * calls so far, two numbers of 64 bits; whoever measures reads them while it runs. A forked child
 * takes the next place. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PLACES 1024

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

struct place {
    _Atomic int64_t pid, calls;
};

static struct place nobody; /* before the file is there, or without one */
static struct place *all, *mine = &nobody;

static void place_take(void)
{
    if (!all) return;
    for (int i = 0; i < PLACES; i++) {
        int64_t free_one = 0;
        if (!atomic_compare_exchange_strong(&all[i].pid, &free_one, getpid())) continue;
        mine = &all[i];
        return;
    }
    mine = &nobody;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CTASK_BENCH_ALLOCS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *p = mmap(NULL, sizeof(struct place) * PLACES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) return;
    all = p;
    place_take();
    pthread_atfork(NULL, NULL, place_take);
}

void *malloc(size_t n)
{
    atomic_fetch_add_explicit(&mine->calls, 1, memory_order_relaxed);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add_explicit(&mine->calls, 1, memory_order_relaxed);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    atomic_fetch_add_explicit(&mine->calls, 1, memory_order_relaxed);
    return __libc_realloc(p, n);
}
