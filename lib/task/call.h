/* call.h - one call of a task: what it was given and how it ended. Private to this room; tasks see
 * it through ctask/task.h. */
#ifndef TASK_CALL_H
#define TASK_CALL_H

#include "task/registry.h"
#include "wire/body.h"
#include "wire/child.h"
#include "wire/message.h"

#include <ctask/task.h>

/* How a call ended; the code of a ctask_outcome. */
enum call_end {
    CALL_OPEN,     /* not yet */
    CALL_RETURNED, /* `value` */
    CALL_FAILED,   /* `fault`, by the task's own word */
    CALL_REFUSED,  /* `fault`: the message does not fit the task. It is kept */
    CALL_RETRY,    /* in `delay` seconds, `because` */
};

struct ctask_call {
    const struct registry *registry; /* the tasks of this worker */
    const struct job *job;
    struct line *line; /* up to the parent */
    struct message m;
    char id[256], root_id[256];
    const struct ctask_task *task; /* NULL until it is found */
    struct message_body body;

    enum call_end end;
    json_t *value; /* owned */
    struct fault fault, because;
    double delay, runtime;
    int64_t begun;
};

/* Runs its function from `start` on (clock_now) and returns when it ended. */
int64_t call_run(struct ctask_call *t, int64_t start);
/* Notes how the call ended; a task's last word counts. */
ctask_outcome call_end(struct ctask_call *t, enum call_end end);
/* Frees what the call owns. */
void call_done(struct ctask_call *t);

#endif
