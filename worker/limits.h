/* limits.h - what a running job may use up.
 *
 * Time: a hard and a soft limit, none by default. A job's deadlines are its start and its limits,
 * nothing is remembered. A job that its child has not begun has no deadline: watch.c takes it back.
 * At the soft one its task is asked to end, at the hard one its child is killed, also if it is
 * stopped: the caller gets TimeLimitExceeded, the message is kept in <queue>.dead and not tried
 * again. A result that is there when the time is over counts. In a message of many items the
 * limits are those of one item, and may fire up to CHUNK_SLICE late (task/chunk.h).
 *
 * Memory: what a child occupies, looked at once a second. Over --max-memory-per-child while its job
 * runs it is killed, which counts as a crash of the task: it runs three times in all. Over it
 * after a job it is replaced. */
#ifndef WORKER_LIMITS_H
#define WORKER_LIMITS_H

#include "wire/message.h"

#include <ctask/task.h>

struct child;
struct worker;

/* The limits of a run of t (or NULL) for this message: each of the message's own, else the task's,
 * else the worker's. */
struct limits limits_of(const struct worker *w, const struct ctask_task *t,
                        const struct message *m);
/* Enforces what is due. */
void limits_turn(struct worker *w);
int64_t limits_next(const struct worker *w);

/* True if k has more memory than --max-memory-per-child; looks at most once a second, and
 * once more at the end of a job during which it looked. */
bool limits_outgrown(const struct worker *w, struct child *k);

#endif
