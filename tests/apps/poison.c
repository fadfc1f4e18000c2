/* poison.c - tasks that do what no task should, one thing each, for the fault tests; never
 * installed. Whatever ends its process first writes one line to the file that it is given, so that
 * its starts can be counted. */
#include <ctask/task.h>

#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

static void by_kill(void)
{
    kill(getpid(), SIGKILL);
}

static const struct {
    const char *name;
    void (*die)(void);
} ways[] = {
    {"segv", by_segv},         {"abort", abort},  {"fpe", by_fpe},        {"bus", by_bus},
    {"stack", by_stack},       {"exit", by_exit}, {"_exit", by_exit_now}, {"term", by_term},
    {"closefrom", by_closing}, {"junk", by_junk}, {"kill", by_kill},
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

/* Kills the process as soon as the end of the job is on its way to the parent, whole: it is written
 * in one piece. */
static void *killer(void *ctx)
{
    int unread = 0, line = -1, type;
    for (int fd = 3; fd < 4096 && line < 0; fd++) {
        socklen_t n = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0) line = fd;
    }
    while (unread == 0 && ioctl(line, SIOCOUTQ, &unread) == 0) continue;
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
    if (pthread_create(&thread, NULL, killer, kept) != 0)
        return task_fail(t, "OSError", "no thread");
    return task_return_bool(t, ctask_call_redelivered(t));
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

CTASK_APP(poison, {TASK_CALL_AS("poison.die", die), .params = "ledger, how, last_words=null"},
          {TASK_CALL_AS("poison.die_early", die), .params = "ledger, how, last_words=null",
           .ack = CTASK_ACK_EARLY},
          {TASK_CALL_AS("poison.last_word", last_word), .params = "ledger, id"},
          {TASK_CALL_AS("poison.live", live), .params = "ledger, id, us=0"});
