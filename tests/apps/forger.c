/* forger.c - tasks that know how a child speaks to its worker, and lie. For the fault tests; never
 * installed. Unlike the other apps this one sees the library's own headers. */
#include "task/call.h"

#include "base/line.h"
#include "wire/child.h"

#include <ctask/task.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAUSE 100 /* microseconds for the worker to read something */

/* The nonce of the job that runs: it is in the header in front of the job's fields, of which the
 * queue is the second. */
static uint64_t nonce_of(const struct ctask_call *t)
{
    return child_frame_nonce(t->job->queue.p - 4 - 1 - CHILD_HEADER);
}

/* All of it, however long the worker takes to read; ends with the worker. */
static void say(struct ctask_call *t, struct buf *frames, pid_t worker)
{
    child_frames_stamp(frames, nonce_of(t));
    for (struct bytes s = buf_bytes(frames); s.n > 0;) {
        size_t n = line_put(t->line, s.p, s.n);
        s = bytes_rest(s, n);
        if (n > 0) continue;
        if (kill(worker, 0) != 0) _exit(0);
        usleep(PAUSE);
    }
}

/* Says the end of this job with that cost, and does not end. */
static ctask_outcome done(struct ctask_call *t)
{
    double cost;
    bool lives;
    struct buf frame = {0};
    if (!task_args(t, &cost, &lives)) return ctask_failed(t);
    done_write(&frame, &(struct done){.state = DONE_SUCCESS, .cost = cost});
    say(t, &frame, getppid());
    while (lives) pause();
    _exit(0);
}

/* What a child may say once, without end. */
static ctask_outcome flood(struct ctask_call *t)
{
    const char *of;
    struct buf frames = {0};
    if (!task_args(t, &of)) return ctask_failed(t);
    for (int i = 0; i < 1000; i++) {
        if (*of == 'l')
            leave_write(&frames, "is tired");
        else
            bare_frame_write(&frames, CHILD_OUTPUT);
    }
    for (;;) say(t, &frames, getppid());
}

/* Begins more than it is given, and then no other. */
static ctask_outcome ahead(struct ctask_call *t)
{
    for (int i = 0; i < 1000; i++)
        if (!line_begin(t->line)) break;
    line_halt(t->line);
    return task_return_null(t);
}

/* Leaves another process, of a group of its own, that ends this one and goes on to speak for it,
 * and that comes before everybody else where it may: the line is full again before it is read. What
 * it says takes the worker long, and no broker to take it. */
static ctask_outcome refill(struct ctask_call *t)
{
    static const uint8_t no_properties[2];
    pid_t worker = getppid();
    struct buf frames = {0};
    for (int i = 0; i < 100; i++)
        publish_write(&frames, &(struct posted){.kind = POSTED_RESULT,
                                                .routing_key = t->job->queue,
                                                .props = bytes_of(no_properties, 2)});
    pid_t task = getpid();
    if (fork() != 0) {
        for (;;) pause();
    }
    setsid();
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    for (int i = 0;; i++) {
        say(t, &frames, worker);
        if (i == 100) kill(task, SIGABRT);
    }
    return task_return_null(t);
}

CTASK_APP(forger, {TASK_CALL_AS("forger.done", done), .params = "cost, lives"},
          {TASK_CALL_AS("forger.flood", flood), .params = "of"},
          {TASK_CALL_AS("forger.ahead", ahead), .params = ""},
          {TASK_CALL_AS("forger.refill", refill), .params = ""});
