/* main.c - bare: the limit that ctask is measured against. Two C programs with the same guarantees,
 * frames put together by hand, no JSON and no pool. README.md in the folder above says how it is
 * used; `bare --help` lists what it can be told. */
#include "bare.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static const char usage[] =
    "usage: bare produce|work|capture --url URL --queue QUEUE --bytes FILE [OPTION..]\n"
    "\n"
    "  --bytes FILE           the messages that capture wrote down\n"
    "  --from QUEUE           capture: where the task waits\n"
    "  --prefetch N           work (1000)\n"
    "  --pause US             rest between two reads under load (0)\n"
    "  --window N             produce: outstanding tasks (4000),\n"
    "  --unconfirmed N        of which so many are not confirmed yet (1000)\n"
    "  --seconds S --warm N   produce: measure so long, after so many results (3, 4000)\n"
    "  --count N              produce: so many tasks instead\n"
    "  --rate N               produce: so many a second, whatever becomes of them\n"
    "  --latency              produce: from a task's time to its result\n"
    "  --no-results           produce: none is waited for; work: none is sent\n"
    "Without one of the guarantees:\n"
    "  --transient-tasks --transient-results --no-confirms-tasks --no-confirms-results\n"
    "  --early-ack --not-mandatory\n";

int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void pause_us(uint32_t us)
{
    struct timespec t = {.tv_nsec = us * 1000L};
    nanosleep(&t, NULL);
}

static struct options o = {.prefetch = 1000,
                           .window = 4000,
                           .unconfirmed = 1000,
                           .seconds = 3,
                           .warm = 4000,
                           .queue = "bench"};

enum { TEXT, NUMBER, LONG, REAL, FLAG };
static const struct {
    const char *name;
    int kind;
    void *at;
} known[] = {
    {"url", TEXT, &o.url},
    {"queue", TEXT, &o.queue},
    {"from", TEXT, &o.from},
    {"bytes", TEXT, &o.bytes},
    {"prefetch", NUMBER, &o.prefetch},
    {"window", NUMBER, &o.window},
    {"unconfirmed", NUMBER, &o.unconfirmed},
    {"pause", NUMBER, &o.pause_us},
    {"seconds", REAL, &o.seconds},
    {"warm", LONG, &o.warm},
    {"count", LONG, &o.count},
    {"rate", REAL, &o.rate},
    {"latency", FLAG, &o.latency},
    {"no-results", FLAG, &o.no_results},
    {"transient-tasks", FLAG, &o.transient_tasks},
    {"transient-results", FLAG, &o.transient_results},
    {"no-confirms-tasks", FLAG, &o.no_confirms_tasks},
    {"no-confirms-results", FLAG, &o.no_confirms_results},
    {"early-ack", FLAG, &o.early_ack},
    {"not-mandatory", FLAG, &o.not_mandatory},
};
enum { KNOWN = sizeof known / sizeof known[0] };

static void option_set(int i, const char *text)
{
    switch (known[i].kind) {
    case TEXT: *(const char **)known[i].at = text; break;
    case NUMBER: *(uint32_t *)known[i].at = (uint32_t)strtoul(text, NULL, 10); break;
    case LONG: *(uint64_t *)known[i].at = strtoull(text, NULL, 10); break;
    case REAL: *(double *)known[i].at = strtod(text, NULL); break;
    default: *(bool *)known[i].at = true; break;
    }
}

int main(int argc, char **argv)
{
    struct option options[KNOWN + 1] = {0};
    int which = -1, c;
    for (int i = 0; i < KNOWN; i++)
        options[i] = (struct option){
            known[i].name, known[i].kind == FLAG ? no_argument : required_argument, NULL, 0};
    while ((c = getopt_long(argc, argv, "", options, &which)) == 0) option_set(which, optarg);
    if (c != -1 || optind != argc - 1 || !o.url || !o.bytes) {
        fputs(usage, stderr);
        return 2;
    }
    if (o.count) o.warm = 0;
    prctl(PR_SET_TIMERSLACK, 1000); /* a pause is as long as it says */
    const char *role = argv[optind];
    if (strcmp(role, "produce") == 0)
        bare_produce(&o);
    else if (strcmp(role, "work") == 0)
        bare_work(&o);
    else if (strcmp(role, "capture") == 0 && o.from)
        bare_capture(&o);
    else
        die("no such role: %s", role);
    return 0;
}
