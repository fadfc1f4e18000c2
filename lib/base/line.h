/* line.h - a two-way stream of bytes between a process and the child that it is about to fork.
 *
 * The bytes are in memory that both share, so passing them costs no system call; a socket beside it
 * wakes whoever has said that it sleeps, and tells when the other is gone. What was put on a line
 * can be read after its writer died. Neither side trusts the other: indexes are checked, and what
 * is read is copied out before anybody looks at it.
 *
 * One thread reads and one writes at a time on each side. Who will sleep calls line_listen first
 * and line_awake afterwards: what comes between the two rings the bell.
 *
 * A line also carries a count of what the child has begun of that which its parent asked for, so
 * that the parent knows, also after the child's death, what it may give to another. line_halt stops
 * the count. */
#ifndef BASE_LINE_H
#define BASE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_SIZE 32768u /* bytes that each way holds; a power of two */

struct ring;
struct line_shared;

struct line {
    struct line_shared *shared;
    bool owner; /* the parent's end: it unmaps the memory */
    struct ring *in, *out;
    /* Bytes so far, modulo 2^32; our own, whatever the other writes there. */
    uint32_t read, written;
    int bell; /* to be polled for POLLIN */
};

/* Makes both ends. False with errno, and both are closed. */
bool line_pair(struct line *parents, struct line *childs);
/* The parent's end after the fork: no later child inherits the memory. */
void line_keep(struct line *l);
/* The parent's end is closed last. */
void line_close(struct line *l);

/* Puts as much of n bytes on the line as there is room for; returns how many. */
size_t line_put(struct line *l, const void *p, size_t n);
/* Takes up to n bytes off it. -1: the other has overwritten its index. */
long line_get(struct line *l, void *p, size_t n);
/* True if there is something to get. */
bool line_has(const struct line *l);

/* From now on the bell rings when there is something to get, or when there is room again, as asked
 * for. True if that is so already: do not sleep. */
bool line_listen(struct line *l, bool data, bool room);
void line_awake(struct line *l);
/* Takes what the bell has. 1: done, also if it had not rung; 0: the other has closed its end; -1
 * with errno; EPROTO: that was no bell of ours. wait: blocks until it rings. */
int line_hush(struct line *l, bool wait);
/* line_listen, poll and line_hush: sleeps until the bell rings, perhaps for nothing. False when the
 * other has closed its end. */
bool line_wait(struct line *l, bool data, bool room);

/* The child's: counts one more as begun. False after line_halt. */
bool line_begin(struct line *l);
/* The child's: what it had read before is dropped (CHILD_RESUME), so it may begin again. */
void line_resume(struct line *l);
/* How many are begun, also after the child's death. */
uint32_t line_begun(const struct line *l);
/* When the last of them was begun, by clock_now. The child writes it, and may lie. */
int64_t line_begun_at(const struct line *l);
/* Either side's: as line_begun, and no more are begun until as many line_resume. */
uint32_t line_halt(struct line *l);

#endif
