/* ends.c - see ends.h. */
#include "worker/ends.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* Not to be used up by children: with fewer of them the broker is to be reached too. */
#define SPARE_FDS 10 /* connections, a name look-up, bodies on their way to disk */

static bool pipe_make(int *from, int *to)
{
    int both[2];
    if (pipe2(both, O_CLOEXEC) != 0) return false;
    *from = both[0];
    *to = both[1];
    return true;
}

bool ends_open(struct ends *parents, struct ends *childs)
{
    *parents = *childs = (struct ends){.output = -1, .life = -1};
    if (!line_pair(&parents->line, &childs->line)) return false;
    if (pipe_make(&parents->output, &childs->output) && pipe_make(&childs->life, &parents->life) &&
        fd_nonblock(parents->output, true) == 0) {
        if (parents->life + SPARE_FDS < sysconf(_SC_OPEN_MAX)) return true;
        errno = EMFILE;
    }
    int error = errno;
    ends_close(childs);
    ends_close(parents);
    errno = error;
    return false;
}

static void close_open(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void ends_close(struct ends *e)
{
    line_close(&e->line);
    close_open(&e->output);
    close_open(&e->life);
}

static void close_others(int a, int b)
{
    int low = a < b ? a : b, high = a < b ? b : a;
    if (low > STDERR_FILENO + 1) close_range(STDERR_FILENO + 1, (unsigned)low - 1, 0);
    if (high > low + 1) close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    closefrom(high + 1);
}

bool ends_settle(struct ends *childs)
{
    struct ends e = {.line = childs->line, .life = fd_lift(childs->life)};
    e.line.bell = fd_lift(childs->line.bell);
    if (e.line.bell < 0 || e.life < 0) return false;
    if (dup2(childs->output, STDOUT_FILENO) < 0 || dup2(childs->output, STDERR_FILENO) < 0)
        return false;
    e.output = STDERR_FILENO;
    close_others(e.line.bell, e.life);
    *childs = e;
    /* SIGKILL to the group, in place of SIGIO, when the other end is closed. */
    return fcntl(e.life, F_SETOWN, -getpgrp()) == 0 && fcntl(e.life, F_SETSIG, SIGKILL) == 0 &&
           fcntl(e.life, F_SETFL, fcntl(e.life, F_GETFL) | O_ASYNC) == 0;
}
