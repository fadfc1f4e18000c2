/* proc.c - see proc.h. */
#include "worker/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The start of a file as a string; false if it cannot be read. */
static bool file_read(const char *path, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got = 1; /* the kernel hands out a page at a time */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    while (n < size - 1 && (got = read(fd, out + n, size - 1 - n)) > 0) n += (size_t)got;
    close(fd);
    out[n] = 0;
    return got >= 0 && n > 0;
}

static bool proc_read(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return file_read(path, out, size);
}

char proc_state(pid_t pid)
{
    char text[512];
    if (!proc_read(pid, "stat", text, sizeof text)) return 0;
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    return name_end && name_end[1] == ' ' ? name_end[2] : 0;
}

bool proc_is_exiting(pid_t pid)
{
    enum { EXITING = 0x4 }; /* PF_EXITING of the kernel's task flags */
    char text[512];
    unsigned flags;
    if (!proc_read(pid, "stat", text, sizeof text)) return true;
    const char *name_end = strrchr(text, ')');
    return !name_end || sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1 ||
           flags & EXITING;
}

int64_t proc_oom_kills(void)
{
    char text[16384];
    int64_t n;
    if (!file_read("/proc/vmstat", text, sizeof text)) return -1;
    const char *line = strstr(text, "\noom_kill ");
    return line && sscanf(line, " oom_kill %" SCNd64, &n) == 1 ? n : -1;
}

bool proc_children(char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return file_read(path, out, size);
}

int64_t proc_rss(pid_t pid)
{
    char text[128];
    int64_t pages;
    if (!proc_read(pid, "statm", text, sizeof text)) return -1;
    if (sscanf(text, "%*u %" SCNd64, &pages) != 1) return -1;
    return pages * sysconf(_SC_PAGESIZE);
}
