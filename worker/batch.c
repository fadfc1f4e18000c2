/* batch.c - see batch.h. */
#include "worker/batch.h"

#include <sched.h>

void batch_set(bool batch)
{
    static int chosen = -1;
    const struct sched_param none = {0};
    if (chosen < 0) chosen = sched_getscheduler(0);
    if (chosen == SCHED_OTHER) sched_setscheduler(0, batch ? SCHED_BATCH : SCHED_OTHER, &none);
}
