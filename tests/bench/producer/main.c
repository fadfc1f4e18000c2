/* main.c - bench-producer MODE: what is measured, and for how long. */
#include "producer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: bench-producer MODE [OPTION..]     the broker is $CTASK_BROKER_URL, the queue\n"
    "                                          $CTASK_QUEUE\n"
    "  handles   a window of handles          --window N --seconds S --warm N | --count N\n"
    "  map       a stream of calls            the same; --rate N: an open loop\n"
    "  arrays    task_map over --count items\n"
    "  list      is_prime over --list FILE, --repeat times\n"
    "  alone     one task outstanding         --seconds S --warm N\n"
    "  hoard     --count handles; after SENT it waits for a line, then asks for each\n"
    "  send      --count tasks and no more    --no-result\n"
    "and --task NAME (bench.noop), --argument N (bench.spin: microseconds, bench.echo: bytes)\n";

static struct options o = {
    .task = "bench.noop", .window = 4000, .warm = 4000, .seconds = 3, .repeat = 1};

static const struct {
    const char *name;
    long *number;
    double *real;
    const char **text;
    bool *flag;
} known[] = {
    {"task", .text = &o.task},           {"window", .number = &o.window},
    {"count", .number = &o.count},       {"warm", .number = &o.warm},
    {"seconds", .real = &o.seconds},     {"rate", .real = &o.rate},
    {"list", .text = &o.list},           {"repeat", .number = &o.repeat},
    {"no-result", .flag = &o.no_result}, {"argument", .number = &o.argument},
};
enum { KNOWN = sizeof known / sizeof known[0] };

static const struct {
    const char *name;
    void (*run)(struct run *);
} modes[] = {
    {"handles", run_handles}, {"map", run_map},     {"arrays", run_arrays}, {"list", run_list},
    {"alone", run_alone},     {"hoard", run_hoard}, {"send", run_send},
};

static bool options_read(int argc, char **argv)
{
    struct option options[KNOWN + 1] = {0};
    int i, c;
    for (i = 0; i < KNOWN; i++)
        options[i] = (struct option){known[i].name, known[i].flag ? no_argument : required_argument,
                                     NULL, 0};
    while ((c = getopt_long(argc, argv, "", options, &i)) == 0) {
        if (known[i].number) *known[i].number = strtol(optarg, NULL, 10);
        if (known[i].real) *known[i].real = strtod(optarg, NULL);
        if (known[i].text) *known[i].text = optarg;
        if (known[i].flag) *known[i].flag = true;
    }
    return c == -1 && optind == argc - 1;
}

int main(int argc, char **argv)
{
    static struct run x = {.o = &o};
    struct ctask_error e;
    if (!options_read(argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (o.count) o.warm = 0;
    if (strcmp(o.task, "bench.echo") == 0) {
        x.text = malloc((size_t)o.argument + 1);
        if (!x.text) die("out of memory");
        memset(x.text, 'x', (size_t)o.argument);
        x.text[o.argument] = '\0';
    }
    x.c = ctask_open(NULL, &e);
    if (!x.c) die_of(&e);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(argv[optind], modes[i].name) != 0) continue;
        modes[i].run(&x);
        ctask_close(x.c);
        printf("DONE {\"sent\": %ld, \"results\": %ld}\n", x.sent, x.done);
        return 0;
    }
    fputs(usage, stderr);
    return 2;
}
