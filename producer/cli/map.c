/* map.c - `ctask map`: one call for each line of standard input. Reading, sending and collecting go
 * on side by side in one loop; at most a window of calls is in memory. Line N of the output answers
 * line N of the input. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORTH_TELLING 0.1 /* seconds of run time: less says nothing about a speed-up */

static const char doc[] =
    "Run TASK once for each line of standard input and print the results as JSON, one a line.\v"
    "A line is the call's argument, read as by `ctask call'; a line that is a JSON list is the "
    "list of its arguments, and an empty line is a call without any. Line N of the output answers "
    "line N of the input and is empty where the task failed; with --as-completed each result "
    "comes at once, after its line number and a tab. Failures go to stderr with their line "
    "number.\n"
    "\n"
    "Examples:\n"
    "  ctask map is_prime < producer/prime_list.txt\n"
    "  seq 1000 | ctask map is_prime --as-completed\n"
    "  printf '[1, 2]\\n[3, 4]\\n' | ctask map demo.add\n"
    "\n" OPTIONS_EXIT_HELP;

enum { WINDOW_MOST = 1 << 19, CHUNK_MOST = 100000, OPTION_AS_COMPLETED = 512, OPTION_CHUNK };
/* How long a map keeps trying to send while the broker is away. */
static const double broker_patience = 60;

static const struct argp_option table[] = {
    {"chunk", OPTION_CHUNK, "N|auto", 0,
     "So many calls in one message; auto (default) puts calls together that take less than some "
     "milliseconds",
     0},
    {"window", 'w', "N", 0,
     "At most so many calls in memory; default 1000, or 128 messages' worth if that is more", 0},
    {"as-completed", OPTION_AS_COMPLETED, NULL, 0,
     "Print results as they come, each after its line number and a tab", 0},
    {"quiet", 'q', NULL, 0, "No progress and no summary", 0},
    {0}};

struct map_options {
    struct options common;
    const char *task;
    size_t window; /* 0: as the map likes */
    int chunk;     /* 0: auto */
    bool as_completed, quiet;
};

struct map {
    const struct map_options *o;
    struct ctask_client *c;
    struct ctask_map *calls;
    struct lines in;
    struct shelf shelf;
    struct progress progress;
    json_t *args;      /* of the next call, when it could not be sent yet */
    size_t put;        /* calls sent; also the lines read, but for that of args */
    double away_since; /* when the broker began to take no messages; 0: it does */
    bool unknown_shown;
    bool ended, over;   /* no more calls will be put; all results were taken */
    enum status status; /* the gravest thing that happened */
};

static void map_grave(struct map *m, enum status status)
{
    if (m->status == STATUS_OK || m->status == STATUS_TASK) m->status = status;
}

/* No more calls: what is under way is still collected. */
static void map_end(struct map *m)
{
    if (!m->ended) ctask_map_end(m->calls);
    m->ended = true;
}

static void map_refuse_line(struct map *m, const char *why)
{
    progress_hide(&m->progress);
    say("line %zu cannot be sent: %s; correct it and run again from this line", m->put + 1, why);
    map_grave(m, STATUS_USAGE);
    map_end(m);
}

/* The arguments of the next line, or NULL when it is not here yet. */
static json_t *map_next_args(struct map *m)
{
    const char *line;
    size_t length;
    char why[256];
    json_t *args = NULL;
    switch (lines_next(&m->in, &line, &length)) {
    case LINES_ONE:
        args = value_parse_line(line, length, why, sizeof why);
        if (!args) map_refuse_line(m, why);
        break;
    case LINES_TOO_LONG: map_refuse_line(m, "it is longer than 4 MiB"); break;
    case LINES_NONE:
        if (lines_over(&m->in)) map_end(m);
        break;
    }
    return args;
}

/* In order, a call that was sent but not printed takes room; else the map's own window decides. */
static bool map_has_room(const struct map *m)
{
    size_t window = m->o->window ? m->o->window : ctask_map_stat(m->calls).window;
    return m->o->as_completed ||
           m->put - m->shelf.next < (window < m->shelf.size ? window : m->shelf.size);
}

