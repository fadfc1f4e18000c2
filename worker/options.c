/* options.c - see options.h. Parsing and --help are argp's. */
#include "worker/options.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_PREFETCH = 256,
    KEY_GRACE,
    KEY_LEASE,
    KEY_TYPE,
    KEY_ARGUMENTS,
    KEY_MAX_TASKS,
    KEY_FAIL_UNKNOWN,
    KEY_HELD_MEMORY,
    KEY_REPLY,
    KEY_BODY,
    KEY_HARD,
    KEY_SOFT,
    KEY_RLIMIT,
    KEY_MEMORY
};

static const struct argp_option table[] = {
    {"app", 'A', "APP[,APP]", 0,
     "The tasks to run: primes and demo are built in; another NAME is NAME.so in $CTASK_PATH or in "
     "lib/ctask beside this program; a name with a slash is a file",
     1},
    {"concurrency", 'c', "N", 0, "Child processes, one task each at a time (default: cores)", 1},
    {"queues", 'Q', "QUEUE[,QUEUE]", 0,
     "Queues to take tasks from (default: $CTASK_QUEUE, else ctask)", 1},
    {"broker", 'b', "URL", 0,
     "amqp://user:password@host:port/vhost, or amqps:// for TLS; several with ; between are tried "
     "in turn (default: $CTASK_BROKER_URL, else the first line of the file $CTASK_BROKER_FILE, "
     "else amqp://localhost)",
     1},
    {"name", 'n', "NAME", 0, "This worker's name (default: a unique one)", 1},
    {"loglevel", 'l', "LEVEL", 0,
     "error, warning, info (default), debug (a line a task) or trace (a line a step)", 1},
    {"prefetch", KEY_PREFETCH, "N|auto", 0,
     "Deliveries to hold at a time; auto (default) holds a tenth of a second of work, more if "
     "confirms are slow, and nothing beyond what runs while tasks take longer than a second",
     2},
    {"queue-type", KEY_TYPE, "classic|quorum", 0,
     "Declare missing queues of tasks and of dead letters as this type; a queue that exists "
     "is used as it is (default: $CTASK_QUEUE_TYPE, which producers read too, also for reply "
     "queues, else as the broker likes)",
     2},
    {"queue-arguments", KEY_ARGUMENTS, "x-NAME=VALUE[,...]", 0,
     "Declare missing queues of tasks with these arguments too, as x-max-priority=9; a queue that "
     "exists is used as it is, and the log says how it differs. With x-message-ttl, x-max-length "
     "or x-delivery-limit the broker may drop tasks (default: $CTASK_QUEUE_ARGUMENTS, which "
     "producers read too)",
     2},
    {"grace", KEY_GRACE, "SECONDS", 0,
     "At SIGTERM, how long running tasks may take to finish before they are stopped and given back "
     "(default 30)",
     2},
    {"time-limit", KEY_HARD, "SECONDS", 0,
     "Kill a task that runs for longer: it fails with TimeLimitExceeded and is kept in QUEUE.dead "
     "(default: none). A message's own limit and the task table's go before this one",
     2},
    {"soft-time-limit", KEY_SOFT, "SECONDS", 0,
     "Ask a task that runs for longer to end, by task_cancelled (default: none)", 2},
    {"lease", KEY_LEASE, "SECONDS", 0,
     "Move a task that runs for longer to a lease, which is renewed while the task runs. If this "
     "worker is lost, the task starts again within this time. At most half of the broker's "
     "consumer_timeout (default 600)",
     2},
    {"max-memory-per-child", KEY_MEMORY, "SIZE", 0,
     "Kill a task whose process occupies more, as 256M (looked at each second): that counts as a "
     "crash. A child that has more after a task is replaced",
     2},
    {"rlimit", KEY_RLIMIT, "NAME=VALUE[,...]", 0,
     "Limits of each child, see setrlimit(2): as, core (0 unless named), cpu, data, fsize, "
     "memlock, nofile, nproc, stack; a number, a size as 256M, or unlimited",
     2},
    {"max-tasks-per-child", KEY_MAX_TASKS, "N", 0, "Replace a child after so many tasks", 2},
    {"held-memory", KEY_HELD_MEMORY, "SIZE", 0,
     "Take no more messages while those that are held use this much memory (default 256M: 32 "
     "bodies of the default --body-limit, since a body counts twice)",
     2},
    {"fail-unknown", KEY_FAIL_UNKNOWN, NULL, 0,
     "A task that this worker does not know fails at once and is kept in QUEUE.dead. Without this "
     "option it goes back to its queue ten times in some three minutes, for a worker that knows it",
     2},
    {"body-limit", KEY_BODY, "BYTES", 0,
     "Do not run larger messages but keep them in QUEUE.dead, through a file in $TMPDIR (default "
     "4194304)",
     2},
    {"reply-pattern", KEY_REPLY, "GLOB", 0,
     "Also send results to reply addresses that match, beside those of ctask and Celery", 2},
    {0},
};

