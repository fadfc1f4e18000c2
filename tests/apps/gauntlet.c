/* gauntlet.c - the gauntlet's tasks: each writes down that it starts and that it ends, and between
 * does what its producer chose. Of use to the gauntlet only: without a ledger its tasks fail. */
#include "../faults/gauntlet/ledger.h"

#include <ctask/task.h>
#include <errno.h>
#include <signal.h>

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

static ctask_outcome run(struct ctask_call *t)
{
    int64_t kind, microseconds;
    if (!task_args(t, &kind, &microseconds)) return ctask_failed(t);
    const char *path = getenv("GAUNTLET_LEDGER");
    if (!path) return task_fail(t, "RuntimeError", "GAUNTLET_LEDGER names no file");
    static int ledger = -1; /* a child's: it begins without any descriptor but its own */
    if (ledger < 0) ledger = ledger_open(path);
    struct record r = {
        .id = strtoull(ctask_call_id(t), NULL, 16),
        .group = (uint32_t)getppid(),
        .what = WHAT_START,
        .kind = (uint8_t)kind,
        .took = (uint32_t)microseconds,
        .flagged = ctask_call_redelivered(t),
    };
    ledger_write(ledger, r);
    switch (kind) {
    case KIND_SLEEP: pause_for((uint32_t)microseconds); break;
    case KIND_SEGV: crash(SIGSEGV); break;
    case KIND_ABORT: crash(SIGABRT); break;
    default: break;
    }
    r.what = WHAT_END;
    ledger_write(ledger, r);
    return task_return(t, microseconds);
}

CTASK_APP(gauntlet, {TASK_CALL_AS("gauntlet.run", run), .params = "kind, microseconds",
                     .help = "one task of the gauntlet"});
