/* procstate.c - see procstate.h. Two tables: what system calls tell, and what /proc/self/status
 * tells. Readers fill memory that is zero, so what a kernel does not tell is the same each time. */
#include "worker/procstate.h"

#include "base/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define STATUS_SIZE 8192
#define PART_MAX (RLIM_NLIMITS * sizeof(struct rlimit))
#define DESCRIPTORS 64  /* that tasks may leave open */
#define LOCKED_KIB 1024 /* that a library may lock, for its keys */
#define THREAD_TRIES 40 /* a thread that was joined is counted for a moment longer */
#define THREAD_PAUSE 50000

/* Files of /proc/self, kept open: to read one again takes half the time of opening it. */
static int status_fd, timers_fd, oom_fd, cgroup_fd, namespaces_fd;

/* ---- What system calls tell ------------------------------------------------------------------ */

/* A directory by what it is, not by its path: others may rename it. */
static void read_directory(void *to)
{
    struct stat s;
    uint64_t *is = to;
    if (stat(".", &s) != 0) return;
    is[0] = s.st_dev;
    is[1] = s.st_ino;
}

/* The mount has another number in another mount namespace. */
static void read_root(void *to)
{
    struct statx s;
    uint64_t *is = to;
    if (statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &s) != 0) return;
    is[0] = (uint64_t)s.stx_dev_major << 32 | s.stx_dev_minor;
    is[1] = s.stx_ino;
    is[2] = s.stx_mnt_id;
}

/* The next task would run into these: they are looked at often, the others rarely. */
static bool is_common(int limit)
{
    return limit == RLIMIT_AS || limit == RLIMIT_CPU || limit == RLIMIT_DATA ||
           limit == RLIMIT_FSIZE || limit == RLIMIT_NPROC || limit == RLIMIT_STACK ||
           limit == RLIMIT_MEMLOCK || limit == RLIMIT_NOFILE;
}

static void read_limits_if(bool common, struct rlimit *is)
{
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (is_common(i) == common) getrlimit((__rlimit_resource_t)i, &is[i]);
}

static void read_common_limits(void *to)
{
    read_limits_if(true, to);
}

static void read_other_limits(void *to)
{
    read_limits_if(false, to);
}

/* Policy, flags, nice, priority, utilization clamps; not the time slice, which the kernel sets. */
static void read_scheduling(void *to)
{
    enum { SIZE = 56, SLICE = 6, SLICE_END = 12 };
    uint32_t *is = to;
    if (syscall(SYS_sched_getattr, 0, is, SIZE, 0) != 0) return;
    memset(is + SLICE, 0, (SLICE_END - SLICE) * sizeof *is);
}

static void read_priorities(void *to)
{
    int64_t *is = to;
    is[0] = syscall(SYS_ioprio_get, 1, 0);
    is[1] = prctl(PR_GET_TIMERSLACK);
}

static void read_mempolicy(void *to)
{
    int *is = to;
    if (syscall(SYS_get_mempolicy, is, NULL, 0, NULL, 0) != 0) *is = -1;
}

static void read_flags(void *to)
{
    int *is = to;
    is[0] = personality(0xffffffff);
    prctl(PR_GET_PDEATHSIG, &is[1]);
    is[2] = prctl(PR_GET_DUMPABLE);
    prctl(PR_GET_CHILD_SUBREAPER, &is[3]);
    is[4] = prctl(PR_GET_SECUREBITS);
    is[5] = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
    prctl(PR_GET_TSC, &is[6]);
}

static void read_keyring(void *to)
{
    enum { GET_KEYRING_ID = 0, SESSION = -3 };
    *(long *)to = syscall(SYS_keyctl, GET_KEYRING_ID, SESSION, 0);
}

static void read_stack(void *to)
{
    stack_t s;
    uintptr_t *is = to;
    if (sigaltstack(NULL, &s) != 0) return;
    is[0] = (uintptr_t)s.ss_sp;
    is[1] = s.ss_size;
    is[2] = (uintptr_t)s.ss_flags;
}

static int handled[NSIG], handlers; /* signals that had a handler */

/* Which signals are handled or ignored status_fd tells, but not how. */
static void read_handlers(void *to)
{
    enum { MOST = PART_MAX / (3 * sizeof(uint64_t)) };
    uint64_t *is = to;
    for (int i = 0; i < handlers && i < MOST; i++, is += 3) {
        struct sigaction a;
        if (sigaction(handled[i], NULL, &a) != 0) continue;
        is[0] = (uintptr_t)a.sa_sigaction;
        is[1] = (uint64_t)a.sa_flags;
        memcpy(&is[2], &a.sa_mask, sizeof *is);
    }
}

static void read_file(int fd, uint64_t is[3])
{
    struct stat s;
    if (fstat(fd, &s) != 0) return;
    is[0] = s.st_dev;
    is[1] = s.st_ino;
    is[2] = (uint64_t)fcntl(fd, F_GETFL);
}

