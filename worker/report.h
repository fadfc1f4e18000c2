/* report.h - what the log says of a task: its id and name, and how its run ended. */
#ifndef WORKER_REPORT_H
#define WORKER_REPORT_H

#include "wire/child.h"
#include "worker/request.h"

/* For printf: log_warn(TASK_FMT ": why", TASK_ARG(r)). */
#define TASK_FMT "task id=%.*s %.*s"
#define TASK_ARG(r) BYTES_ARG((r)->id), BYTES_ARG(report_name(r))

/* The name of r's task, as this worker or the message has it; at most 128 bytes. */
struct bytes report_name(const struct request *r);

#define RUN_WORDS 80
/* " (attempt 2, 0.034 s)". Returns out. */
const char *report_run(const struct request *r, const struct done *d, char out[RUN_WORDS]);
/* Logs one line a run, at INFO if something failed in it. For what becomes a dead letter or did not
 * run there is one already. */
void report_outcome(const struct request *r, const struct done *d);

#endif
