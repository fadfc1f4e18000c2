/* death.c - a child is gone: whose doing was it, and what becomes of its task? A task that ends its
 * process itself (a crash, exit(), junk on its line to us) runs three times in all and is then
 * buried. A SIGKILL that we did not send says nothing about the task, unless the kernel was out of
 * memory: it runs again, within reason. Of a message with many items nobody knows here which one it
 * was: they run again one by one. Nothing here ends a process. */
#include "task/run.h"
#include "wire/starmap.h"
#include "worker/proc.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define CRASHES_MAX 3    /* runs that end by the task's own doing */
#define ATTEMPTS_MAX 100 /* runs that do not end, for whatever reason */

/* ---- Whose doing ----------------------------------------------------------------------------- */

bool death_is_own(const struct child *k)
{
    if (k->offence || !WIFSIGNALED(k->status) || WTERMSIG(k->status) != SIGKILL) return true;
    return k->oom_kills >= 0 && proc_oom_kills() > k->oom_kills;
}

const char *death_words(const struct child *k, char *out, size_t size)
{
    if (k->offence)
        snprintf(out, size, "%s", k->offence);
    else if (WIFSIGNALED(k->status))
        snprintf(out, size, "signal %d (%s)", WTERMSIG(k->status), strsignal(WTERMSIG(k->status)));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(k->status));
    return out;
}

/* ---- What becomes of the task ---------------------------------------------------------------- */

/* A burial costs one child at most: if that one dies too, the result is made here, from the head
 * alone. */
static void bury_here(struct worker *w, struct request *r)
{
    struct buf frame = {0};
    enum child_frame_type type;
    struct bytes payload;
    struct job j = {.queue = bytes_text(r->m->queue),
                    .props = r->m->props,
                    .state = r->burial->state,
                    .fault = r->burial->fault};
    if (!task_bury(&j, &frame) || child_frame_next(buf_bytes(&frame), 0, &type, &payload) != 1 ||
        !finish_done(w, r, payload))
        bug("a burial that cannot be read");
    buf_done(&frame);
}

void death_bury_all(struct worker *w)
{
    struct request *r;
    list_each(r, &w->requests[REQUEST_BURIAL], struct request, link) bury_here(w, r);
}

/* One of many items was too much, the others are not to blame: each is to run alone. */
static void run_one_by_one(struct worker *w, struct request *r, const struct message *m,
                           const struct fault *why)
{
    log_warn(TASK_FMT ": %s: its items run again, one by one", TASK_ARG(r), why->text);
    finish_again(w, r, &(struct copy){.attempt = m->attempt + 1, .crashes = m->crashes + 1});
}

void death_condemned(struct worker *w, struct request *r, const struct fault *why)
{
    struct message m = message_peek(r->m->props);
    if (request_is_orphan(r))
        request_drop(w, r);
    else if (r->burial)
        bury_here(w, r);
    else if (starmap_itemized(&m) && r->task->ack != CTASK_ACK_EARLY)
        run_one_by_one(w, r, &m, why);
    else
        request_bury(w, r, STATE_FAILURE, why);
}

void death_unbegun(struct worker *w, struct request *r)
{
    /* One whose delivery is settled is held by nobody but us: it does not wait here again. */
    bool leaves = w->drain > DRAIN_RUN || request_is_acked(r);
    if (request_is_orphan(r))
        request_drop(w, r);
    else if (leaves && !r->burial)
        request_give_back(w, r);
    else if (r->burial && w->drain >= DRAIN_NOW)
        bury_here(w, r);
    else
        request_move(w, r, r->burial ? REQUEST_BURIAL : REQUEST_READY);
}

static void bury(struct worker *w, const struct child *k, struct request *r, int64_t attempts)
{
    char words[128];
    struct fault why;
    struct death d = {
        .signal = WIFSIGNALED(k->status) ? WTERMSIG(k->status) : 0,
        .status = WIFEXITED(k->status) ? WEXITSTATUS(k->status) : 0,
        .attempts = attempts,
        .peak_kib = k->peak_kib,
    };
    fault_set(&why, "WorkerLostError",
              "the process that ran this task is gone: %s, after %" PRId64
              " attempt%s, peak memory %" PRId64 " KiB",
              death_words(k, words, sizeof words), attempts, attempts == 1 ? "" : "s", k->peak_kib);
    request_bury(w, r, STATE_FAILURE, &why);
    struct burial *b = r->burial;
    b->death = d;
    if (!(b->output = malloc(OUTPUT_TAIL))) abort();
    b->death.output = bytes_text(output_tail(&k->output, b->output));
}

/* The process is not looked at after each short task: an earlier one may be to blame. */
static const char *suspects(const struct child *k)
{
    return k->done > 0 && death_is_own(k) ? ", perhaps by what a short task before it left" : "";
}

void death_conclude(struct worker *w, const struct child *k, struct request *r)
{
    struct message m = message_peek(r->m->props);
    int64_t attempts = m.attempt + 1, crashes = m.crashes + death_is_own(k);
    bool early = r->task && r->task->ack == CTASK_ACK_EARLY, now = w->drain >= DRAIN_NOW;
    if (request_is_orphan(r)) {
        request_drop(w, r);
    } else if (r->burial) {
        bury_here(w, r);
    } else if (now && !early) {
        request_give_back(w, r);
    } else if (early || crashes >= CRASHES_MAX || attempts >= ATTEMPTS_MAX) {
        bury(w, k, r, attempts);
        if (now) bury_here(w, r); /* there will be no child for it */
    } else {
        log_warn(TASK_FMT ": its process is gone %" PRId64 " times%s; it runs again", TASK_ARG(r),
                 attempts, suspects(k));
        finish_again(w, r, &(struct copy){.attempt = attempts, .crashes = crashes});
    }
}