/* Stops here, and says what that leaves behind. */
static void map_give_up(struct map *m, const char *why, enum status status)
{
    struct ctask_map_stat stat = ctask_map_stat(m->calls);
    progress_hide(&m->progress);
    if (stat.sent == stat.done)
        say("%s", why);
    else
        say("%s; %zu of %zu calls sent have no result yet and may still run", why,
            stat.sent - stat.done, stat.sent);
    m->status = status;
    m->over = true;
}

static void map_not_sent(struct map *m, int code)
{
    const struct ctask_error *e = ctask_error();
    if (m->away_since == 0) m->away_since = now_seconds();
    bool patient = now_seconds() - m->away_since < broker_patience;
    if (e->flags & CTASK_RETRIABLE && patient) return; /* tried again in the next turn */
    if (status_of(code) == STATUS_USAGE)
        map_refuse_line(m, e->text);
    else
        map_give_up(m, e->text, status_of(code));
}

/* Sends what is here and fits. */
static void map_feed(struct map *m)
{
    while (!m->ended && map_has_room(m)) {
        if (!m->args) m->args = map_next_args(m);
        if (!m->args) return;
        int rc = ctask_map_put_json(m->calls, json_incref(m->args), NULL);
        if (rc == CTASK_EAGAIN) return;
        if (rc != CTASK_OK) {
            map_not_sent(m, rc);
            return;
        }
        json_decref(m->args);
        m->args = NULL;
        m->away_since = 0;
        m->put++;
    }
}

static void map_print(struct map *m, size_t index, char *text)
{
    progress_hide_for_output(&m->progress);
    if (m->o->as_completed) {
        if (text[0]) printf("%zu\t%s\n", index + 1, text);
        free(text);
        return;
    }
    shelf_put(&m->shelf, index, text);
    while ((text = shelf_take(&m->shelf))) {
        puts(text);
        free(text);
    }
}

static void map_settle(struct map *m, size_t index, struct ctask_result *r)
{
    const struct ctask_error *e = ctask_result_error(r);
    char *text = e->code != CTASK_OK    ? strdup("")
                 : m->o->common.no_wait ? strdup(ctask_result_id(r))
                                        : value_text(ctask_result_json(r));
    if (!text) abort();
    if (e->code != CTASK_OK) {
        char failure[sizeof e->text + sizeof e->type];
        progress_hide(&m->progress);
        say("line %zu: %s", index + 1, failure_text(e, failure, sizeof failure));
        if (m->status == STATUS_OK) m->status = STATUS_TASK;
    }
    map_print(m, index, text);
}

/* Collects what has come. */
static void map_take(struct map *m)
{
    size_t index;
    struct ctask_result *r;
    int rc;
    while ((rc = ctask_map_next(m->calls, 0, &index, &r)) == 1) map_settle(m, index, r);
    if (rc == CTASK_OK) m->over = true;
    if (fflush(stdout) != 0) {
        char why[128];
        snprintf(why, sizeof why, "results could not be written: %s", strerror(errno));
        map_give_up(m, why, STATUS_OUTPUT);
        return;
    }
    if (rc == CTASK_OK || rc == CTASK_ETIMEDOUT || rc == CTASK_EAGAIN) return;
    progress_hide(&m->progress);
    map_grave(m, say_error(ctask_error()));
    m->over = true;
}

/* That no worker knows the task: once, since it is the same for all calls. */
static void map_show_unknown(struct map *m)
{
    struct ctask_error why;
    char text[sizeof why.text + sizeof why.type];
    if (m->unknown_shown || !ctask_retried(m->c, &why) || !is_unknown(&why)) return;
    m->unknown_shown = true;
    progress_hide(&m->progress);
    say("%s; it is tried again", failure_text(&why, text, sizeof text));
}

static void map_timeout(struct map *m)
{
    struct ctask_error why;
    char reason[sizeof why.text + sizeof why.type];
    char text[sizeof reason + 64] = "not all done in the given time";
    if (ctask_retried(m->c, &why))
        snprintf(text, sizeof text, "not all done in the given time: %s",
                 failure_text(&why, reason, sizeof reason));
    map_give_up(m, text, STATUS_TIMEOUT);
}

static void map_summary(const struct map *m)
{
    struct ctask_map_stat stat = ctask_map_stat(m->calls);
    char failed[40] = "", speedup[80] = "";
    if (stat.failed) snprintf(failed, sizeof failed, ", %zu failed", stat.failed);
    if (stat.serial >= WORTH_TELLING && stat.wall > 0)
        snprintf(speedup, sizeof speedup, "; run time %.2f s, speed-up %.2f", stat.serial,
                 stat.serial / stat.wall);
    fprintf(stderr, "%zu %s%s in %.2f s%s\n", stat.done,
            m->o->common.no_wait ? "tasks sent" : "results", failed, stat.wall, speedup);
}

