/* report.c - see report.h. */
#include "worker/report.h"

#include "base/log.h"
#include "wire/starmap.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_SHOWN 128

struct bytes report_name(const struct request *r)
{
    struct message m = message_peek(r->m->props);
    struct bytes name = r->task                ? bytes_text(r->task->name)
                        : starmap_itemized(&m) ? m.item_task
                                               : m.task;
    if (name.n == 0) name = bytes_text("without a name");
    return bytes_of(name.p, name.n < NAME_SHOWN ? name.n : NAME_SHOWN);
}

const char *report_run(const struct request *r, const struct done *d, char out[RUN_WORDS])
{
    struct message m = message_peek(r->m->props);
    snprintf(out, RUN_WORDS, " (attempt %" PRId64 ", %.6f s)", m.retries + m.attempt + 1,
             d->runtime);
    return out;
}

static const char *outcome_words(const struct done *d)
{
    bool fault = d->fault.type[0] != 0;
    switch (d->state) {
    case DONE_SUCCESS: return fault ? "failed in part" : "succeeded";
    case DONE_RETRY: return fault ? "failed and runs again" : "runs again";
    case DONE_FAILURE:
    case DONE_DEAD: break;
    }
    return "failed";
}

void report_outcome(const struct request *r, const struct done *d)
{
    bool fault = d->fault.type[0] != 0;
    enum log_level level = fault || d->state == DONE_FAILURE ? LOG_INFO : LOG_DEBUG;
    char run[RUN_WORDS];
    if (r->burial || d->state == DONE_DEAD || !log_on(level)) return;
    log_at(level, TASK_FMT " %s%s%s%s%s%s", TASK_ARG(r), outcome_words(d), fault ? ": " : "",
           d->fault.type, fault ? ": " : "", d->fault.text, report_run(r, d, run));
}
