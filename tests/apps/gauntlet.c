/* gauntlet.c - the gauntlet's tasks: each writes down that it starts and that it ends, and between
 * does what its producer chose. Of use to the gauntlet only: without a ledger its tasks fail. */
#include "../faults/gauntlet/ledger.h"

#include <ctask/task.h>
#include <errno.h>
#include <signal.h>

static int ledger = -1; /* a child's: it begins without any descriptor but its own */

static void pause_for(uint32_t microseconds)
{
    struct timespec t = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) continue;
}

/* As the kernel does it: no handler, no unwinding, no core file. */
static void crash(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* Sends a task whose id tells which run of this one has sent it. */
static void follow_up(const struct record *self)
{
    uint64_t run = ledger_mix((uint64_t)ledger_now() ^ self->pid) & ID_SENDER_MASK;
    struct record r = *self;
    char name[17];
    r.id = self->id | (run ? run : 1) << ID_SENDER_SHIFT;
    r.what = WHAT_SEND;
    r.kind = KIND_NOOP;
    r.lane = LANE_FOLLOWS;
    r.no_result = 1;
    snprintf(name, sizeof name, "%016" PRIx64, r.id);
    ledger_write(ledger, r);
    ctask_result_forget(ctask_apply(NULL, TASK_OPTIONS(.id = name, .no_result = true),
                                    "gauntlet.run", (int64_t)r.id, (int64_t)r.kind, (int64_t)0));
}

static ctask_outcome again(struct ctask_call *t, struct record r)
{
    r.what = WHAT_RETRY;
    r.wait = r.took / 1000;
    ledger_write(ledger, r);
    return task_retry(t, (double)r.wait / 1000);
}

static ctask_outcome run(struct ctask_call *t)
{
    int64_t id, kind, microseconds;
    if (!task_args(t, &id, &kind, &microseconds)) return ctask_failed(t);
    const char *path = getenv("GAUNTLET_LEDGER");
    if (!path) return task_fail(t, "RuntimeError", "GAUNTLET_LEDGER names no file");
    if (ledger < 0) ledger = ledger_open(path);
    struct record r = {
        .id = (uint64_t)id,
        .pid = (uint32_t)getpid(),
        .group = (uint32_t)getppid(),
        .what = WHAT_START,
        .kind = (uint8_t)kind,
        .took = (uint32_t)microseconds,
        .flagged = ctask_call_redelivered(t),
        .attempt = (uint8_t)ctask_call_retries(t),
    };
    ledger_write(ledger, r);
    switch (kind) {
    case KIND_SLEEP: pause_for((uint32_t)microseconds); break;
    case KIND_SEGV: crash(SIGSEGV); break;
    case KIND_ABORT: crash(SIGABRT); break;
    case KIND_FOLLOW: follow_up(&r); break;
    case KIND_RETRY:
        if (ctask_call_retries(t) < retries_of(r.id)) return again(t, r);
        break;
    default: break;
    }
    r.what = WHAT_END;
    ledger_write(ledger, r);
    if (kind == KIND_FAIL) return task_fail(t, FAILURE_TYPE, "as it was told to");
    return task_return(t, (int64_t)value_of(r.id));
}

CTASK_APP(gauntlet, {TASK_CALL_AS("gauntlet.run", run), .params = "id, kind, microseconds",
                     .help = "one task of the gauntlet"});
