/* produce.c - the producer's half: tasks out, a window of them at a time or at a given rate,
 * results in, each once and by its id.
 *
 * It says START when the clock starts and END with a line of JSON when it stops; then it waits for
 * what is under way, and says DONE if every task was confirmed and had exactly one result. */
#include "bare.h"

#include "confirms.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define IDS_MAX ((uint64_t)1 << 27)
#define TIMES ((uint64_t)1 << 21) /* under way while latency is measured */
#define REPLY_PREFETCH 4000
#define OUT_MOST ((size_t)256 << 10) /* to be sent at a time */

struct producer {
    const struct options *o;
    struct sample sample;
    struct template task;
    struct wire w;
    struct confirms confirms;
    uint8_t *seen; /* a bit for each id */
    int64_t *sent_at;
    uint32_t *latency; /* in steps of 100 ns */
    size_t latencies, latencies_cap;
    uint64_t sent, done, start_done;
    uint64_t reply_tag; /* to be acknowledged; 0: none */
    int64_t first, start, end;
    int64_t cpu; /* at the start */
    uint64_t calls;
};

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- What is said ---------------------------------------------------------------------------- */

static void begin(struct producer *p, int64_t now)
{
    p->start = now;
    p->start_done = p->done;
    p->cpu = cpu_ns();
    p->calls = p->w.sends + p->w.recvs;
    puts("START");
    fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct producer *p, double share)
{
    if (p->latencies == 0) return 0;
    return p->latency[(size_t)(share * (double)(p->latencies - 1))] / 10.0;
}

static void finish(struct producer *p, int64_t now)
{
    uint64_t tasks = p->done - p->start_done;
    double seconds = (double)(now - p->start) / 1e9;
    double cpu = (double)(cpu_ns() - p->cpu) / 1e3;
    p->end = now;
    printf("END {\"tasks\": %lu, \"seconds\": %.6f, \"rate\": %.1f, \"own_cpu_us\": %.3f, "
           "\"socket_calls\": %.4f",
           tasks, seconds, (double)tasks / seconds, cpu / (double)tasks,
           (double)(p->w.sends + p->w.recvs - p->calls) / (double)tasks);
    if (p->o->latency) {
        qsort(p->latency, p->latencies, sizeof *p->latency, by_size);
        printf(", \"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
               "\"max_us\": %.1f",
               percentile(p, 0.5), percentile(p, 0.95), percentile(p, 0.99), percentile(p, 0.999),
               percentile(p, 1));
    }
    puts("}");
    fflush(stdout);
}

/* ---- Tasks and results ----------------------------------------------------------------------- */

static void task_put(struct producer *p, int64_t since)
{
    if (p->sent == IDS_MAX) die("too many tasks");
    if (p->sent_at) p->sent_at[p->sent % TIMES] = since;
    template_put(&p->task, &p->w, p->sent++);
    if (!p->o->no_confirms_tasks) confirms_sent(&p->confirms);
}

static uint64_t under_way(const struct producer *p)
{
    if (!p->o->no_results) return p->sent - p->done;
    return p->confirms.sent - p->confirms.confirmed;
}

/* Whether another task may leave now. */
static bool task_due(const struct producer *p, int64_t now, int64_t *since)
{
    *since = now;
    if (p->end || wire_unsent(&p->w) >= OUT_MOST || under_way(p) >= p->o->window) return false;
    if (p->confirms.sent - p->confirms.confirmed >= p->o->unconfirmed) return false;
    if (p->o->count) return p->sent < p->o->count;
    if (p->o->rate <= 0) return true;
    *since = p->first + (int64_t)((double)p->sent / p->o->rate * 1e9);
    return *since <= now;
}

static void latency_note(struct producer *p, uint64_t number, int64_t now)
{
    if (!p->start || p->end) return;
    if (p->latencies == p->latencies_cap) {
        p->latencies_cap = p->latencies_cap ? p->latencies_cap * 2 : 1 << 16;
        p->latency = realloc(p->latency, p->latencies_cap * sizeof *p->latency);
        if (!p->latency) die("out of memory");
    }
    p->latency[p->latencies++] = (uint32_t)((now - p->sent_at[number % TIMES]) / 100);
}

