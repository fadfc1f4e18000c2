/* clock.h - two clocks. Everything that waits uses the monotonic one, in nanoseconds; wall time, in
 * seconds since 1970, appears only in messages and logs. So a wall clock that is set moves nothing
 * that already waits: an eta becomes a deadline once, where it arrives, and waits here for a few
 * seconds at most (longer ones wait in the broker). A suspended machine stops the monotonic clock:
 * its jobs have the time limit that they had, since they did not run either. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER INT64_MAX
#define CLOCK_SECOND INT64_C(1000000000)
#define CLOCK_MS INT64_C(1000000)

int64_t clock_now(void);
double clock_wall(void);
/* What the calling thread has used of a processor. */
int64_t clock_cpu(void);
/* The point in time `seconds` from now: CLOCK_NEVER when negative, NaN or beyond a century. */
int64_t clock_in(double seconds);
/* The same from `start`. */
int64_t clock_after(int64_t start, double seconds);
int64_t clock_earlier(int64_t a, int64_t b);
/* Nanoseconds as seconds. */
double clock_seconds(int64_t ns);
/* What poll(2) takes to sleep until `deadline`, but for a minute at most: -1 for CLOCK_NEVER, 0
 * when it has passed, rounded up so that nobody spins through the last millisecond. */
int clock_poll_ms(int64_t deadline, int64_t now);

#endif
