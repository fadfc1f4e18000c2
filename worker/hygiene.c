/* hygiene.c - see hygiene.h. */
#include "worker/hygiene.h"

#include "base/clock.h"
#include "worker/memstate.h"
#include "worker/procstate.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>

#define SHORT (2 * CLOCK_MS)       /* from one task's end to the next one's: no look of its own */
#define UNSEEN_MAX (10 * CLOCK_MS) /* of short tasks, from one look to the next */
#define UNSEEN_RARE_MAX (100 * CLOCK_MS) /* the same for what seldom changes */
#define FIRST_RUNS 4 /* of a task, each followed by a look: most changes are made at once */
#define KNOWN 256
#define ORPHANS_MAX 1000 /* whose exits are taken over at a time */

/* True for the first runs of t. Two tasks that share a place make each other new again. */
static bool is_new(const struct ctask_task *t)
{
    static struct {
        const struct ctask_task *task;
        unsigned runs;
    } known[KNOWN];
    size_t i = (uintptr_t)t / 16 % KNOWN;
    if (!t) return false;
    if (known[i].task != t) {
        known[i].task = t;
        known[i].runs = 0;
    }
    if (known[i].runs == FIRST_RUNS) return false;
    known[i].runs++;
    return true;
}

static const char *look(void)
{
    for (int i = 0; i < ORPHANS_MAX && waitpid(-1, NULL, WNOHANG) > 0; i++) continue;
    const char *misdeed = procstate_stop_timers();
    if (!misdeed) misdeed = memstate_changed(true);
    if (!misdeed) misdeed = procstate_changed();
    return misdeed || !procstate_is_worn() ? misdeed : "has used a tenth of --rlimit=cpu";
}

void hygiene_note(void)
{
    memstate_note();
    procstate_note();
}

/* before: how many tasks before the last one may have made the change. */
static bool tell(const char *misdeed, unsigned before, char *why, size_t size)
{
    if (misdeed && before > 0)
        snprintf(why, size, "%s (it, or one of the %u tasks before it)", misdeed, before);
    else if (misdeed)
        snprintf(why, size, "%s", misdeed);
    return !misdeed;
}

bool hygiene_is_kept(const struct ctask_task *t, char *why, size_t size)
{
    static unsigned unseen, unseen_rare; /* tasks that ran since the last look */
    static int64_t ended, looked, looked_rare;
    int64_t now = clock_now(), took = now - ended;
    ended = now;
    unseen++;
    unseen_rare++;
    bool first = is_new(t);
    if (!first && took < SHORT && now - looked < UNSEEN_MAX)
        return tell(memstate_changed(false), 0, why, size);
    bool kept = tell(look(), unseen - 1, why, size);
    unseen = 0;
    looked = now;
    if (!kept || (!first && now - looked_rare < UNSEEN_RARE_MAX)) return kept;
    kept = tell(procstate_changed_rare(), unseen_rare - 1, why, size);
    unseen_rare = 0;
    looked_rare = now;
    return kept;
}