static const char doc[] =
    "Run tasks that producers send through RabbitMQ."
    "\vA first worker, and a task for it:\n\n"
    "  ctask-worker -A primes\n"
    "  ctask call is_prime 97\n\n"
    "Start as many as you like, on any machine that reaches the broker; stop one with SIGTERM or "
    "Ctrl-C: it takes nothing new, finishes what runs and gives back the rest. A second signal "
    "asks running tasks to stop and kills them after two seconds, a third kills them at once; what "
    "was not finished runs elsewhere. SIGUSR1 logs the counters.\n\n"
    "A task is acknowledged after its result is safe with the broker, so it runs at least once: "
    "again, and flagged, if a worker is lost. What cannot be run is kept in QUEUE.dead with "
    "the reason in its headers.\n\n"
    "Exit status: 0 stopped as told, 2 wrong command line, 69 no broker at the start, 70 the "
    "child processes keep dying, 77 the broker refused user, password or vhost, or cannot be "
    "trusted.";

static long number(struct argp_state *state, const char *name, const char *text, long min, long max)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || v < min || v > max)
        argp_error(state, "%s takes a number from %ld to %ld, not \"%s\"", name, min, max, text);
    return v;
}

static double seconds(struct argp_state *state, const char *name, const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (*text == 0 || *end != 0 || !isfinite(v) || v < 0)
        argp_error(state, "%s takes seconds, not \"%s\"", name, text);
    return v;
}

static void rlimits(struct argp_state *state, struct rlimits *l, const char *text)
{
    char why[256];
    if (!rlimits_parse(l, text, why, sizeof why)) argp_error(state, "--rlimit %s", why);
}

/* A child has some 3 MiB before its first task. Under such a limit each task would be a crash. */
#define MEMORY_MIN (UINT64_C(4) << 20)

static void memory(struct argp_state *state, struct options *o, const char *text)
{
    if (!size_parse(text, &o->memory_max) || o->memory_max == 0)
        argp_error(state, "--max-memory-per-child takes a size as 256M, not \"%s\"", text);
    if (o->memory_max < MEMORY_MIN)
        argp_error(state,
                   "--max-memory-per-child takes at least 4M, which a child needs for itself; a "
                   "number alone means bytes, not KiB as Celery's, so not \"%s\"",
                   text);
    snprintf(o->memory_offence, sizeof o->memory_offence,
             "took more memory than --max-memory-per-child=%s", text);
}

/* They add up; options_read looks at them together. */
static void arguments(struct options *o, const char *text)
{
    char *all;
    char *before = (char *)o->queue_arguments; /* NULL, or made here */
    if (asprintf(&all, "%s%s%s", before ? before : "", before ? "," : "", text) < 0) abort();
    free(before);
    o->queue_arguments = all; /* until the process ends */
}

static size_t split(struct argp_state *state, const char *name, const char *text, size_t longest,
                    const char *out[NAMES_MAX])
{
    size_t n = 0;
    char *copy = strdup(text);
    if (!copy) abort();
    for (char *at = copy, *part; (part = strsep(&at, ","));) {
        if (*part == 0 || strlen(part) > longest)
            argp_error(state, "%s takes names with commas between, each of 1 to %zu bytes", name,
                       longest);
        for (size_t i = 0; i < n; i++)
            if (strcmp(out[i], part) == 0) argp_error(state, "%s names \"%s\" twice", name, part);
        if (n == NAMES_MAX) argp_error(state, "%s takes at most %d names", name, NAMES_MAX);
        out[n++] = part;
    }
    return n;
}

