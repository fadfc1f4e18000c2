/* strangers.c - see strangers.h. Where the kernel does not list children (CONFIG_PROC_CHILDREN)
 * there are none to be seen. */
#include "worker/strangers.h"

#include "worker/proc.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIST_SIZE 16384

static char before[LIST_SIZE]; /* the children that there were */

/* Takes a process id off the front of a list. 0 at its end. */
static pid_t pid_next(const char **list)
{
    char *end;
    long pid = strtol(*list, &end, 10);
    *list = end;
    return (pid_t)pid;
}

static bool was_before(pid_t pid)
{
    const char *list = before;
    for (pid_t p; (p = pid_next(&list)) > 0;)
        if (p == pid) return true;
    return false;
}

static bool is_ours(const struct worker *w, pid_t pid)
{
    struct child *k;
    list_each(k, &w->pool.all, struct child, link)
        if (k->pid == pid) return true;
    return resolver_has(w->resolver, pid) || was_before(pid);
}

/* Takes over its exit. One that has made us its debugger and stops has not exited. */
static bool has_exited(pid_t pid)
{
    int status;
    pid_t changed = waitpid(pid, &status, WNOHANG);
    return changed < 0 || (changed == pid && !WIFSTOPPED(status));
}

void strangers_init(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!proc_children(before, sizeof before)) before[0] = 0;
}

bool strangers_end(struct worker *w)
{
    bool any = false;
    char text[LIST_SIZE];
    const char *list = text;
    if (!proc_children(text, sizeof text)) return false;
    for (pid_t pid; (pid = pid_next(&list)) > 0;) {
        if (is_ours(w, pid) || has_exited(pid) || w->pid == 1) continue;
        log_info("process pid=%d was left behind by a child: it is killed", (int)pid);
        kill(pid, SIGKILL);
        any = true;
    }
    return any;
}
