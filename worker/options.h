/* options.h - the worker's command line. */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "base/log.h"
#include "base/urls.h"
#include "transport/broker.h"
#include "wire/message.h"
#include "worker/rlimits.h"

#include <ctask/task.h>

#define NAMES_MAX 32

/* Exit statuses, also of ctask(1); from sysexits(3) where it has them. */
enum { EXIT_USAGE = 2, EXIT_NO_BROKER = 69, EXIT_REFUSED = 77 };

struct options {
    const char *apps[NAMES_MAX];
    size_t app_count;
    const char *queues[NAMES_MAX];
    size_t queue_count;
    unsigned children;
    const char *node;        /* NULL: made up */
    struct urls *urls;       /* until the process ends */
    const char *broker_file; /* where they were read; NULL or empty: elsewhere */
    enum log_level level;
    unsigned prefetch; /* 0: auto */
    enum queue_type queue_type;
    const char *queue_arguments; /* NULL: none */
    double grace;
    unsigned lease;               /* seconds */
    unsigned max_tasks_per_child; /* 0: no limit */
    uint64_t memory_max;          /* bytes of a child; 0: no limit */
    char memory_offence[80];      /* what one did that has more, in words */
    struct rlimits rlimits;       /* of each child */
    struct limits limits;         /* of tasks that have none of their own */
    uint64_t body_max;
    uint64_t held_memory;
    bool fail_unknown;
    const char *reply_pattern;
};

/* Reads argv, or explains on stderr and exits with EXIT_USAGE. Erases the broker's URL from argv,
 * which everybody on the machine can read, and from the environment, which the children would
 * inherit, and all that they start. */
void options_read(struct options *o, int argc, char **argv);

#endif
