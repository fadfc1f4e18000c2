/* timewarp.c - LD_PRELOAD: the clocks of a process, moved by a test while it runs.
 *
 * CTASK_TIMEWARP names a file of three int64_t in host order: nanoseconds that are added to the
 * monotonic clocks (MONOTONIC, BOOTTIME and their kin), and to the wall clock; and where MONOTONIC
 * stands still, 0: it goes on. Children share it.
 * CPU clocks are left alone. What sleeps sleeps in real time: whoever moves a clock wakes the
 * sleeper, and what waits for a point in time inside of the C library (pthread_cond_timedwait)
 * is not moved. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static const volatile int64_t *offsets; /* NULL: none */

__attribute__((constructor)) static void offsets_map(void)
{
    const char *path = getenv("CTASK_TIMEWARP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, 3 * sizeof *offsets, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) offsets = at;
    close(fd);
}

static int64_t offset_of(clockid_t clock)
{
    if (!offsets) return 0;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: return offsets[1];
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME: return offsets[0];
    default: return 0;
    }
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (syscall(SYS_clock_gettime, clock, t) != 0) return -1;
    int64_t still = offsets && clock == CLOCK_MONOTONIC ? offsets[2] : 0;
    int64_t at = still ? still : (int64_t)t->tv_sec * SECOND + t->tv_nsec + offset_of(clock);
    t->tv_sec = at / SECOND;
    t->tv_nsec = at % SECOND;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *out = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}