static void result_take(struct producer *p, const struct event *ev, int64_t now)
{
    uint8_t bit = (uint8_t)(1 << ev->number % 8);
    if (ev->number >= p->sent) die("a result of no task");
    if (p->seen[ev->number / 8] & bit) die("two results of one task");
    if (ev->size != p->sample.result.body.len) die("a result of another size");
    p->seen[ev->number / 8] |= bit;
    p->reply_tag = ev->tag;
    p->done++;
    if (p->sent_at) latency_note(p, ev->number, now);
}

static void events_take(struct producer *p)
{
    struct event ev;
    int64_t now = p->sent_at ? clock_ns() : 0;
    while (wire_next(&p->w, &ev) != EVENT_NONE) {
        if (ev.kind == EVENT_CONFIRM)
            confirms_take(&p->confirms, ev.tag, ev.multiple);
        else
            result_take(p, &ev, now);
    }
    if (p->o->no_results) p->done = p->confirms.confirmed;
    if (p->reply_tag) wire_ack(&p->w, p->reply_tag);
    p->reply_tag = 0;
}

/* ---- The loop -------------------------------------------------------------------------------- */

static bool all_over(const struct producer *p)
{
    return p->end && p->done == p->sent && wire_unsent(&p->w) == 0 &&
           p->confirms.confirmed == p->confirms.sent;
}

static void clock_look(struct producer *p, int64_t now)
{
    const struct options *o = p->o;
    if (!p->start && p->done >= o->warm) begin(p, now);
    if (!p->start || p->end) return;
    if (o->count ? p->done == o->count : now - p->start >= (int64_t)(o->seconds * 1e9))
        finish(p, now);
}

static void sleep_until_something(struct producer *p, int64_t now)
{
    struct pollfd fd = {.fd = p->w.fd, .events = POLLIN};
    int64_t wait = 1000000000;
    if (wire_unsent(&p->w) > 0) fd.events |= POLLOUT;
    if (p->o->rate > 0 && !p->end)
        wait = p->first + (int64_t)((double)p->sent / p->o->rate * 1e9) - now;
    struct timespec t = {wait / 1000000000, wait % 1000000000};
    if (wait > 0) ppoll(&fd, 1, &t, NULL);
}

static void run(struct producer *p)
{
    p->first = clock_ns();
    while (!all_over(p)) {
        int64_t now = clock_ns(), since;
        clock_look(p, now);
        while (task_due(p, now, &since)) task_put(p, since);
        wire_flush(&p->w);
        if (p->o->pause_us && under_way(p) > LOAD) pause_us(p->o->pause_us);
        if (!wire_read(&p->w)) sleep_until_something(p, clock_ns());
        events_take(p);
    }
}

void bare_produce(const struct options *o)
{
    static struct producer it;
    struct producer *p = &it;
    p->o = o;
    p->seen = calloc(IDS_MAX / 8, 1);
    if (o->latency) p->sent_at = calloc(TIMES, sizeof *p->sent_at);
    if (!p->seen || (o->latency && !p->sent_at)) die("out of memory");
    sample_read(&p->sample, o->bytes);
    if (o->transient_tasks) message_transient(&p->sample.task);
    template_make(&p->task, o->queue, !o->not_mandatory, &p->sample.task, p->sample.id);
    wire_open(&p->w, o->url);
    wire_declare(&p->w, o->queue, false);
    if (!o->no_confirms_tasks) wire_confirm_select(&p->w);
    if (!o->no_results) {
        wire_declare(&p->w, p->sample.reply_to, true);
        wire_consume(&p->w, p->sample.reply_to, REPLY_PREFETCH, false, p->sample.id,
                     p->sample.result_id_at);
    }
    run(p);
    if (!o->no_results) wire_delete(&p->w, p->sample.reply_to);
    wire_close(&p->w);
    printf("DONE {\"sent\": %lu, \"results\": %lu}\n", p->sent, o->no_results ? 0 : p->done);
}
