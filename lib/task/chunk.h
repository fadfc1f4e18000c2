/* chunk.h - runs a message of many items (wire/starmap.h) whose sender wants to hear of each.
 *
 * Items run one after the other and their values go into one reply. Whatever is out of the ordinary
 * makes a message of its own, which takes the ordinary way from there and settles with the job: an
 * item that is to run again, one whose arguments do not fit, so that it can be kept.
 *
 * No item is begun after CHUNK_SLICE: what is left then, or when the worker wants its tasks to end,
 * goes on as messages of its own, of as many items as take a moment, so that a message that turned
 * out to be long is spread among those who are idle. So no item waits for long behind another, and
 * the limits of one item hold for a message of many, later by no more than the slice.
 *
 * A message that has cost its process its life or overran its limit runs no more: each of its
 * items is sent on alone, and only the one that it is due to meets the same end. Many are
 * sent on in parts, each of which is split in its turn, since one job may publish only so much
 * (wire/child.h). Private to this room but for CHUNK_SLICE. */
#ifndef TASK_CHUNK_H
#define TASK_CHUNK_H

#include "task/call.h"

#define CHUNK_SLICE 0.1 /* seconds */

/* True if t's body is as our producers write it: then it is not parsed as a whole. */
bool chunk_is_text(const struct ctask_call *t);
/* Runs t, which is opened, and appends its DONE frame; *ok is false when out of memory. False, and
 * nothing was done, if its body is not such a message: then t was told why. */
bool chunk_run(struct ctask_call *t, struct buf *out, bool *ok);

#endif
