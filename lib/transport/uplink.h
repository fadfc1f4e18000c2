/* uplink.h - what a pool child says to its parent: whole frames of wire/child.h up its line. */
#ifndef TRANSPORT_UPLINK_H
#define TRANSPORT_UPLINK_H

#include "base/buf.h"
#include "base/line.h"

/* The nonce of the frames that this process sends from now on. */
void uplink_stamp(uint64_t nonce);
/* Writes frames up, whole and together also when threads of a task write at once. Waits for room;
 * false when the parent is gone meanwhile, and in a process that the task has forked. */
bool uplink_send(struct line *l, struct buf *frames);

#endif
