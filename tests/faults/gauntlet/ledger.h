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
    WHAT_START = 1,  /* a task: begins its run number `attempt` */
    WHAT_END,        /* a task: is about to return or to fail */
    WHAT_SEND,       /* a producer, or a task: will send this id now */
    WHAT_REFUSED,    /* the send failed: code, type; took */
    WHAT_SENT,       /* the send was taken by the client; took */
    WHAT_ACCEPTED,   /* the broker has confirmed all ids of this producer that did not fail so far,
                        but for those of maps, which wait in the client for company */
    WHAT_SUCCESS,    /* its handle ended well: value, flagged */
    WHAT_FAILURE,    /* its handle ended: code, type, flagged */
    WHAT_UNANSWERED, /* its handle did not end before the producer gave up */
    WHAT_DEAD,       /* it lay in <queue>.dead at the end: type is the reason */
    WHAT_RETRY,      /* a task: is about to ask to run again, after `wait` */
};

enum kind {
    KIND_NOOP,
    KIND_SLEEP,
    KIND_SEGV,
    KIND_ABORT,
    KIND_RETRY,  /* asks to run again, `took` later, once or twice (retries_of) */
    KIND_FAIL,   /* fails with FAILURE_TYPE */
    KIND_FOLLOW, /* sends another task before it returns */
};

enum lane { LANE_PLAIN, LANE_COUNTDOWN, LANE_MAP, LANE_FOLLOWS, LANE_LEASED };

#define FAILURE_TYPE "ValueError"

struct record {
    uint64_t id;    /* see below */
    int64_t at;     /* nanoseconds */
    uint32_t pid;   /* who writes this */
    uint32_t group; /* what a task writes: the worker; else the producer's number */
    int32_t code;   /* CTASK_E... */
    uint32_t took;  /* microseconds; START, SEND: how long the task is to take */
    uint32_t value; /* SUCCESS: what the task returned */
    uint32_t wait;  /* milliseconds; SEND: its countdown; RETRY: what it asked for */
    uint8_t what, kind, lane;
    uint8_t flagged;   /* the task was told that it may have run before; or its caller was */
    uint8_t no_result; /* SEND: nobody will ask */
    uint8_t attempt;   /* what a task writes: its retries so far */
    char type[18];     /* of the failure, as much as fits */
};
_Static_assert(sizeof(struct record) == 64, "a page holds whole records: no kill cuts one in two");

/* An id: how often it was sent before, under other ids, in the lowest 16 bits; then 24 of the
 * number of the task. Above them 20 tell the tasks apart that runs of the same task have sent: a
 * task that runs twice sends two. */
#define ID_NUMBER_SHIFT 16
#define ID_SENDER_SHIFT 40
#define ID_SENDER_MASK 0xfffff

/* Even, and the same for the same number (splitmix64). */
static inline uint64_t ledger_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* What a task returns: no other task's. ledger.py has it too. */
static inline uint32_t value_of(uint64_t id)
{
    return (uint32_t)ledger_mix(id);
}

/* How often a task of KIND_RETRY asks to run again. */
static inline int64_t retries_of(uint64_t id)
{
    return 1 + (int64_t)(id >> ID_NUMBER_SHIFT) % 2;
}

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
