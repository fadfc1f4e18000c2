/* procstate.h - what the kernel keeps for this process: who it is, its limits, signals, timers, and
 * so on. docs/hygiene.md lists all of it. Memory or a connection that a library keeps is none of
 * it. */
#ifndef WORKER_PROCSTATE_H
#define WORKER_PROCSTATE_H

#include <stdbool.h>

/* Notes all of it. Once in a process. */
void procstate_note(void);
/* What of it is not as it was, as "changed the umask"; NULL: nothing. */
const char *procstate_changed(void);
/* The same of what seldom changes or takes long to look at: prctl flags, namespaces, and so on. */
const char *procstate_changed_rare(void);
/* True if over a tenth of the processor time that this process may have (RLIMIT_CPU) is used up. */
bool procstate_is_worn(void);
/* Stops the timers that send signals. "leaves a POSIX timer running" if there was one. */
const char *procstate_stop_timers(void);

#endif