/* Standard input is looked at only when a line of it could be sent at once. */
static unsigned map_interest(const struct map *m)
{
    return !m->ended && !m->args && !m->in.eof && map_has_room(m) ? WAIT_INPUT : 0;
}

static void map_loop(struct map *m)
{
    struct waiter w;
    waiter_init(&w);
    double deadline = m->o->common.timeout < 0 ? -1 : now_seconds() + m->o->common.timeout;
    while (!m->over) {
        unsigned happened = waiter_sleep(&w, m->c, map_interest(m), seconds_left(deadline, 0.25));
        if (happened & WAIT_INPUT && !lines_fill(&m->in)) map_refuse_line(m, "it cannot be read");
        map_take(m);
        if (m->over) return;
        map_show_unknown(m);
        map_feed(m);
        if (m->ended) {
            m->progress.total = m->put;
            map_take(m); /* that was all, perhaps */
        }
        struct ctask_map_stat stat = ctask_map_stat(m->calls);
        progress_draw(&m->progress, stat.done, stat.failed);
        if (m->over) return;
        if (w.caught)
            map_give_up(m, "interrupted", STATUS_SIGNAL + w.caught);
        else if (deadline >= 0 && seconds_left(deadline, 1) == 0)
            map_timeout(m);
    }
}

static enum status map_run(const struct map_options *o, struct ctask_client *c)
{
    struct map m = {.o = o, .c = c, .in.fd = STDIN_FILENO};
    m.calls =
        ctask_map_open(c,
                       TASK_OPTIONS(.queue = o->common.queue, .countdown = o->common.countdown,
                                    .no_result = o->common.no_wait, .chunk = o->chunk),
                       o->task, o->window);
    if (!m.calls) return say_error(ctask_error());
    shelf_init(&m.shelf, o->as_completed ? 1 : o->window ? o->window : WINDOW_MOST);
    progress_init(&m.progress, o->quiet);
    map_loop(&m);
    progress_hide(&m.progress);
    say_differs(c);
    if (!o->quiet && (m.put > 0 || m.status == STATUS_OK)) map_summary(&m);
    ctask_map_close(m.calls);
    shelf_done(&m.shelf);
    json_decref(m.args);
    free(m.in.data);
    return m.status;
}

static error_t parse_chunk(struct map_options *o, const char *arg, struct argp_state *state)
{
    char *end;
    long n = strcmp(arg, "auto") == 0 ? 0 : strtol(arg, &end, 10);
    if (strcmp(arg, "auto") != 0 && (*end || n < 1 || n > CHUNK_MOST))
        argp_error(state, "a chunk is auto or a number from 1 to %d, not \"%s\"", CHUNK_MOST, arg);
    o->chunk = (int)n;
    return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct map_options *o = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->common; return 0;
    case 'w':
        o->window = strtoul(arg, &end, 10);
        if (*end || o->window < 1 || o->window > 1000000)
            argp_error(state, "the window is a number from 1 to 1000000, not \"%s\"", arg);
        return 0;
    case OPTION_CHUNK: return parse_chunk(o, arg, state);
    case OPTION_AS_COMPLETED: o->as_completed = true; return 0;
    case 'q': o->quiet = true; return 0;
    case ARGP_KEY_ARG:
        if (o->task) argp_error(state, "\"%s\" is too much; arguments come from stdin", arg);
        if (!*arg) argp_error(state, "the task's name is empty");
        o->task = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "name the task to call"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int map_main(int argc, char **argv, struct options *common)
{
    static const struct argp_child children[] = {{.argp = &options_argp}, {0}};
    static const struct argp argp = {.options = table,
                                     .parser = parse_option,
                                     .args_doc = "TASK",
                                     .doc = doc,
                                     .children = children};
    struct map_options o = {.common = *common};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    common->url = o.common.url;

    enum status status;
    struct ctask_client *c = open_client(&o.common, &status);
    if (!c) return (int)status;
    status = map_run(&o, c);
    ctask_close(c);
    return (int)close_output(status);
}
