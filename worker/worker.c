/* worker.c - start, the loop, the end. The loop is one screen: what to wait for is computed from
 * state each turn, and each part does what it can without waiting. */
#include "worker/worker.h"
#include "worker/batch.h"
#include "worker/limits.h"
#include "worker/strangers.h"
#include "worker/watch.h"

#include "base/secret.h"
#include "task/loader.h"

#include <ctask/worker.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define UNCONFIRMED_MAX 1000 /* results under way before nothing more is started */
#define HEARTBEAT 10         /* seconds, as RabbitMQ recommends 5 to 20 */
#define EXIT_CHILDREN 70
#define TURN_MAX (100 * CLOCK_MS)
#define SPARES_MAX 1000
#define FAILURES_MAX 10           /* children that died at once, in a row */
#define POLL_EACH (10 * CLOCK_MS) /* all children, while many tasks are under way */

/* What is polled. */
enum { SIGNALS, IN, OUT, NAMES, CHILDREN };

/* ---- The loop -------------------------------------------------------------------------------- */

static bool may_start(const struct worker *w)
{
    return w->drain == DRAIN_RUN && broker_unconfirmed(w->out) < UNCONFIRMED_MAX &&
           w->unconfirmed_bytes < UNCONFIRMED_BYTES_MAX;
}

/* The first READY request. While that waits for a process of its own, which may take seconds to
 * come, an idle child is given the first that does not; none stands in a row before it, or no child
 * would ever be idle and go. */
static struct request *next_ready(struct worker *w, struct child **k)
{
    struct list *ready = &w->requests[REQUEST_READY];
    struct request *first = list_first(ready, struct request, link), *r;
    *k = jobs_taker(w, first);
    if (*k || !first->alone) return first;
    *k = pool_idle(&w->pool);
    list_each(r, ready, struct request, link)
        if (!r->alone) return r;
    return NULL;
}

/* What a child, *k, is to be given now. Burials first: somebody waits for the bad news, and they
 * hold nothing up for long. */
static struct request *next_job(struct worker *w, struct child **k)
{
    const struct list *burial = &w->requests[REQUEST_BURIAL], *ready = &w->requests[REQUEST_READY];
    struct request *r = NULL;
    *k = NULL;
    if (watch_is_barren(w)) return NULL;
    if (!list_empty(burial)) {
        r = list_first(burial, struct request, link);
        *k = jobs_taker(w, r);
    } else if (!list_empty(ready) && may_start(w)) {
        r = next_ready(w, k);
    }
    return *k ? r : NULL;
}

static void dispatch(struct worker *w)
{
    struct child *k;
    for (struct request *r; (r = next_job(w, &k));)
        if (!consumer_expired(w, r)) jobs_give(w, k, r);
    pool_write(&w->pool);
}

static int64_t next_wake(struct worker *w)
{
    struct child *k;
    if (next_job(w, &k)) return w->now; /* a child was born or results were confirmed since */
    int64_t at = clock_earlier(consumer_next(w), pool_next(&w->pool));
    at = clock_earlier(at, jobs_next(w));
    at = clock_earlier(at, limits_next(w));
    at = clock_earlier(at, watch_next(w));
    at = clock_earlier(at, repost_next(w));
    at = clock_earlier(at, lease_next(w));
    at = clock_earlier(at, window_next(w));
    at = clock_earlier(at, idle_next(w));
    return w->drain > DRAIN_RUN ? clock_earlier(at, w->drain_until) : at;
}

static void check_children(struct worker *w)
{
    if (w->pool.failures < FAILURES_MAX) return;
    log_error("the last %d children died as soon as they had started: giving up", FAILURES_MAX);
    w->exit_status = EXIT_CHILDREN;
    drain_begin(w, DRAIN_NOW);
}

/* The turn that ends here. Heartbeats, acks and limits wait for the whole of it. One that was long
 * without computing had no processor, or waited for what it may not wait for. What was computed is
 * looked at now and then, so a little of that may be of earlier turns. */
static void measure_turn(struct worker *w, int64_t now)
{
    int64_t length = now - w->now;
    if (length > w->longest_turn) w->longest_turn = length;
    if (length <= TURN_MAX && now - w->cpu_at < TURN_MAX / 4) return;
    int64_t cpu = clock_cpu();
    if (length > TURN_MAX)
        log_warn("a turn of the loop took %.0f ms, %.0f ms of them on a processor",
                 (double)length / CLOCK_MS, (double)(cpu - w->cpu) / CLOCK_MS);
    w->cpu = cpu;
    w->cpu_at = now;
}

/* Sleeps until something is to be done, at the latest at `wake`. With many short tasks under way it
 * pauses for 1 ms, then reads everything at once; children have jobs in line meanwhile, and nobody
 * waits for one of these tasks alone. What they have done is on their lines, without a bell;
 * the descriptors of all of them are looked at now and then, for what printed and for who hung up.
 */
