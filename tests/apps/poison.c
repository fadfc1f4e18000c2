/* poison.c - tasks that do what no task should, one thing each, for the fault tests; never
 * installed. Whatever ends its process first writes one line to the file that it is given, so that
 * its starts can be counted. */
#include <ctask/task.h>

#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One line, whole also beside other processes. */
static void ledger(const char *path, const char *text)
{
    char line[256];
    int n = snprintf(line, sizeof line, "%s %d\n", text, (int)getpid());
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n) perror(path);
    close(fd);
}

/* ---- Ways to end a process ------------------------------------------------------------------- */

static void by_signal(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

static void by_segv(void)
{
    by_signal(SIGSEGV);
}

static void by_fpe(void)
{
    by_signal(SIGFPE);
}

static void by_term(void)
{
    by_signal(SIGTERM);
}

/* A page of a file that has no bytes there. */
static void by_bus(void)
{
    char name[] = "/tmp/poison-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) (void)*page;
}

static int deeper(volatile char *above)
{
    volatile char frame[4096];
    frame[0] = above ? above[0] : 1;
    return frame[0] ? deeper(frame) + frame[0] : 0;
}

static void by_stack(void)
{
    deeper(NULL);
}

static void by_exit(void)
{
    exit(0);
}

static void by_exit_now(void)
{
    _exit(3);
}

static void by_closing(void)
{
    closefrom(0);
    pause();
}

/* Not what the parent understands, to all that could be the parent. */
static void by_junk(void)
{
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    for (int fd = 0; fd < 1024; fd++)
        if (send(fd, junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            (void)!write(fd, junk, fd <= 2 ? 1 : sizeof junk);
    pause();
}

/* A sound frame that says "done", to all that could be the parent; but not this job's. */
static void by_forgery(void)
{
    static const unsigned char done[13 + 17] = {0, 0, 0, 17, 4, [13] = 1};
    for (int fd = 3; fd < 1024; fd++) (void)!send(fd, done, sizeof done, MSG_NOSIGNAL);
    pause();
}

/* The worker is told of the signal that comes next, as a debugger is. */
static void by_trace(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGUSR2);
}

static void *traced(void *ctx)
{
    by_trace();
    return ctx;
}

/* A thread that is traced is no child of the worker's, but the worker has to wait for it. */
static void by_traced_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, traced, NULL) == 0) pthread_join(thread, NULL);
}

static void *traced_silently(void *ready)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    sem_post(ready);
    pause();
    return NULL;
}

/* The worker has to wait for each of the threads before it hears of the process, and for all of
 * them at one time, since it stands meanwhile. */
static void by_many_traced_threads(void)
{
    enum { THREADS = 200 };
    sem_t ready;
    pthread_t thread;
    sem_init(&ready, 0, 0);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, traced_silently, &ready) == 0) sem_wait(&ready);
    kill(getppid(), SIGSTOP);
    _exit(3);
}

static void by_kill(void)
{
    kill(getpid(), SIGKILL);
}

static void *stay(void *ctx)
{
    for (;;) pause();
    return ctx;
}

static void by_leaving_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, stay, NULL);
    pthread_exit(NULL);
}

static const struct {
    const char *name;
    void (*die)(void);
} ways[] = {
    {"segv", by_segv},
    {"abort", abort},
    {"fpe", by_fpe},
    {"bus", by_bus},
    {"stack", by_stack},
    {"exit", by_exit},
    {"_exit", by_exit_now},
    {"term", by_term},
    {"closefrom", by_closing},
    {"junk", by_junk},
    {"kill", by_kill},
    {"forge", by_forgery},
    {"main-thread", by_leaving_a_thread},
    {"trace", by_trace},
    {"traced-thread", by_traced_thread},
    {"traced-threads", by_many_traced_threads},
};

static ctask_outcome die(struct ctask_call *t)
{
    const char *path, *how, *last_words = NULL;
    if (!task_args(t, &path, &how, &last_words)) return ctask_failed(t);
    ledger(path, how);
    if (last_words) fprintf(stderr, "%s", last_words);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(how, ways[i].name) == 0) ways[i].die();
    return task_fail(t, "ValueError", "knows no way \"%s\"", how);
}

/* ---- Death after the last word --------------------------------------------------------------- */

/* The system call that the process's first thread is in; -1: none. */
static long call_of_main(void)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool in_one = read(fd, text, sizeof text - 1) > 0 && text[0] >= '0' && text[0] <= '9';
    close(fd);
    return in_one ? atol(text) : -1;
}

/* Kills the process when it waits for its next job: the end of this one is on its way to the
 * parent, which does not read it yet. */
static void *killer(void *ctx)
{
    while (call_of_main() != SYS_recvfrom) continue;
    ledger(ctx, "hit");
    kill(getpid(), SIGKILL);
    return NULL;
}

static ctask_outcome last_word(struct ctask_call *t)
{
    static char kept[256]; /* the thread outlives the call */
    const char *path, *id;
    pthread_t thread;
    if (!task_args(t, &path, &id)) return ctask_failed(t);
    ledger(path, id);
    snprintf(kept, sizeof kept, "%s", path);
    kill(getppid(), SIGSTOP); /* whoever sent this task lets it go on */
    if (pthread_create(&thread, NULL, killer, kept) != 0)
        return task_fail(t, "OSError", "no thread");
    return task_return_bool(t, ctask_call_redelivered(t));
}

