/* maps.c - many items of one task: a stream, plain arrays, the talk's list. */
#include "producer.h"

#include "../../../tasks/is_prime.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* How maps are sent: as their default is. */
#define MAP_OPTIONS NULL

/* ---- A stream -------------------------------------------------------------------------------- */

static double due_at(const struct run *x, long n)
{
    return x->begun + (double)n / x->o->rate;
}

static bool may_put(const struct run *x)
{
    if (x->end > 0) return false;
    if (x->o->rate > 0 && due_at(x, x->sent) > now()) return false;
    return !x->o->count || x->sent < x->o->count;
}

static void put_some(struct run *x, struct ctask_map *m)
{
    while (may_put(x)) {
        int rc = ctask_map_put(m, argument_of(x, x->sent));
        if (rc == CTASK_EAGAIN) break;
        if (rc != CTASK_OK) die_of(ctask_error());
        x->sent++;
    }
}

/* For an open loop, whose next task may be due in less than a poll can wait. */
static void rest(struct run *x)
{
    struct pollfd p = {.fd = ctask_fd(x->c), .events = POLLIN};
    double wait = due_at(x, x->sent) - now();
    struct timespec t = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
    if (wait > 0) ppoll(&p, 1, &t, NULL);
}

static void item_take(struct run *x, size_t index, struct ctask_result *r)
{
    check(x, (long)index, r);
    x->done++;
    if (x->o->rate > 0) latency_note(x, now() - due_at(x, (long)index));
}

void run_map(struct run *x)
{
    struct ctask_map *m = ctask_map_open(x->c, MAP_OPTIONS, x->o->task, (size_t)x->o->window);
    if (!m) die_of(ctask_error());
    bool open_loop = x->o->rate > 0;
    struct ctask_result *r;
    size_t index;
    x->begun = now();
    do {
        clock_look(x, now());
        put_some(x, m);
        bool paced = open_loop && x->end == 0;
        int rc = ctask_map_next(m, paced ? 0 : 60, &index, &r);
        for (; rc == 1; rc = ctask_map_next(m, 0, &index, &r)) item_take(x, index, r);
        if (rc < 0 && rc != CTASK_ETIMEDOUT && rc != CTASK_EAGAIN) die_of(ctask_error());
        if (paced) rest(x);
    } while (x->end == 0 || x->done < x->sent);
    ctask_map_close(m);
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

static void memory_say(char *out, size_t size)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    snprintf(out, size, "\"max_rss_kib\": %ld", u.ru_maxrss);
}

void run_arrays(struct run *x)
{
    size_t n = (size_t)x->o->count;
    long *in = malloc(n * sizeof *in), *out = calloc(n, sizeof *out);
    char more[64];
    if (!in || !out) die("out of memory");
    for (size_t i = 0; i < n; i++) in[i] = (long)i;
    clock_start(x, now());
    if (ctask_map_arrays(x->c, 600, x->o->task, CTASK_ARRAY(in), CTASK_OUT(out), n) != CTASK_OK)
        die_of(ctask_error());
    x->sent = x->done = (long)n;
    memory_say(more, sizeof more);
    clock_stop(x, now(), more);
    if (memcmp(in, out, n * sizeof *in) != 0) die("a task returned something else than it had to");
    free(in);
    free(out);
}

/* ---- The talk's list ------------------------------------------------------------------------- */

#define LIST_MAX 4096

void run_list(struct run *x)
{
    static int64_t number[LIST_MAX];
    static bool right[LIST_MAX], prime[LIST_MAX];
    size_t n = 0;
    FILE *f = x->o->list ? fopen(x->o->list, "r") : NULL;
    if (!f) die("--list names no file");
    while (n < LIST_MAX && fscanf(f, "%" SCNd64, &number[n]) == 1) n++;
    fclose(f);
    if (n == 0 || n * (size_t)x->o->repeat > LIST_MAX) die("the list is empty or too long");
    for (size_t i = 0; i < n; i++) right[i] = is_prime(number[i]);
    for (size_t i = n; i < n * (size_t)x->o->repeat; i++) {
        number[i] = number[i - n];
        right[i] = right[i - n];
    }
    n *= (size_t)x->o->repeat;
    clock_start(x, now());
    if (ctask_map_arrays(x->c, 600, "is_prime", CTASK_ARRAY(number), CTASK_OUT(prime), n) !=
        CTASK_OK)
        die_of(ctask_error());
    x->sent = x->done = (long)n;
    clock_stop(x, now(), NULL);
    if (memcmp(prime, right, n * sizeof *right) != 0) die("the answers are wrong");
}
