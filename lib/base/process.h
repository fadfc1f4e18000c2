/* process.h - what belongs to this process and to none that is forked from it. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/* getpid() without a system call. */
pid_t process_id(void);

/* n zeroed bytes for the life of the process; a forked child, made by whatever call, finds them
 * zeroed again. NULL where the kernel cannot do that (before Linux 4.14). */
void *process_memory(size_t n);

#endif
