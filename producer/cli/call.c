/* call.c - `ctask call`: one task, its result on stdout as JSON, its failure on stderr. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
    "Run TASK on a worker and print its result as JSON.\v"
    "An ARG is JSON: 97 is a number, true a boolean, '[1, 2]' a list, '\"97\"' a string. Any other "
    "word is a string as it stands: hello.\n"
    "\n"
    "Examples:\n"
    "  ctask call is_prime 112272535095293\n"
    "  ctask call is_prime -k n=97\n"
    "  ctask call demo.add -2 5\n"
    "  ctask call -Q celery proj.resize '{\"width\": 300}' photo.png\n"
    "\n" OPTIONS_EXIT_HELP;

/* -2 looks like an option, so each digit is one; what follows it is the rest of the number. */
#define DIGIT(d)                                                  \
    {                                                             \
        NULL, d, "", OPTION_HIDDEN | OPTION_ARG_OPTIONAL, NULL, 0 \
    }

static const struct argp_option table[] = {
    {"keyword", 'k', "NAME=ARG", 0, "A keyword argument; may be given several times", 0},
    DIGIT('0'),
    DIGIT('1'),
    DIGIT('2'),
    DIGIT('3'),
    DIGIT('4'),
    DIGIT('5'),
    DIGIT('6'),
    DIGIT('7'),
    DIGIT('8'),
    DIGIT('9'),
    {0},
};

struct call {
    struct options *options;
    const char *task;
    json_t *args, *kwargs;
};

static json_t *value_or_error(const char *text, struct argp_state *state)
{
    char why[256];
    json_t *j = value_parse(text, why, sizeof why);
    if (!j) argp_error(state, "the argument %s is wrong: %s", text, why);
    return j;
}

static void add_keyword(struct call *call, char *arg, struct argp_state *state)
{
    char *equals = strchr(arg, '=');
    if (!equals || equals == arg)
        argp_error(state, "-k takes NAME=ARG, as in -k width=300, not \"%s\"", arg);
    json_t *value = value_or_error(equals + 1, state);
    *equals = '\0';
    if (json_object_set_new(call->kwargs, arg, value) < 0)
        argp_error(state, "the name of a keyword argument is not UTF-8 text");
}

static void add_negative(struct call *call, int digit, const char *rest, struct argp_state *state)
{
    char text[64];
    int n = snprintf(text, sizeof text, "-%c%s", digit, rest ? rest : "");
    if (n >= (int)sizeof text || !call->task) argp_error(state, "%.60s is no option", text);
    json_array_append_new(call->args, value_or_error(text, state));
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct call *call = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = call->options; return 0;
    case 'k': add_keyword(call, arg, state); return 0;
    case ARGP_KEY_ARG:
        if (!call->task && !*arg) argp_error(state, "the task's name is empty");
        if (!call->task)
            call->task = arg;
        else
            json_array_append_new(call->args, value_or_error(arg, state));
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "name the task to call"); return 0;
    default:
        if (key < '0' || key > '9') return ARGP_ERR_UNKNOWN;
        add_negative(call, key, arg, state);
        return 0;
    }
}

/* Why the task is tried again, each reason once; what the task says itself is for a person only. */
static void show_retry(struct ctask_client *c, bool person, struct ctask_error *shown)
{
    struct ctask_error why;
    char text[sizeof why.text + sizeof why.type];
    if (!ctask_retried(c, &why) || strcmp(why.text, shown->text) == 0) return;
    *shown = why;
    if (person || is_unknown(&why))
        say("%s; it is tried again%s", failure_text(&why, text, sizeof text),
            is_unknown(&why) ? " for some three minutes" : "");
}

/* Progress that the task reports, and a hint when nobody seems to be there, for a person only. */
static void show_waiting(struct ctask_result *r, const char *queue, double since, json_t **shown)
{
    const json_t *progress = ctask_result_progress(r);
    bool retry = ctask_result_state(r) == CTASK_RETRY; /* see show_retry */
    if (progress && !retry && !json_equal(progress, *shown)) {
        json_decref(*shown);
        *shown = json_deep_copy(progress);
        char *text = value_text(progress);
        say("progress: %s", text ? text : "?");
        free(text);
    }
    if (!*shown && !retry && now_seconds() - since > 5) {
        *shown = json_null();
        say("no result yet; does a worker run for queue %s? Ctrl-C stops waiting, not the task",
            queue ? queue : "ctask");
    }
}

static enum status call_wait(const struct call *call, struct ctask_client *c,
                             struct ctask_result *r)
{
    struct waiter w;
    waiter_init(&w);
    double start = now_seconds();
    double deadline = call->options->timeout < 0 ? -1 : start + call->options->timeout;
    bool person = isatty(STDERR_FILENO);
    json_t *shown = NULL;
    struct ctask_error retry = {0};
    char text[sizeof retry.text + sizeof retry.type];
    const char *queue = call->options->queue ? call->options->queue : getenv("CTASK_QUEUE");
    while (!ctask_result_ready(r) && !w.caught && seconds_left(deadline, 1) > 0) {
        waiter_sleep(&w, c, 0, seconds_left(deadline, 0.5));
        show_retry(c, person, &retry);
        if (person) show_waiting(r, queue, start, &shown);
    }
    json_decref(shown);
    if (w.caught) {
        say("interrupted; task %s may still run, its result will not be seen", ctask_result_id(r));
        return STATUS_SIGNAL + w.caught;
    }
    if (ctask_result_ready(r)) return status_of(ctask_result_error(r)->code);
    if (ctask_result_state(r) == CTASK_RETRY && retry.code != CTASK_OK)
        say("no result within %g s: %s; task %s is still tried again", call->options->timeout,
            failure_text(&retry, text, sizeof text), ctask_result_id(r));
    else
        say("no result within %g s; task %s waits for a worker or still runs",
            call->options->timeout, ctask_result_id(r));
    return STATUS_TIMEOUT;
}

static enum status call_print(struct ctask_result *r, bool id_only)
{
    if (ctask_result_error(r)->code != CTASK_OK) return say_error(ctask_result_error(r));
    char *text = id_only ? strdup(ctask_result_id(r)) : value_text(ctask_result_json(r));
    if (!text) abort();
    puts(text);
    free(text);
    return STATUS_OK;
}

static enum status call_run(const struct call *call)
{
    const struct options *o = call->options;
    enum status status;
    struct ctask_client *c = open_client(o, &status);
    if (!c) return status;
    struct ctask_result *r = ctask_send_json(
        c, TASK_OPTIONS(.queue = o->queue, .countdown = o->countdown, .no_result = o->no_wait),
        call->task, json_incref(call->args), json_incref(call->kwargs));
    status = call_wait(call, c, r);
    say_differs(c);
    if (ctask_result_ready(r)) status = call_print(r, o->no_wait);
    ctask_result_forget(r);
    ctask_close(c);
    return close_output(status);
}

int call_main(int argc, char **argv, struct options *o)
{
    static const struct argp_child children[] = {{.argp = &options_argp}, {0}};
    static const struct argp argp = {.options = table,
                                     .parser = parse_option,
                                     .args_doc = "TASK [ARG...]",
                                     .doc = doc,
                                     .children = children};
    struct call call = {.options = o, .args = json_array(), .kwargs = json_object()};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &call);
    int status = (int)call_run(&call);
    json_decref(call.args);
    json_decref(call.kwargs);
    return status;
}
