/* after.h - what follows from the end of a call: one DONE frame with the result and, for a retry,
 * the next copy of the message. Private to this room. */
#ifndef TASK_AFTER_H
#define TASK_AFTER_H

#include "task/call.h"
#include "wire/outcome.h"

/* Appends the frame of a call that has ended. False only when out of memory. */
bool after_call(struct ctask_call *t, struct buf *out);
/* Whether it is tried again: a failure that its table entry has tried again by itself becomes a
 * retry, a retry that is one too many the failure it is. */
void after_tries(struct ctask_call *t);
/* Appends the result message of m, if its sender wants one. False when it cannot be written. */
bool after_result(struct buf *posted, const struct message *m, const struct outcome *o);
/* Why the value of t cannot be a result. */
void after_unfit(const struct ctask_call *t, struct fault *f);

#endif
