/* memstate.h - what libc and the processor keep for a process in memory and registers: looking at
 * it costs no system call, some 50 ns. */
#ifndef WORKER_MEMSTATE_H
#define WORKER_MEMSTATE_H

#include <stdbool.h>

/* Notes all of it. Once in a process. */
void memstate_note(void);
/* What has changed; NULL: nothing. thorough: sees environment variables that were overwritten in
 * place, too. */
const char *memstate_changed(bool thorough);

#endif
