/* output.h - what a child prints, line by line into the worker's log: with the child's pid and its
 * task, escaped, and no more than a log can bear. A line that begins as sd-daemon(3) has it, with
 * <3> to <7>, is logged at that level, else as INFO: the child's own log comes this way too. The
 * end of it is kept until the next job, for a post-mortem. */
#ifndef WORKER_OUTPUT_H
#define WORKER_OUTPUT_H

#include "base/bytes.h"

#include <sys/types.h>

#define OUTPUT_LINE 1000 /* longer ones are logged in pieces */
#define OUTPUT_TAIL 2048

struct output {
    char line[OUTPUT_LINE], tail[OUTPUT_TAIL];
    size_t line_size, tail_size;
    int64_t since;                             /* of this second: */
    unsigned lines, bytes;                     /* logged */
    unsigned long long dropped, dropped_bytes; /* not logged, and not told yet */
};

struct child;

/* Reads what k has printed, at most `limit` bytes; returns how many of them are left. */
size_t output_read(struct child *k, int64_t now, size_t limit);
/* The job of k is over, or k is: an unfinished line is one too, and what was left out is told. */
void output_end(struct child *k, int64_t now);
/* The end of what k has printed since its job began, as text: UTF-8 in which control characters
 * but newline and tab are escaped, OUTPUT_TAIL bytes at most with the final 0. Returns out. */
char *output_tail(const struct output *o, char out[OUTPUT_TAIL]);

#endif
