/* yield.c - see yield.h. */
#include "worker/yield.h"

#include <sched.h>

void yield_to_others(bool yields)
{
    static int chosen = -1;
    const struct sched_param none = {0};
    if (chosen < 0) chosen = sched_getscheduler(0);
    if (chosen == SCHED_OTHER) sched_setscheduler(0, yields ? SCHED_BATCH : SCHED_OTHER, &none);
}
