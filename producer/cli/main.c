/* main.c - the ctask command: finds the verb and hands the rest of the command line to it. */
#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv, struct options *o);
} verbs[] = {{"call", call_main}, {"map", map_main}};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static const char doc[] =
    "Send tasks to ctask or Celery workers over RabbitMQ, and print their results.\v"
    "Commands:\n"
    "  call TASK [ARG...]   run one task and print its result\n"
    "  map TASK             run a task for each line of standard input\n"
    "`ctask COMMAND --help' tells more about each.\n"
    "\n"
    "Examples:\n"
    "  ctask call is_prime 112272535095293\n"
    "  ctask map is_prime < producer/prime_list.txt\n"
    "\n" OPTIONS_EXIT_HELP;

static const struct argp_option table[] = {{"broker", 'b', "URL", 0, OPTIONS_BROKER_HELP, 0}, {0}};

struct command {
    const struct verb *verb;
    int argc;
    char **argv; /* from the verb on */
    struct options options;
};

static error_t find_verb(struct command *command, const char *name, struct argp_state *state)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0) command->verb = &verbs[i];
    if (!command->verb)
        argp_error(state, "there is no command \"%s\"; there are call and map", name);
    command->argc = state->argc - state->next + 1;
    command->argv = state->argv + state->next - 1;
    state->next = state->argc; /* what follows is the verb's to read */
    return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct command *command = state->input;
    switch (key) {
    case 'b':
        free(command->options.url);
        command->options.url = options_take_url(arg);
        return 0;
    case ARGP_KEY_ARG: return find_verb(command, arg, state);
    case ARGP_KEY_NO_ARGS: argp_error(state, "say what to do: call or map"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Whoever starts us with a closed descriptor gets no socket in its place, and is told that results
 * cannot be written. */
static void keep_standard_descriptors(void)
{
    int fd;
    do fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close(fd);
}

int main(int argc, char **argv)
{
    keep_standard_descriptors();
    static const struct argp argp = {
        .options = table, .parser = parse_option, .args_doc = "COMMAND [ARG...]", .doc = doc};
    struct command command = {.options.timeout = -1};
    argp_program_version = "ctask " CTASK_VERSION;
    argp_err_exit_status = STATUS_USAGE;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &command);

    char name[32];
    snprintf(name, sizeof name, "ctask %s", command.verb->name);
    command.argv[0] = name;
    int status = command.verb->run(command.argc, command.argv, &command.options);
    free(command.options.url);
    return status;
}
