/* options.c - the options that every command shares, and the texts that more than one of them
 * reads: durations and broker URLs. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_TIMEOUT = 256, OPTION_COUNTDOWN, OPTION_NO_WAIT };

static const struct argp_option table[] = {
    {"broker", 'b', "URL", 0, OPTIONS_BROKER_HELP, 0},
    {"queue", 'Q', "QUEUE", 0, "Send to this queue; default $CTASK_QUEUE, else ctask", 0},
    {"timeout", OPTION_TIMEOUT, "TIME", 0,
     "Give up waiting after so long: 30, 500ms, 5m, 2h; default is to wait", 0},
    {"countdown", OPTION_COUNTDOWN, "TIME", 0, "Wait this long before starting", 0},
    {"no-wait", OPTION_NO_WAIT, NULL, 0,
     "Do not wait for results; print task ids once the broker has the tasks", 0},
    {0}};

double options_seconds(const char *text)
{
    static const struct {
        const char *suffix;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 0.001}, {"m", 60}, {"h", 3600}, {"d", 86400}};

    char *end;
    double x = strtod(text, &end);
    if (end == text || !isfinite(x) || x < 0) return -1;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].suffix) == 0) return x * units[i].seconds;
    return -1;
}

char *options_take_url(char *arg)
{
    char *url = strdup(arg);
    if (!url) abort();
    char *from = strstr(arg, "://");
    char *at = strrchr(arg, '@');
    from = from ? from + 3 : arg;
    if (at && at > from) memset(from, '*', (size_t)(at - from));
    return url;
}

static double seconds_or_error(const char *text, struct argp_state *state)
{
    double s = options_seconds(text);
    if (s < 0) argp_error(state, "\"%s\" is no time; write 30, 500ms, 5m, 2h or 1d", text);
    return s;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'b':
        if (!*arg) argp_error(state, "the URL after -b is empty");
        free(o->url);
        o->url = options_take_url(arg);
        return 0;
    case 'Q': o->queue = arg; return 0;
    case OPTION_TIMEOUT: o->timeout = seconds_or_error(arg, state); return 0;
    case OPTION_COUNTDOWN: o->countdown = seconds_or_error(arg, state); return 0;
    case OPTION_NO_WAIT: o->no_wait = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp options_argp = {.options = table, .parser = parse_option};
