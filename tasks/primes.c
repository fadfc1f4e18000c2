/* primes.c - the app of the talk: ctask-worker -A primes. */
#include "is_prime.h"

#include <ctask/task.h>

CTASK_FN(bool, is_prime, (int64_t, n));

CTASK_APP(primes, {TASK(is_prime), .hard_limit = 60, .help = "is n prime?"});
