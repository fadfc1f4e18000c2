/* proc.h - what the kernel says of a process: small files of /proc, read without waiting. */
#ifndef WORKER_PROC_H
#define WORKER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As ps shows it: R, S, D, T (stopped), t (traced), Z. 0 if it cannot be told. */
char proc_state(pid_t pid);
/* True if it is exiting or gone. */
bool proc_is_exiting(pid_t pid);
/* How often this machine has killed for want of memory; -1 if it cannot be told. */
int64_t proc_oom_kills(void);
/* The ids of our children, zombies too, as decimal numbers with spaces between. False if they
 * cannot be told. */
bool proc_children(char *out, size_t size);
/* Bytes of memory that it occupies now; -1 if it cannot be told. */
int64_t proc_rss(pid_t pid);

#endif