static void broker(struct argp_state *state, struct options *o, char *text)
{
    struct ctask_error e;
    if (!*text) argp_error(state, "the URL after -b is empty");
    urls_free(o->urls);
    o->urls = urls_new(text, &e);
    explicit_bzero(text, strlen(text)); /* argv is public: ps shows it */
    if (!o->urls) argp_error(state, "-b: %s", e.text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'A': o->app_count = split(state, "-A", arg, 4096, o->apps); break;
    case 'Q': o->queue_count = split(state, "-Q", arg, 250, o->queues); break;
    case 'c': o->children = (unsigned)number(state, "-c", arg, 1, 1024); break;
    case 'n': o->node = arg; break;
    case 'b': broker(state, o, arg); break;
    case 'l':
        if (log_level_parse(arg) < 0)
            argp_error(state, "-l takes error, warning, info, debug or trace, not \"%s\"", arg);
        o->level = (enum log_level)log_level_parse(arg);
        break;
    case KEY_PREFETCH:
        o->prefetch =
            strcmp(arg, "auto") == 0 ? 0 : (unsigned)number(state, "--prefetch", arg, 1, 65535);
        break;
    case KEY_GRACE: o->grace = seconds(state, "--grace", arg); break;
    case KEY_HARD: o->limits.hard = seconds(state, "--time-limit", arg); break;
    case KEY_SOFT: o->limits.soft = seconds(state, "--soft-time-limit", arg); break;
    case KEY_TYPE:
        if (*arg == 0 || !queue_type_read(arg, &o->queue_type))
            argp_error(state, "--queue-type takes classic or quorum, not \"%s\"", arg);
        break;
    case KEY_ARGUMENTS: arguments(o, arg); break;
    case KEY_LEASE: o->lease = (unsigned)number(state, "--lease", arg, 1, 1000000); break;
    case KEY_MEMORY: memory(state, o, arg); break;
    case KEY_RLIMIT: rlimits(state, &o->rlimits, arg); break;
    case KEY_MAX_TASKS:
        o->max_tasks_per_child =
            (unsigned)number(state, "--max-tasks-per-child", arg, 1, 1000000000);
        break;
    case KEY_HELD_MEMORY:
        if (!size_parse(arg, &o->held_memory) || o->held_memory == 0)
            argp_error(state, "--held-memory takes a size as 256M, not \"%s\"", arg);
        break;
    case KEY_FAIL_UNKNOWN: o->fail_unknown = true; break;
    case KEY_BODY: o->body_max = (uint64_t)number(state, "--body-limit", arg, 1, 16 << 20); break;
    case KEY_REPLY: o->reply_pattern = arg; break;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is not an option; apps are named with -A", arg);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const char *env(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

/* unsetenv would leave the text where it is, for /proc/PID/environ of this process and each child.
 */
static void env_erase(const char *name)
{
    char *value = getenv(name);
    if (!value) return;
    explicit_bzero(value, strlen(value));
    unsetenv(name);
}

static _Noreturn void refuse(const char *name, const char *why)
{
    fprintf(stderr, "ctask-worker: %s %s\n", name, why);
    exit(EXIT_USAGE);
}

/* What queues are declared as: the arguments may name the type too. */
static void queues(struct options *o)
{
    char why[256];
    const char *type = env("CTASK_QUEUE_TYPE", "");
    const char *name = o->queue_arguments ? "--queue-arguments" : "CTASK_QUEUE_ARGUMENTS";
    if (o->queue_count == 0) {
        o->queues[0] = env("CTASK_QUEUE", "ctask");
        o->queue_count = 1;
    }
    if (o->queue_type == QUEUE_AS_BROKER_LIKES && !queue_type_read(type, &o->queue_type)) {
        snprintf(why, sizeof why, "is classic or quorum, not \"%s\"", type);
        refuse("CTASK_QUEUE_TYPE", why);
    }
    if (!o->queue_arguments) o->queue_arguments = env(name, "");
    if (!queue_arguments_read(o->queue_arguments, &o->queue_type, why, sizeof why))
        refuse(name, why);
}

void options_read(struct options *o, int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *o = (struct options){
        .children = cores > 0 ? (unsigned)cores : 1,
        .level = LOG_INFO,
        .grace = 30,
        .lease = 600,
        .body_max = 4 << 20,
        .held_memory = UINT64_C(256) << 20, /* 32 bodies of that size, which count twice */
    };
    argp_err_exit_status = EXIT_USAGE;
    argp_program_version = "ctask-worker " CTASK_VERSION;
    const struct argp argp = {table, parse, NULL, doc, NULL, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, o);
    queues(o);
    struct ctask_error e;
    if (!o->urls) {
        o->broker_file = *env("CTASK_BROKER_URL", "") ? "" : env("CTASK_BROKER_FILE", "");
        o->urls = urls_default(&e);
    }
    if (!o->urls) {
        fprintf(stderr,
                "ctask-worker: %s; the broker URL is that of -b, CTASK_BROKER_URL or "
                "CTASK_BROKER_FILE\n",
                e.text);
        exit(EXIT_USAGE);
    }
    env_erase("CTASK_BROKER_URL");
}