static void sleep_until(struct worker *w, struct pollfd *fds, unsigned n, int64_t wake, int64_t now)
{
    bool many = jobs_are_many(w);
    if (many != w->batch) batch_set(w->batch = many);
    if (many && !pool_is_full(&w->pool)) {
        const struct timespec pause = {.tv_nsec = JOBS_PAUSE};
        bool all = now - w->polled_at >= POLL_EACH;
        if (all) w->polled_at = now;
        nanosleep(&pause, NULL);
        poll(fds, all ? n : CHILDREN, 0);
    } else {
        poll(fds, n, pool_listen(&w->pool) ? 0 : clock_poll_ms(wake, now));
    }
}

int worker_run(struct worker *w)
{
    struct pollfd *fds = calloc(CHILDREN + POLLED * w->options->children, sizeof *fds);
    if (!fds) abort();
    w->now = clock_now();
    while (w->drain != DRAIN_DONE) {
        int64_t wake = next_wake(w);
        fds[SIGNALS] = (struct pollfd){.fd = w->signals, .events = POLLIN};
        broker_poll(w->in, &fds[IN], &wake);
        broker_poll(w->out, &fds[OUT], &wake);
        resolver_poll(w->resolver, &fds[NAMES]);
        unsigned n = CHILDREN + pool_poll(&w->pool, fds + CHILDREN);
        int64_t now = clock_now();
        measure_turn(w, now);
        sleep_until(w, fds, n, wake, now);
        w->now = clock_now();

        broker_polled(w->in, fds[IN].revents);
        broker_polled(w->out, fds[OUT].revents);
        if (fds[SIGNALS].revents) drain_read(w);
        resolver_read(w->resolver);
        broker_turn(w->in, w->now);
        consumer_read(w);
        consumer_due(w);
        pool_turn(w);
        jobs_turn(w);
        limits_turn(w);
        watch_turn(w);
        dispatch(w);
        repost_due(w);
        lease_turn(w);
        gather_turn(w);
        broker_turn(w->out, w->now);
        finish_read(w);
        consumer_skipped(w);
        check_children(w);
        pool_spawn(w);
        window_adjust(w);
        back_turn(w);
        idle_turn(w);
        drain_turn(w);
        broker_flush(w->in); /* the acks of this turn */
        broker_flush(w->out);
    }
    free(fds);
    return w->exit_status;
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void refuse(const struct ctask_error *e)
{
    fprintf(stderr, "ctask-worker: %s\n", e->text);
    exit(EXIT_USAGE);
}

static void load_apps(struct worker *w, const struct ctask_app *const *linked)
{
    const struct options *o = w->options;
    struct ctask_error e;
    const struct ctask_app *app;
    if (o->app_count == 0) {
        if (!linked[0] || linked[1]) {
            error_set(&e, CTASK_EINVAL,
                      "which tasks? Name an app, as in -A primes; --help says more");
            refuse(&e);
        }
        if (registry_add(&w->registry, linked[0], &e) != CTASK_OK) refuse(&e);
    }
    for (size_t i = 0; i < o->app_count; i++)
        if (loader_find(o->apps[i], linked, &app, &e) != CTASK_OK ||
            registry_add(&w->registry, app, &e) != CTASK_OK)
            refuse(&e);
}

static void name_node(struct worker *w)
{
    char host[128] = "localhost";
    gethostname(host, sizeof host - 1);
    if (!w->options->node)
        snprintf(w->node, sizeof w->node, "ctask%d@%s", (int)w->pid, host);
    else if (strchr(w->options->node, '@'))
        snprintf(w->node, sizeof w->node, "%s", w->options->node);
    else
        snprintf(w->node, sizeof w->node, "%s@%s", w->options->node, host);
}

static struct broker *connect_as(struct worker *w, const char *role, const struct broker *leader)
{
    char name[300];
    snprintf(name, sizeof name, "%s %s", w->node, role);
    struct broker *b = broker_new(&(struct broker_config){
        .url = w->options->urls->at,
        .url_count = w->options->urls->count,
        .follow = leader,
        .name = name,
        .heartbeat = HEARTBEAT,
        /* Dispatch stops long before this; a result that is there must never be refused a place. */
        .window = UINT32_MAX,
        .window_bytes = SIZE_MAX,
        .body_max = w->options->body_max,
        .queue_type = w->options->queue_type,
        .queue_arguments = w->options->queue_arguments,
        .resolve = resolver_ask,
        .ctx = w->resolver,
    });
    if (!b) abort();
    return b;
}

static void print_task(void *ctx, const struct ctask_app *app, const struct ctask_task *t)
{
    (void)ctx;
    (void)app;
    fprintf(stderr, "    %s(%s)%s%s\n", t->name, t->params ? t->params : "...", t->help ? "  " : "",
            t->help ? t->help : "");
}

static void print_banner(const struct worker *w)
{
    const struct options *o = w->options;
    char url[800];
    if (o->level < LOG_INFO) return;
    fprintf(stderr, "ctask-worker %s, %s\n", CTASK_VERSION, w->node);
    for (unsigned i = 0; i < o->urls->count; i++)
        fprintf(stderr, "  %-9s %s\n", i ? "or" : "broker",
                url_show(&o->urls->at[i], url, sizeof url));
    fprintf(stderr, "  queues   ");
    for (size_t i = 0; i < o->queue_count; i++) fprintf(stderr, " %s", o->queues[i]);
    fprintf(stderr, "\n  children  %u, one task each at a time\n", o->children);
    if (o->prefetch)
        fprintf(stderr, "  prefetch  %u\n", o->prefetch);
    else
        fprintf(stderr, "  prefetch  auto\n");
    fprintf(stderr, "  grace     %g s after SIGTERM or Ctrl-C\n  tasks\n", o->grace);
    registry_each(&w->registry, print_task, NULL);
    if (geteuid() == 0) log_warn("running as root: every task may do anything on this machine");
}

static void warn_if_public(const char *name, const char *path)
{
    if (path && *path && secret_is_public(path))
        log_warn("%s=%s can be read by every user of this machine: take that away (chmod o-r)",
                 name, path);
}

/* What is as good as a password. */
static void warn_of_public_files(const struct options *o)
{
    warn_if_public("CTASK_BROKER_FILE", o->broker_file);
    for (unsigned i = 0; i < o->urls->count; i++) {
        const struct url *u = &o->urls->at[i];
        bool apart = *u->keyfile;
        warn_if_public(apart ? "keyfile" : "certfile", apart ? u->keyfile : u->certfile);
    }
}

static void worker_start(struct worker *w)
{
    for (int i = 0; i < REQUEST_STATES; i++) list_init(&w->requests[i]);
    throttle_init(&w->refusals);
    throttle_init(&w->burials);
    lease_init(w);
    w->pid = getpid();
    w->now = clock_now();
    w->spares = (struct spares){.size = sizeof(struct request), .most = SPARES_MAX};
    window_cost(w, 0.1); /* until tasks have shown theirs */
    name_node(w);
    log_open(STDERR_FILENO, w->options->level, w->node);
    print_banner(w);
    warn_of_public_files(w->options);
    w->signals = drain_signals();
    w->resolver = resolver_new();
    if (w->signals < 0 || !w->resolver) abort();
    json_object_seed(0); /* once, not in each child */
    message_reply_allow(w->options->reply_pattern);
    strangers_init();
    /* The first children are born before there is a socket that they could inherit. */
    pool_init(&w->pool, w->options->children);
    while (pool_next(&w->pool) <= w->now) pool_spawn(w);
    w->in = connect_as(w, "in", NULL);
    /* What a task led to belongs on the broker that the task came from. */
    w->out = connect_as(w, "out", w->in);
    consumer_start(w);
    for (size_t i = 0; i < w->source_count; i++)
        window_open(w, &w->sources[i],
                    w->options->prefetch ? w->options->prefetch : 2 * w->options->children);
}

static void worker_end(struct worker *w)
{
    pool_end(&w->pool);
    int64_t deadline = clock_in(1);
    while (strangers_end(w) && clock_now() < deadline) poll(NULL, 0, 1);
    broker_free(w->out); /* before the one that it follows */
    broker_free(w->in);
    resolver_free(w->resolver);
    spares_done(&w->spares);
    registry_done(&w->registry);
    heap_done(&w->due);
    heap_done(&w->reposts);
    throttle_done(&w->refusals);
    throttle_done(&w->burials);
    for (size_t i = 0; i < w->source_count; i++) {
        free(w->sources[i].name);
        free(w->sources[i].dead);
    }
    free(w->sources);
    close(w->signals);
}

/* Whoever starts us with a closed descriptor gets no socket in its place; whoever stops reading
 * what we say does not stop us. */
static void keep_standard_descriptors(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a spooled body over RLIMIT_FSIZE is an error of write(2) */
    int fd;
    do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close(fd);
}

#define LINKED_MAX 32

int ctask_worker_main(int argc, char **argv, const struct ctask_app *first, ...)
{
    const struct ctask_app *linked[LINKED_MAX + 1] = {first};
    va_list ap;
    va_start(ap, first);
    for (size_t n = 1;
         first && n < LINKED_MAX && (linked[n] = va_arg(ap, const struct ctask_app *)); n++)
        ;
    va_end(ap);

    keep_standard_descriptors();
    /* Until the process ends; what they still hold then needs no freeing. */
    static struct options options;
    static struct worker w = {.options = &options};
    if (!broker_wipe_memory())
        fprintf(stderr,
                "ctask-worker: OpenSSL was used before the worker began, so the memory that "
                "it frees is not zeroed\n");
    options_read(&options, argc, argv);
    /* It holds the broker's password: no core is dumped, and none but root looks into its memory,
     * nor do its own tasks. */
    prctl(PR_SET_DUMPABLE, 0);
    load_apps(&w, linked);
    worker_start(&w);
    int status = worker_run(&w);
    worker_end(&w);
    return status;
}
