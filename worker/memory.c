/* memory.c - the memory of the messages that this worker holds. A count alone does not bound it: a
 * thousand messages may be a megabyte or four gigabytes.
 *
 * A body counts twice, since it is copied on its way to a child, back to its queue or to the dead
 * letters. At the ceiling the worker takes nothing more. What comes all the same, because the
 * broker had sent it, goes back, the newest first. A message that is larger than the ceiling runs
 * alone. */
#include "worker/worker.h"

#define MEAN_OF 20 /* messages */

static size_t weight(const struct envelope *m)
{
    size_t spooled = m->spool >= 0 && m->spool_error ? (size_t)m->body_size : 0;
    return sizeof(struct request) + m->props.n + 2 * m->body.n + spooled;
}

void memory_take(struct worker *w, const struct envelope *m)
{
    double n = (double)weight(m);
    w->held_bytes += weight(m);
    w->mean_bytes += (n - w->mean_bytes) / (w->mean_bytes > 0 ? MEAN_OF : 1);
}

void memory_leave(struct worker *w, const struct envelope *m)
{
    w->held_bytes -= weight(m);
}

static size_t all(const struct worker *w)
{
    size_t n = 0;
    for (int i = 0; i < REQUEST_STATES; i++) n += w->count[i];
    return n;
}

bool memory_full(const struct worker *w)
{
    return w->held_bytes >= w->options->held_memory && all(w) > 0;
}

unsigned memory_fits(const struct worker *w)
{
    uint64_t most = w->options->held_memory;
    double room = most > w->held_bytes ? (double)(most - w->held_bytes) : 0;
    double fits = w->mean_bytes > 0 ? room / w->mean_bytes : room;
    if (fits < 1 && all(w) == 0) fits = 1;
    return fits < UINT16_MAX ? (unsigned)fits : UINT16_MAX;
}

/* The newest that has not begun. */
static struct request *newest(const struct worker *w)
{
    static const enum request_state unbegun[] = {REQUEST_WAITING, REQUEST_READY, REQUEST_BURIAL};
    struct request *found = NULL, *r;
    for (size_t i = 0; i < sizeof unbegun / sizeof unbegun[0]; i++)
        list_each(r, &w->requests[unbegun[i]], struct request, link)
            if (!request_is_acked(r) && (!found || r->arrived >= found->arrived)) found = r;
    return found;
}

void memory_relieve(struct worker *w)
{
    unsigned more;
    struct request *r;
    if (memory_fits(w) > 0) return;
    if (throttle_pass(&w->refusals, "memory", w->now, &more))
        log_warn("%zu messages take %zu MiB of memory, and --held-memory allows %zu: no more are "
                 "taken until there is room",
                 all(w), w->held_bytes >> 20, (size_t)(w->options->held_memory >> 20));
    if (w->held_bytes <= w->options->held_memory || all(w) < 2) return;
    /* First the consumers end, or the messages would come here again. */
    for (size_t i = 0; i < w->source_count; i++) window_end(w, &w->sources[i], 0, true);
    while (w->held_bytes > w->options->held_memory && all(w) > 1 && (r = newest(w)))
        request_give_back(w, r);
}
