/* uplink.c - see uplink.h. Its state is the process's: a child has one job at a time. */
#include "transport/uplink.h"

#include "base/process.h"
#include "wire/child.h"

#include <pthread.h>

static uint64_t stamp;
static pid_t stamped; /* who may speak: not a process that a task has forked */

void uplink_stamp(uint64_t nonce)
{
    stamp = nonce;
    stamped = process_id();
}

/* The parent does not read while too much of a task is unconfirmed. */
static bool line_put_all(struct line *l, struct bytes s)
{
    while (s.n > 0) {
        size_t n = line_put(l, s.p, s.n);
        s = bytes_rest(s, n);
        if (s.n > 0 && !line_wait(l, false, true)) return false;
    }
    return true;
}

bool uplink_send(struct line *l, struct buf *frames)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    if (stamped && process_id() != stamped) return false;
    pthread_mutex_lock(&one_at_a_time);
    child_frames_stamp(frames, stamp);
    bool sent = line_put_all(l, buf_bytes(frames));
    pthread_mutex_unlock(&one_at_a_time);
    return sent;
}
