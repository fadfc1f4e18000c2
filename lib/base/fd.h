/* fd.h - file descriptors. Everything made here is close-on-exec. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>

/* Two connected stream sockets. 0 or -1 with errno. */
int fd_pair(int out[2]);
/* Switches O_NONBLOCK, which all holders of the open file share. 0 or -1 with errno. */
int fd_nonblock(int fd, bool on);
/* Moves fd to 100 or above, which loops over descriptors seldom reach; lower if there is no room.
 * Returns the new descriptor; -1 with errno, also for a bad fd. */
int fd_lift(int fd);
/* Moves fd away from 0, 1 and 2: a program that has closed these may still read and write them.
 * Returns the new descriptor; -1 with errno and fd closed, also for fd -1. */
int fd_above_standard(int fd);
/* Writes all of n bytes to a blocking descriptor without SIGPIPE. 0 or -1 with errno. */
int fd_write_all(int fd, const void *p, size_t n);
/* Reads exactly n bytes from a blocking one. 1; 0 at a clean end before the first byte; -1 with
 * errno, ECONNRESET for an end in the middle. */
int fd_read_all(int fd, void *p, size_t n);
/* An unlinked, empty, unnamed file in $TMPDIR or /tmp. The descriptor or -1 with errno. */
int fd_spool(void);
/* The same in memory, for want of a disk. */
int fd_memory(void);

#endif
