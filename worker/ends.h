/* ends.h - what ties a child to its parent, made before the fork.
 *
 * line: frames, both ways (wire/child.h). output: what the child and its own children write to
 * stdout and stderr. life: never written to; when the parent is gone, however it went, the kernel
 * kills the child's process group for it. None of the parent's ends blocks it. */
#ifndef WORKER_ENDS_H
#define WORKER_ENDS_H

#include "base/line.h"

struct ends {
    struct line line;
    int output, life;
};

/* Makes the two sides of all of it. False with errno, and nothing is open. */
bool ends_open(struct ends *parents, struct ends *childs);
void ends_close(struct ends *e);
/* In the child, the leader of its group: makes its side its own, out of the reach of those who
 * close or write to small numbers, and closes every other descriptor but stdin. False if it
 * cannot. */
bool ends_settle(struct ends *childs);

#endif
