/* handles.c - a window of handles, one outstanding, and very many of them. */
#include "producer.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 256 /* sends that leave together */

/* ---- A window -------------------------------------------------------------------------------- */

static bool may_send(const struct run *x)
{
    if (x->end > 0 || x->sent - x->done >= x->o->window) return false;
    return !x->o->count || x->sent < x->o->count;
}

static void send_some(struct run *x, struct ctask_result **ring)
{
    if (!may_send(x)) return;
    ctask_cork(x->c);
    for (int i = 0; i < BATCH && may_send(x); i++, x->sent++)
        ring[x->sent % x->o->window] = ctask_delay(x->c, CALL(x, x->sent));
    if (ctask_uncork(x->c) != CTASK_OK) die_of(ctask_error());
}

/* The oldest one, and those after it that are there already. */
static void take_some(struct run *x, struct ctask_result **ring)
{
    if (x->sent == x->done) return;
    do {
        struct ctask_result *r = ring[x->done % x->o->window];
        check(x, x->done, r);
        ctask_result_forget(r);
        x->done++;
    } while (x->done < x->sent && ctask_result_ready(ring[x->done % x->o->window]));
}

void run_handles(struct run *x)
{
    struct ctask_result **ring = calloc((size_t)x->o->window, sizeof(struct ctask_result *));
    if (!ring) die("out of memory");
    do {
        clock_look(x, now());
        while (may_send(x)) send_some(x, ring);
        take_some(x, ring);
    } while (x->end == 0 || x->done < x->sent);
    free(ring);
}

void run_alone(struct run *x)
{
    for (double t = now(); x->end == 0; clock_look(x, t)) {
        struct ctask_result *r = ctask_delay(x->c, CALL(x, x->sent));
        x->sent++;
        check(x, x->sent - 1, r);
        ctask_result_forget(r);
        double then = now();
        x->done++;
        latency_note(x, then - t);
        t = then;
    }
}

/* ---- Very many ------------------------------------------------------------------------------- */

static double resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1) die("no /proc/self/statm");
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd);
}

/* In an order that has nothing to do with that of their sending. */
static void shuffle(long *order, long n)
{
    uint64_t seed = 88172645463325252u;
    for (long i = n - 1; i > 0; i--) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        long j = (long)(seed % (uint64_t)(i + 1)), k = order[i];
        order[i] = order[j];
        order[j] = k;
    }
}

void run_hoard(struct run *x)
{
    long n = x->o->count;
    struct ctask_result **all = malloc((size_t)n * sizeof(struct ctask_result *));
    long *order = malloc((size_t)n * sizeof *order);
    if (!all || !order) die("out of memory");
    memset(all, 0, (size_t)n * sizeof(struct ctask_result *)); /* so that it is resident */
    for (long i = 0; i < n; i++) order[i] = i;
    shuffle(order, n);
    double rss = resident(), heap = in_use(), begun = now();
    while (x->sent < n) {
        ctask_cork(x->c);
        for (int i = 0; i < BATCH && x->sent < n; i++, x->sent++)
            all[x->sent] = ctask_delay(x->c, CALL(x, x->sent));
        if (ctask_uncork(x->c) != CTASK_OK) die_of(ctask_error());
    }
    if (ctask_flush(x->c, -1) != 0) die_of(ctask_error());
    printf("SENT {\"handles\": %ld, \"seconds\": %.3f, \"heap_bytes_each\": %.1f, "
           "\"rss_bytes_each\": %.1f}\n",
           n, now() - begun, (in_use() - heap) / (double)n, (resident() - rss) / (double)n);
    fflush(stdout);
    while (getchar() != '\n') continue;
    clock_start(x, now());
    for (; x->done < n; x->done++) {
        check(x, order[x->done], all[order[x->done]]);
        ctask_result_forget(all[order[x->done]]);
    }
    clock_stop(x, now(), NULL);
    free(all);
    free(order);
}

/* ---- Sent, and nobody waits ------------------------------------------------------------------ */

void run_send(struct run *x)
{
    const struct ctask_options *o = TASK_OPTIONS(.no_result = x->o->no_result);
    clock_start(x, now());
    while (x->sent < x->o->count) {
        ctask_cork(x->c);
        for (int i = 0; i < BATCH && x->sent < x->o->count; i++, x->sent++)
            ctask_result_forget(ctask_apply(x->c, o, CALL(x, x->sent)));
        if (ctask_uncork(x->c) != CTASK_OK) die_of(ctask_error());
    }
    if (ctask_flush(x->c, -1) != 0) die_of(ctask_error());
    x->done = x->sent;
    clock_stop(x, now(), NULL);
}
