/* mess.c - tasks that leave their process changed, one thing each, and one that tells what it
 * finds; for the fault tests, never installed. The state is read here in another way than the
 * worker's own, so far as there is one. */
#include <ctask/task.h>

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <grp.h>

#ifdef __SANITIZE_ADDRESS__
#define mlockall(flags) (errno = ENOSYS, -1) /* ASan's does nothing and says that it did */
#endif

/* ---- Changes: each returns 0 or -1 with errno ------------------------------------------------ */

static void on_signal(int number)
{
    (void)number;
}

static int ignores(int number)
{
    return signal(number, SIG_IGN) == SIG_ERR ? -1 : 0;
}

static int handles(int number)
{
    return signal(number, on_signal) == SIG_ERR ? -1 : 0;
}

static int soft_limit(int resource, rlim_t to)
{
    struct rlimit is;
    if (getrlimit((__rlimit_resource_t)resource, &is) != 0) return -1;
    is.rlim_cur = to;
    return setrlimit((__rlimit_resource_t)resource, &is);
}

/* Long enough that no test waits for it, unless seconds say so. */
static int interval_timer(__itimer_which_t which, time_t seconds)
{
    return setitimer(which, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

static int posix_timer(void)
{
    timer_t timer;
    struct itimerspec in = {.it_value.tv_sec = 1000};
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    if (timer_create(CLOCK_MONOTONIC, &e, &timer) != 0) return -1;
    return timer_settime(timer, 0, &in, NULL);
}

static int block(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return sigprocmask(SIG_BLOCK, &set, NULL);
}

static int alternate_stack(void)
{
    return sigaltstack(&(stack_t){.ss_sp = malloc(65536), .ss_size = 65536}, NULL);
}

static int affinity(void)
{
    cpu_set_t is, one;
    if (sched_getaffinity(0, sizeof is, &is) != 0) return -1;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &is)) {
            CPU_SET(i, &one);
            break;
        }
    errno = EDOM; /* one processor is all there is */
    return CPU_EQUAL(&is, &one) ? -1 : sched_setaffinity(0, sizeof one, &one);
}

static int policy(void)
{
    return sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
}

static int memory_policy(void)
{
    enum { LOCAL = 4 };
    return (int)syscall(SYS_set_mempolicy, LOCAL, NULL, 0);
}

static int io_priority(void)
{
    enum { BEST_EFFORT_7 = 2 << 13 | 7 };
    return (int)syscall(SYS_ioprio_set, 1, 0, BEST_EFFORT_7);
}

static int overwrite_variable(void)
{
    char *value = getenv("MESS");
    errno = ENOENT;
    if (!value || !*value) return -1;
    *value = 'X';
    return 0;
}

static int locale_of_thread(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return c && uselocale(c) ? 0 : -1;
}

static int tiny_is_zero(void)
{
#if defined __x86_64__
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
    return 0;
#else
    errno = ENOSYS;
    return -1;
#endif
}

static int oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int rc = write(fd, "999", 3) == 3 ? 0 : -1;
    close(fd);
    return rc;
}

static int redirect_output(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int rc = dup2(null, STDOUT_FILENO) < 0 ? -1 : 0;
    close(null);
    return rc;
}

static int redirect_input(void)
{
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int rc = dup2(zero, STDIN_FILENO) < 0 ? -1 : 0;
    close(zero);
    return rc;
}

static int leave_files(void)
{
    for (int i = 0; i < 90; i++)
        if (dup(STDIN_FILENO) < 0) return -1;
    return 0;
}

static void *idler(void *ctx)
{
    for (;;) pause();
    return ctx;
}

static int leave_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, idler, NULL) != 0) return -1;
    return pthread_detach(thread);
}

