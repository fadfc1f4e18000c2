/* process.c - see process.h. */
#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

void *process_memory(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (madvise(p, n, MADV_WIPEONFORK) == 0) return p;
    munmap(p, n);
    return NULL;
}

static _Atomic(pid_t) *known; /* 0: not asked yet, as in a child just forked */
static pthread_once_t known_once = PTHREAD_ONCE_INIT;

static void known_make(void)
{
    known = process_memory(sizeof *known);
}

pid_t process_id(void)
{
    pthread_once(&known_once, known_make);
    if (!known) return getpid();
    pid_t id = atomic_load_explicit(known, memory_order_relaxed);
    if (id != 0) return id;
    id = getpid();
    atomic_store_explicit(known, id, memory_order_relaxed);
    return id;
}
