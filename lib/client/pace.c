/* pace.c - how many items go into one message. As many as run for a moment: so that what a message
 * costs is little beside them, and so few that nobody waits for them and all workers get some. What
 * an item takes the replies of ctask's workers say; until then each goes alone, and also later
 * while only workers of Celery answer, which do not say. The size doubles every few messages, since
 * the first items may not be like the others; where it was too bold the worker sends on what is
 * left (task/chunk.h). */
#include "client/map.h"

#define MOMENT 0.005 /* seconds */
#define SIZE_MOST 4096
#define BYTES_MOST 65536.0 /* of a reply */
#define DOUBLED_AFTER 4    /* messages */

static size_t goal(const struct pace *p)
{
    if (p->fixed > 0) return p->fixed;
    if (p->each <= 0) return 1;
    double n = MOMENT / p->each;
    if (n * p->bytes > BYTES_MOST) n = BYTES_MOST / p->bytes;
    return n < 1 ? 1 : n > SIZE_MOST ? SIZE_MOST : (size_t)n;
}

size_t pace_size(const struct pace *p)
{
    size_t most = goal(p);
    return p->fixed > 0 || p->size > most ? most : p->size > 0 ? p->size : 1;
}

static void follow(double *average, double is, size_t n)
{
    if (*average <= 0)
        *average = is;
    else
        *average += (is - *average) / (n > 1 ? 2 : 8);
}

void pace_ran(struct pace *p, size_t n, double seconds, size_t bytes)
{
    if (n == 0 || !(seconds > 0)) return;
    follow(&p->each, seconds / (double)n, n);
    if (bytes > 0) follow(&p->bytes, (double)bytes / (double)n, n);
}

void pace_sent(struct pace *p)
{
    size_t size = pace_size(p);
    if (++p->sent < DOUBLED_AFTER) return;
    p->sent = 0;
    p->size = 2 * size < goal(p) ? 2 * size : goal(p);
}
