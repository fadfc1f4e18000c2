/* producer.h - ctask's side of the benchmarks: what a program that uses libctask can do, with its
 * public functions only.
 *
 * Whatever is measured, it says START when the clock starts and END with a line of JSON when it
 * stops; whoever measures the machine does it between. DONE means that each task had the result it
 * had to have. */
#ifndef BENCH_PRODUCER_H
#define BENCH_PRODUCER_H

#include <ctask.h>

struct options {
    const char *task;         /* bench.noop, bench.spin, bench.echo or is_prime */
    long window, count, warm; /* count > 0: so many tasks, all of them measured */
    long argument;            /* bench.spin: microseconds; bench.echo: bytes */
    double seconds, rate;
    const char *list; /* a file of numbers */
    long repeat;      /* so many times over */
    bool no_result;
};

struct run {
    const struct options *o;
    struct ctask_client *c;
    char *text; /* what bench.echo is given */
    long sent, done, start_done;
    double begun, start, end, cpu;
    uint32_t *latency; /* in steps of 100 ns; NULL: not asked for */
    size_t latencies, latencies_cap;
};

void die(const char *what) __attribute__((noreturn));
/* As die, with ctask's reason. */
void die_of(const struct ctask_error *e) __attribute__((noreturn));
double now(void);

/* ---- Modes: each takes all of one measurement ------------------------------------------------ */

void run_handles(struct run *x); /* a window of handles */
void run_map(struct run *x);     /* a stream with a window, as fast as it goes or at a rate */
void run_arrays(struct run *x);  /* task_map over plain arrays */
void run_list(struct run *x);    /* the talk's list */
void run_hoard(struct run *x);   /* all sent, then all asked for */
void run_alone(struct run *x);   /* one outstanding */
void run_send(struct run *x);    /* sent, and nobody waits */

/* ---- What they share ------------------------------------------------------------------------- */

/* The arguments of task number n, of which the first is its name. */
#define CALL(x, n) (x)->o->task, argument_of((x), (n))
struct ctask_arg argument_of(const struct run *x, long n);
/* Ends the program unless r is a success with the value that belongs to task number n. */
void check(const struct run *x, long n, struct ctask_result *r);

/* The clock: started when enough results have come, stopped when the time is over. */
void clock_look(struct run *x, double t);
void clock_start(struct run *x, double t);
/* tasks: how many were done meanwhile; more: NULL or further JSON. */
void clock_stop(struct run *x, double t, const char *more);
void latency_note(struct run *x, double seconds);

#endif
