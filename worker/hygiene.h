/* hygiene.h - what a task may not leave changed in its process, since the next task would find it
 * so: directory, umask, signals, limits, locale, threads, an alarm. Costs 4 us. A process that is
 * not as it was is replaced, not mended, but for what looking at it mends: umask and alarm. */
#ifndef WORKER_HYGIENE_H
#define WORKER_HYGIENE_H

#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#define HYGIENE_LIMITS 2
#define HYGIENE_SIGNALS 2

/* A process as it was before its first task. */
struct hygiene {
    char directory[PATH_MAX], locale[128];
    locale_t thread_locale;
    mode_t umask;
    uid_t user;
    sigset_t blocked;
    struct sigaction actions[HYGIENE_SIGNALS];
    struct rlimit limits[HYGIENE_LIMITS];
};

void hygiene_note(struct hygiene *h);
/* What a task has changed since ("changed the umask"), or NULL. Takes over the exits of orphans. */
const char *hygiene_check(const struct hygiene *h);

#endif
