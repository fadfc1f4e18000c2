/* is_prime.h - the talk's function, in plain C: no framework, nothing to set up. The task
 * (primes.c) and the producer that times it without one (producer/talk.c) share it. It is slow on
 * purpose: it stands for your work. */
#ifndef IS_PRIME_H
#define IS_PRIME_H

#include <stdbool.h>
#include <stdint.h>

static inline bool is_prime(int64_t n)
{
    if (n < 4) return n > 1;
    if (n % 2 == 0) return false;
    for (int64_t d = 3; d <= n / d; d += 2)
        if (n % d == 0) return false;
    return true;
}

#endif