/* ---- A process that is not as it was --------------------------------------------------------- */

static void *idler(void *ctx)
{
    pause();
    return NULL;
    return ctx;
}

static void leave_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, idler, NULL) == 0) pthread_detach(thread);
}

static void change_mask(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void lower_limit(void)
{
    struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};
    setrlimit(RLIMIT_NOFILE, &few);
}

static void leave_files(void)
{
    for (int i = 0; i < 90; i++) (void)!dup(STDIN_FILENO);
}

static void change_directory(void)
{
    (void)!chdir("/");
}

static void change_umask(void)
{
    umask(0123);
}

static void change_locale(void)
{
    setlocale(LC_ALL, "C.UTF-8");
}

static void change_handler(void)
{
    signal(SIGTERM, SIG_IGN);
}

static void leave_alarm(void)
{
    alarm(1000);
}

static void close_output(void)
{
    close(STDOUT_FILENO);
}

static void nothing(void)
{
}

static const struct {
    const char *name;
    void (*act)(void);
} misdeeds[] = {
    {"thread", leave_thread},
    {"mask", change_mask},
    {"limit", lower_limit},
    {"files", leave_files},
    {"directory", change_directory},
    {"umask", change_umask},
    {"locale", change_locale},
    {"handler", change_handler},
    {"alarm", leave_alarm},
    {"output", close_output},
    {"nothing", nothing},
};

/* Returns its process. */
static ctask_outcome misbehave(struct ctask_call *t)
{
    const char *how;
    if (!task_args(t, &how)) return ctask_failed(t);
    for (size_t i = 0; i < sizeof misdeeds / sizeof misdeeds[0]; i++)
        if (strcmp(how, misdeeds[i].name) == 0) {
            misdeeds[i].act();
            return task_return(t, (int64_t)getpid());
        }
    return task_fail(t, "ValueError", "knows no misdeed \"%s\"", how);
}

/* ---- Noise and offspring --------------------------------------------------------------------- */

static ctask_outcome say(struct ctask_call *t)
{
    const char *text;
    int64_t times = 1;
    bool out = false;
    if (!task_args(t, &text, &times, &out)) return ctask_failed(t);
    for (int64_t i = 0; i < times; i++) fputs(text, out ? stdout : stderr);
    return task_return(t, times);
}

/* A process that outlives its task, of the same group or, by two forks, a daemon; returns its id.
 */
static ctask_outcome beget(struct ctask_call *t)
{
    bool daemon;
    int line[2];
    pid_t pid = 0;
    if (!task_args(t, &daemon)) return ctask_failed(t);
    if (pipe(line) != 0) return task_fail(t, "OSError", "no pipe");
    if (fork() == 0) {
        if (daemon && (setsid() < 0 || fork() != 0)) _exit(0);
        pid = getpid();
        (void)!write(line[1], &pid, sizeof pid);
        for (;;) pause();
    }
    bool got = read(line[0], &pid, sizeof pid) == sizeof pid;
    close(line[0]);
    close(line[1]);
    return got ? task_return(t, (int64_t)pid) : task_fail(t, "OSError", "no process");
}

/* A task that does well, and leaves a line. */
static ctask_outcome live(struct ctask_call *t)
{
    const char *path, *id;
    int64_t us = 0;
    if (!task_args(t, &path, &id, &us)) return ctask_failed(t);
    ledger(path, id);
    usleep((useconds_t)us);
    return task_return_bool(t, ctask_call_redelivered(t));
}

/* Sends so many messages of so many bytes. */
static ctask_outcome flood(struct ctask_call *t)
{
    int64_t messages, bytes, i = 0;
    if (!task_args(t, &messages, &bytes)) return ctask_failed(t);
    char *text = calloc(1, (size_t)bytes + 1);
    if (!text) return task_fail(t, "MemoryError", "no memory");
    memset(text, 'x', (size_t)bytes);
    while (i < messages && task_send("demo.echo", text) == CTASK_OK) i++;
    free(text);
    return task_return(t, i);
}

CTASK_APP(poison, {TASK_CALL_AS("poison.flood", flood), .params = "messages, bytes"},
          {TASK_CALL_AS("poison.die", die), .params = "ledger, how, last_words=null"},
          {TASK_CALL_AS("poison.die_early", die), .params = "ledger, how, last_words=null",
           .ack = CTASK_ACK_EARLY},
          {TASK_CALL_AS("poison.last_word", last_word), .params = "ledger, id"},
          {TASK_CALL_AS("poison.misbehave", misbehave), .params = "how"},
          {TASK_CALL_AS("poison.say", say), .params = "text, times=1, stdout=false"},
          {TASK_CALL_AS("poison.beget", beget), .params = "daemon"},
          {TASK_CALL_AS("poison.live", live), .params = "ledger, id, us=0"},
          {TASK_CALL_AS("poison.live_early", live), .params = "ledger, id, us=0",
           .ack = CTASK_ACK_EARLY});
