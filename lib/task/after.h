/* after.h - what follows from the end of a call: one DONE frame with the result and, for a retry,
 * the next copy of the message. Private to this room. */
#ifndef TASK_AFTER_H
#define TASK_AFTER_H

#include "task/call.h"

/* Appends the frame of a call that has ended. False only when out of memory. */
bool after_call(struct ctask_call *t, struct buf *out);

#endif
