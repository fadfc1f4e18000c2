/* hygiene.c - see hygiene.h. Only what would change what the next task does: more memory or a
 * connection that a library keeps is none of it. */
#include "worker/hygiene.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DESCRIPTORS 64 /* that tasks may leave open */

static const int limits[HYGIENE_LIMITS] = {RLIMIT_NOFILE, RLIMIT_AS};
static const int signals[HYGIENE_SIGNALS] = {SIGTERM, SIGCHLD};

void hygiene_note(struct hygiene *h)
{
    memset(h, 0, sizeof *h);
    if (!getcwd(h->directory, sizeof h->directory)) h->directory[0] = 0;
    strncpy(h->locale, setlocale(LC_ALL, NULL), sizeof h->locale - 1);
    h->thread_locale = uselocale((locale_t)0);
    h->umask = umask(0);
    umask(h->umask);
    h->user = geteuid();
    sigprocmask(SIG_SETMASK, NULL, &h->blocked);
    for (int i = 0; i < HYGIENE_SIGNALS; i++) sigaction(signals[i], NULL, &h->actions[i]);
    for (int i = 0; i < HYGIENE_LIMITS; i++)
        getrlimit((__rlimit_resource_t)limits[i], &h->limits[i]);
}

static bool same_directory(const struct hygiene *h)
{
    char now[PATH_MAX];
    return strcmp(getcwd(now, sizeof now) ? now : "", h->directory) == 0;
}

static bool same_locale(const struct hygiene *h)
{
    return strncmp(setlocale(LC_ALL, NULL), h->locale, sizeof h->locale - 1) == 0 &&
           uselocale((locale_t)0) == h->thread_locale;
}

static bool same_umask(const struct hygiene *h)
{
    return umask(h->umask) == h->umask;
}

static bool same_mask(const struct hygiene *h)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    return memcmp(&now, &h->blocked, NSIG / 8) == 0;
}

static bool same_actions(const struct hygiene *h)
{
    struct sigaction now;
    for (int i = 0; i < HYGIENE_SIGNALS; i++)
        if (sigaction(signals[i], NULL, &now) != 0 ||
            now.sa_sigaction != h->actions[i].sa_sigaction)
            return false;
    return true;
}

static bool same_limits(const struct hygiene *h)
{
    struct rlimit now;
    for (int i = 0; i < HYGIENE_LIMITS; i++)
        if (getrlimit((__rlimit_resource_t)limits[i], &now) != 0 ||
            now.rlim_cur != h->limits[i].rlim_cur || now.rlim_max != h->limits[i].rlim_max)
            return false;
    return true;
}

/* The first descriptor that is free tells whether there is one below and how many are above. */
static const char *descriptors(void)
{
    int first = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (first >= 0) close(first);
    if (first < STDERR_FILENO + 1) return "closed its standard output or error";
    return first > DESCRIPTORS ? "leaves files open" : NULL;
}

/* libc knows if there never was a second one; else each is a directory in task/, which has a link
 * for each and two of its own. */
static bool has_threads(void)
{
    struct stat s;
    return !__libc_single_threaded && stat("/proc/self/task", &s) == 0 && s.st_nlink > 3;
}

const char *hygiene_check(const struct hygiene *h)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    if (!same_directory(h)) return "changed the working directory";
    if (!same_umask(h)) return "changed the umask";
    if (!same_locale(h)) return "changed the locale";
    if (!same_mask(h)) return "changed which signals are blocked";
    if (!same_actions(h)) return "changed how signals are handled";
    if (!same_limits(h)) return "changed its resource limits";
    if (geteuid() != h->user) return "changed its user";
    if (alarm(0) != 0) return "leaves an alarm set";
    if (has_threads()) return "leaves threads running";
    return descriptors();
}