static int filter_calls(void)
{
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {.len = 1, .filter = all};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int session_keyring(void)
{
    enum { JOIN_SESSION_KEYRING = 1 };
    return syscall(SYS_keyctl, JOIN_SESSION_KEYRING, NULL) < 0 ? -1 : 0;
}

static int terminal(void)
{
    int leader = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (leader < 0 || grantpt(leader) != 0 || unlockpt(leader) != 0) return -1;
    return open(ptsname(leader), O_RDWR | O_CLOEXEC) < 0 ? -1 : 0;
}

static int other_root(void)
{
    return chroot("/tmp") == 0 && chdir("/") == 0 ? 0 : -1;
}

/* ---- By name --------------------------------------------------------------------------------- */

#define IF(name, call) \
    if (strcmp(how, name) == 0) return (call)

static int change(const char *how)
{
    IF("nothing", 0);
    IF("directory", chdir("/tmp"));
    IF("root", other_root());
    IF("umask", umask(0123) == 0123 ? -1 : 0);
    IF("euid", seteuid(65534));
    IF("egid", setegid(65534));
    IF("groups", setgroups(1, (gid_t[]){65534}));
    IF("capabilities", prctl(PR_CAPBSET_DROP, 18 /* CAP_SYS_CHROOT */, 0, 0, 0));
    IF("keep capabilities", prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    IF("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    IF("seccomp", filter_calls());
    IF("keyring", session_keyring());
    IF("limit fsize", soft_limit(RLIMIT_FSIZE, 4096));
    IF("limit stack", soft_limit(RLIMIT_STACK, 65536));
    IF("limit cpu", soft_limit(RLIMIT_CPU, 1));
    IF("limit nofile", soft_limit(RLIMIT_NOFILE, 300));
    IF("limit data", soft_limit(RLIMIT_DATA, 1 << 30));
    IF("blocked signal", block(SIGALRM));
    IF("ignored SIGTERM", ignores(SIGTERM));
    IF("ignored SIGCHLD", ignores(SIGCHLD));
    IF("handler of SIGPIPE", handles(SIGPIPE));
    IF("handler of SIGALRM", handles(SIGALRM));
    IF("handler of SIGTERM", handles(SIGTERM));
    IF("handler of SIGINT", handles(SIGINT));
    IF("signal stack", alternate_stack());
    IF("alarm", (alarm(1000), 0));
    IF("ITIMER_VIRTUAL", interval_timer(ITIMER_VIRTUAL, 1000));
    IF("ITIMER_PROF", interval_timer(ITIMER_PROF, 1000));
    IF("POSIX timer", posix_timer());
    IF("nice", setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 3));
    IF("policy", policy());
    IF("affinity", affinity());
    IF("memory policy", memory_policy());
    IF("I/O priority", io_priority());
    IF("timer slack", prctl(PR_SET_TIMERSLACK, 77777));
    IF("new variable", setenv("MESS_NEW", "1", 1));
    IF("changed variable", setenv("MESS", "2", 1));
    IF("overwritten variable", overwrite_variable());
    IF("lost variable", unsetenv("MESS"));
    IF("lost environment", clearenv());
    IF("locale", setlocale(LC_ALL, "C.UTF-8") ? 0 : -1);
    IF("locale of thread", locale_of_thread());
    IF("rounding", fesetround(FE_UPWARD));
    IF("traps", feenableexcept(FE_INVALID) < 0 ? -1 : 0);
    IF("tiny is zero", tiny_is_zero());
    IF("death signal", prctl(PR_SET_PDEATHSIG, 0));
    IF("dumpable", prctl(PR_SET_DUMPABLE, 0));
    IF("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 0));
    IF("name", prctl(PR_SET_NAME, "mess"));
    IF("personality", personality(ADDR_NO_RANDOMIZE) < 0 ? -1 : 0);
    IF("huge pages", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    IF("OOM score", oom_score());
    IF("closed output", close(STDOUT_FILENO));
    IF("redirected output", redirect_output());
    IF("redirected input", redirect_input());
    IF("output does not wait", fcntl(STDERR_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK));
    IF("files", leave_files());
    IF("thread", leave_thread());
    IF("locked memory", mlockall(MCL_CURRENT));
    IF("trace", (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    IF("user namespace", unshare(CLONE_NEWUSER));
    IF("mount namespace", unshare(CLONE_NEWNS));
    IF("network namespace", unshare(CLONE_NEWNET));
    IF("host name namespace", unshare(CLONE_NEWUTS));
    IF("terminal", terminal());
    /* Those that kill: */
    IF("ITIMER_PROF now", setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_usec = 1}, NULL));
    errno = EINVAL;
    return -1;
}

/* Returns null, or why it cannot. */
static ctask_outcome make(struct ctask_call *t)
{
    const char *how;
    if (!task_args(t, &how)) return ctask_failed(t);
    if (change(how) == 0) return task_return_null(t);
    return task_return(t, (const char *)strerror(errno));
}

/* ---- What is found --------------------------------------------------------------------------- */

/* Of a file, what a new process would have, too. */
static void tell_file(FILE *out, const char *path)
{
    static const char *const other[] = {
        "Pid:", "Tgid:",  "NSpid", "NSpgid",    "NSsid",        "NStgid", "Vm",
        "Rss",  "State:", "SigQ:", "voluntary", "nonvoluntary", "FDSize:"};
    char line[4096];
    FILE *in = fopen(path, "re");
    while (in && fgets(line, sizeof line, in)) {
        bool skip = false;
        for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
            skip |= strncmp(line, other[i], strlen(other[i])) == 0;
        if (!skip) fputs(line, out);
    }
    if (in) fclose(in);
}

static void tell_link(FILE *out, const char *path)
{
    char to[256] = "";
    if (readlink(path, to, sizeof to - 1) >= 0) fprintf(out, "%s %s\n", path, to);
}

static void tell_process(FILE *out)
{
    static const char *const links[] = {"cwd", "root", "ns/mnt", "ns/net", "ns/user", "ns/uts"};
    char path[64];
    int a = 0, b = 0;
    stack_t stack;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        snprintf(path, sizeof path, "/proc/self/%s", links[i]);
        tell_link(out, path);
    }
    prctl(PR_GET_PDEATHSIG, &a);
    prctl(PR_GET_CHILD_SUBREAPER, &b);
    sigaltstack(NULL, &stack);
    fprintf(out, "%d %d %d %d %d %d %x %d %p\n", a, b, prctl(PR_GET_DUMPABLE),
            prctl(PR_GET_TIMERSLACK), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0),
            (unsigned)personality(0xffffffff), stack.ss_flags, stack.ss_sp);
    fprintf(out, "sched %d %d io %ld key %ld\n", sched_getscheduler(0),
            getpriority(PRIO_PROCESS, 0), syscall(SYS_ioprio_get, 1, 0),
            syscall(SYS_keyctl, 0, -3, 0));
    fprintf(out, "mempolicy %ld", syscall(SYS_get_mempolicy, &a, NULL, 0, NULL, 0));
    fprintf(out, " %d tty %d\n", a, open("/dev/tty", O_RDONLY | O_CLOEXEC) >= 0);
}

static void tell_signals(FILE *out)
{
    struct itimerval timer;
    for (int i = 1; i < NSIG; i++) {
        struct sigaction is;
        if (sigaction(i, NULL, &is) == 0) fprintf(out, "%p ", (void *)(size_t)is.sa_handler);
    }
    for (int i = 0; i < 3; i++)
        fprintf(out, "timer %d\n",
                getitimer((__itimer_which_t)i, &timer) == 0 && timerisset(&timer.it_value));
}

static void tell_files(FILE *out)
{
    int first = dup(STDIN_FILENO);
    for (int fd = 0; fd < 3; fd++) {
        struct stat s = {0};
        fprintf(out, "fd %d %d", fd, fstat(fd, &s));
        fprintf(out, " %o %x\n", s.st_mode, (unsigned)fcntl(fd, F_GETFL));
    }
    fprintf(out, "first %d\n", first);
    close(first);
}

static void tell_memory(FILE *out)
{
    femode_t mode;
    memset(&mode, 0, sizeof mode);
    fegetmode(&mode);
    fprintf(out, "rounding %d traps %d locale %s %d\n", fegetround(), fegetexcept(),
            setlocale(LC_ALL, NULL), uselocale((locale_t)0) == LC_GLOBAL_LOCALE);
#if defined __x86_64__
    fprintf(out, "mxcsr %x\n", mode.__mxcsr & ~0x3fu);
#endif
    for (char **e = environ; e && *e; e++) fprintf(out, "%s\n", *e);
}

static ctask_outcome state(struct ctask_call *t)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    if (!out) return task_fail(t, "MemoryError", "no memory");
    tell_files(out);
    tell_process(out);
    tell_signals(out);
    tell_memory(out);
    tell_file(out, "/proc/self/status");
    tell_file(out, "/proc/self/limits");
    tell_file(out, "/proc/self/timers");
    tell_file(out, "/proc/self/oom_score_adj");
    tell_file(out, "/proc/self/cgroup");
    fclose(out);
    ctask_outcome o = task_return(t, (const char *)text);
    free(text);
    return o;
}

/* So long on a processor. */
static ctask_outcome spin(struct ctask_call *t)
{
    double seconds;
    struct timespec now;
    if (!task_args(t, &seconds)) return ctask_failed(t);
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 < seconds);
    return task_return(t, seconds);
}

/* The state of a program that the task starts. */
static ctask_outcome program(struct ctask_call *t)
{
    char text[64] = "";
    FILE *out = popen("grep SigIgn /proc/self/status", "re");
    bool got = out && fgets(text, sizeof text, out);
    if (out) pclose(out);
    return got ? task_return(t, (const char *)text) : task_fail(t, "OSError", "no program");
}

CTASK_APP(mess, {TASK_CALL_AS("mess.make", make), .params = "how"},
          {TASK_CALL_AS("mess.state", state), .params = ""},
          {TASK_CALL_AS("mess.spin", spin), .params = "seconds"},
          {TASK_CALL_AS("mess.program", program), .params = ""});