static void read_input(void *to)
{
    read_file(STDIN_FILENO, to);
}

static void read_outputs(void *to)
{
    uint64_t *is = to;
    read_file(STDOUT_FILENO, is);
    read_file(STDERR_FILENO, is + 3);
}

static void read_oom(void *to)
{
    if (oom_fd >= 0 && pread(oom_fd, to, 16, 0) < 0) *(char *)to = 'x';
}

static void read_namespaces(void *to)
{
    static const char *const names[] = {
        "cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts"};
    char *is = to;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++, is += 32)
        if (readlinkat(namespaces_fd, names[i], is, 32) < 0) *is = 0;
}

/* A controlling terminal can always be opened as /dev/tty. */
static void read_terminal(void *to)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    *(bool *)to = fd >= 0;
    if (fd >= 0) close(fd);
}

static void read_cgroup(void *to)
{
    if (cgroup_fd >= 0 && pread(cgroup_fd, to, PART_MAX, 0) < 0) *(char *)to = 'x';
}

static const struct part {
    const char *changed;
    void (*read)(void *to);
    bool rare; /* it seldom changes, or takes long to read */
} parts[] = {
    {"changed the working directory", read_directory, false},
    {"changed its resource limits", read_common_limits, false},
    {"changed its scheduling policy or nice value", read_scheduling, false},
    {"changed how signals are handled", read_handlers, false},
    {"closed or replaced its standard output or error", read_outputs, false},
    {"closed or replaced its standard input", read_input, true},
    {"changed its resource limits", read_other_limits, true},
    {"changed the root directory or its mount namespace", read_root, true},
    {"changed its I/O priority or timer slack", read_priorities, true},
    {"changed its memory policy", read_mempolicy, true},
    {"changed its personality or prctl(2) flags", read_flags, true},
    {"changed its session keyring", read_keyring, true},
    {"changed the alternate signal stack", read_stack, true},
    {"changed its OOM score", read_oom, true},
    {"changed its namespaces", read_namespaces, true},
    {"has a controlling terminal", read_terminal, true},
    {"changed its cgroup", read_cgroup, true},
};
#define PARTS (sizeof parts / sizeof parts[0])

static uint64_t before[PARTS][PART_MAX / sizeof(uint64_t)];

static const char *parts_changed(bool rare)
{
    uint64_t now[PART_MAX / sizeof(uint64_t)];
    for (size_t i = 0; i < PARTS; i++) {
        if (parts[i].rare != rare) continue;
        memset(now, 0, sizeof now);
        parts[i].read(now);
        if (memcmp(now, before[i], sizeof now) != 0) return parts[i].changed;
    }
    return NULL;
}

/* ---- What /proc/self/status tells ------------------------------------------------------------ */

static bool is_a_debugger(const char *was, const char *now)
{
    (void)was;
    return atol(now) != getppid(); /* any other debugger is not the task's doing */
}

static bool is_little(const char *was, const char *now)
{
    return atol(now) <= atol(was) + LOCKED_KIB;
}

static bool are_gone(const char *was, const char *now)
{
    long most = atol(was), is = atol(now);
    for (int i = 0; i < THREAD_TRIES && is > most; i++) {
        struct stat s;
        const struct timespec pause = {.tv_nsec = THREAD_PAUSE};
        nanosleep(&pause, NULL);
        if (stat("/proc/self/task", &s) == 0) is = (long)s.st_nlink - 2;
    }
    return is <= most;
}

/* In the order of the file. */
static const struct line_of_status {
    const char *key, *changed;
    bool (*is_sound)(const char *was, const char *now); /* although it differs */
} lines[] = {
    {"\nName:", "changed the name of its process", NULL},
    {"\nUmask:", "changed the umask", NULL},
    {"\nTracerPid:", "lets its worker trace it", is_a_debugger},
    {"\nUid:", "changed its user", NULL},
    {"\nGid:", "changed its group", NULL},
    {"\nGroups:", "changed its supplementary groups", NULL},
    {"\nVmLck:", "leaves memory locked", is_little},
    {"\nThreads:", "leaves threads running", are_gone},
    {"\nSigBlk:", "changed which signals are blocked", NULL},
    {"\nSigIgn:", "changed which signals are ignored", NULL},
    {"\nSigCgt:", "changed how signals are handled", NULL},
    {"\nCapInh:", "changed its capabilities", NULL},
    {"\nCapPrm:", "changed its capabilities", NULL},
    {"\nCapEff:", "changed its capabilities", NULL},
    {"\nCapBnd:", "changed its capabilities", NULL},
    {"\nCapAmb:", "changed its capabilities", NULL},
    {"\nNoNewPrivs:", "set no_new_privs", NULL},
    {"\nSeccomp:", "set a system call filter", NULL},
    {"\nSeccomp_filters:", "set a system call filter", NULL},
    {"\nCpus_allowed:", "changed its CPU affinity", NULL},
    {"\nMems_allowed:", "changed its memory nodes", NULL},
};
#define LINES (sizeof lines / sizeof lines[0])

