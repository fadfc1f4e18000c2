/* maps.c - tasks for messages of many items, for the tests; never installed. */
#include <ctask/task.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int64_t same(int64_t n)
{
    return n;
}
CTASK_FN(int64_t, same, (int64_t, n));

/* Crashes, or tells whether it may have been started before. */
static ctask_outcome fragile(struct ctask_call *t)
{
    bool crash;
    if (!task_args(t, &crash)) return ctask_failed(t);
    if (crash) raise(SIGSEGV);
    return task_return_bool(t, ctask_call_redelivered(t));
}

/* Makes a file and never ends; the second time it does at once. */
static ctask_outcome second(struct ctask_call *t)
{
    const char *path;
    if (!task_args(t, &path)) return ctask_failed(t);
    if (ctask_call_redelivered(t)) return task_return(t, ctask_call_id(t));
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (;;) pause();
}

/* Makes a file and works until it is asked to end; without a name it is done at once. */
static ctask_outcome patient(struct ctask_call *t)
{
    const char *path;
    if (!task_args(t, &path)) return ctask_failed(t);
    if (!path || !*path) return task_return(t, "done");
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    while (!task_cancelled(t)) usleep(1000);
    return task_return(t, "asked");
}

CTASK_APP(maps, {TASK_AS("maps.same", same)},
          {TASK_CALL_AS("maps.fragile", fragile), .params = "crash"},
          {TASK_CALL_AS("maps.second", second), .params = "path"},
          {TASK_CALL_AS("maps.patient", patient), .params = "path"});
