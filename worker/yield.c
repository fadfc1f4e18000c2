/* yield.c - see yield.h. */
#include "worker/yield.h"

#include <sched.h>

void yield_to_others(bool yields)
{
    const struct sched_param none = {0};
    int is = sched_getscheduler(0);
    if (is == SCHED_OTHER || is == SCHED_BATCH)
        sched_setscheduler(0, yields ? SCHED_BATCH : SCHED_OTHER, &none);
}
