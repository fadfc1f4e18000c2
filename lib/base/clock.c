/* clock.c - see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * CLOCK_SECOND + t.tv_nsec;
}

int64_t clock_now(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_cpu(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

double clock_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int64_t clock_after(int64_t start, double seconds)
{
    if (!(seconds >= 0 && seconds < 100.0 * 365 * 86400)) return CLOCK_NEVER;
    return start + (int64_t)(seconds * 1e9);
}

int64_t clock_in(double seconds)
{
    return clock_after(clock_now(), seconds);
}

int64_t clock_earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

double clock_seconds(int64_t ns)
{
    return (double)ns / (double)CLOCK_SECOND;
}

int clock_poll_ms(int64_t deadline, int64_t now)
{
    if (deadline == CLOCK_NEVER) return -1;
    if (deadline <= now) return 0;
    int64_t ms = (deadline - now - 1) / CLOCK_MS + 1;
    return ms > 60000 ? 60000 : (int)ms;
}
