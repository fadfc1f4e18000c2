/* ledger.h - what tasks and producers write down, for check.py to judge.
 *
 * A ledger is a file of records of one size, each appended by one write(2): what a process knew is
 * there up to the moment at which it was killed, and many may write to one file. Times are of
 * CLOCK_MONOTONIC, so all ledgers of a machine share one clock. ledger.py reads this format. */
#ifndef GAUNTLET_LEDGER_H
#define GAUNTLET_LEDGER_H

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum what {
    WHAT_START = 1, /* a task: begins */
    WHAT_END,       /* a task: is about to return */
    WHAT_SEND,      /* a producer: will send this id now */
    WHAT_REFUSED,   /* the send failed: code, type; took */
    WHAT_SENT,      /* the send was taken by the client; took */
    WHAT_ACCEPTED,  /* the broker has confirmed all ids of this producer that did not fail so far */
    WHAT_SUCCESS,   /* its handle ended well */
    WHAT_FAILURE,   /* its handle ended: code, type */
    WHAT_UNANSWERED, /* its handle did not end before the producer gave up */
    WHAT_DEAD,       /* it lay in <queue>.dead at the end: type is the reason */
};

enum kind { KIND_NOOP, KIND_SLEEP, KIND_SEGV, KIND_ABORT };

struct record {
    uint64_t id;    /* number of the task << 16 | how often it was sent before, under other ids */
    int64_t at;     /* nanoseconds */
    uint32_t pid;   /* who writes this */
    uint32_t group; /* START, END: the worker; else the producer's number */
    int32_t code;   /* CTASK_E... */
    uint32_t took;  /* microseconds; START, SEND: how long the task is to take */
    uint8_t what, kind;
    uint8_t flagged;   /* START: the task was told that it may have run before */
    uint8_t no_result; /* SEND: nobody will ask */
    char type[28];     /* of the failure */
};
_Static_assert(sizeof(struct record) == 64, "a page holds whole records: no kill cuts one in two");

static inline int64_t ledger_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int ledger_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) return fd;
    perror(path);
    exit(1);
}

/* Without the ledger nothing can be said any more, so a write that fails ends the process. */
static inline void ledger_write(int fd, struct record r)
{
    r.at = ledger_now();
    r.pid = (uint32_t)getpid();
    if (write(fd, &r, sizeof r) == sizeof r) return;
    perror("ledger");
    abort();
}

#endif