static struct {
    char text[STATUS_SIZE];
    /* Where each line is, from the line break before its key to its own. size 0: this kernel has no
     * such line, or it does not fit the text, as behind over a thousand groups. */
    size_t at[LINES], size[LINES];
} status;

/* With a line break in front, as each key has one. Returns the length; -1: unreadable. */
static ssize_t status_read(char text[STATUS_SIZE])
{
    ssize_t n = status_fd < 0 ? 0 : pread(status_fd, text + 1, STATUS_SIZE - 2, 0);
    text[0] = '\n';
    text[1 + (n > 0 ? n : 0)] = 0;
    return n < 0 ? -1 : n + 1;
}

static void status_note(void)
{
    const char *from = status.text;
    status_read(status.text);
    for (size_t i = 0; i < LINES; i++) {
        const char *line = strstr(from, lines[i].key);
        if (!line) continue;
        from = line + strlen(lines[i].key);
        if (!strchr(from, '\n')) break;
        status.at[i] = (size_t)(line - status.text);
        status.size[i] = (size_t)(from - line) + strcspn(from, "\n") + 1;
    }
}

/* Line i differs, and not in a sound way. It is sought from *from on, which is then moved to it. */
static bool line_changed(size_t i, const char *text, size_t n, const char **from)
{
    const char *was = status.text + status.at[i], *now = text + status.at[i];
    /* Nearly always the line is where it was and says the same: then nothing is sought. */
    if (status.at[i] + status.size[i] > n || memcmp(now, was, status.size[i]) != 0)
        now = strstr(*from, lines[i].key);
    if (!now) return true;
    *from = now;
    if (strncmp(now, was, status.size[i]) == 0) return false;
    size_t key = strlen(lines[i].key);
    return !lines[i].is_sound || !lines[i].is_sound(was + key, now + key);
}

static const char *status_changed(void)
{
    char text[STATUS_SIZE];
    const char *from = text;
    ssize_t n = status_read(text);
    if (n < 0) return "closed files that are not its own";
    for (size_t i = 0; i < LINES; i++)
        if (status.size[i] > 0 && line_changed(i, text, (size_t)n, &from)) return lines[i].changed;
    return NULL;
}

/* ---- Timers ---------------------------------------------------------------------------------- */

/* None was there before: a fork takes none along. */
static bool stop_posix_timers(void)
{
    char text[4096];
    ssize_t n = timers_fd < 0 ? 0 : pread(timers_fd, text, sizeof text - 1, 0);
    if (n <= 0) return false;
    text[n] = 0;
    for (const char *at = text; (at = strstr(at, "ID: ")); at++)
        syscall(SYS_timer_delete, atoi(at + strlen("ID: ")));
    return true;
}

const char *procstate_stop_timers(void)
{
    static const struct {
        __itimer_which_t which;
        const char *left;
    } timers[] = {{ITIMER_REAL, "leaves an alarm set"},
                  {ITIMER_VIRTUAL, "leaves ITIMER_VIRTUAL running"},
                  {ITIMER_PROF, "leaves ITIMER_PROF running"}};
    const char *left = NULL;
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        const struct itimerval none = {0};
        struct itimerval was = {0};
        setitimer(timers[i].which, &none, &was);
        if (timerisset(&was.it_value)) left = timers[i].left;
    }
    if (stop_posix_timers()) left = "leaves a POSIX timer running";
    return left;
}

/* ---- Processor time -------------------------------------------------------------------------- */

static rlim_t seconds; /* that this process may have */

bool procstate_is_worn(void)
{
    struct timespec used;
    if (seconds == RLIM_INFINITY || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0)
        return false;
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9 > (double)seconds / 10;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* The first descriptor that is free tells how many are below it. */
static bool leaves_files(void)
{
    int first = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (first >= 0) close(first);
    return first > DESCRIPTORS;
}

void procstate_note(void)
{
    status_fd = fd_lift(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    timers_fd = fd_lift(open("/proc/self/timers", O_RDONLY | O_CLOEXEC));
    oom_fd = fd_lift(open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC));
    cgroup_fd = fd_lift(open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC));
    namespaces_fd = fd_lift(open("/proc/self/ns", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 1; i < NSIG; i++) {
        struct sigaction a;
        if (sigaction(i, NULL, &a) == 0 && a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN)
            handled[handlers++] = i;
    }
    for (size_t i = 0; i < PARTS; i++) parts[i].read(before[i]);
    struct rlimit cpu;
    seconds = getrlimit(RLIMIT_CPU, &cpu) == 0 ? cpu.rlim_cur : RLIM_INFINITY;
    status_note();
}

const char *procstate_changed(void)
{
    const char *changed = status_changed();
    if (!changed) changed = parts_changed(false);
    return changed ? changed : leaves_files() ? "leaves files open" : NULL;
}

const char *procstate_changed_rare(void)
{
    return parts_changed(true);
}
