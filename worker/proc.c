/* proc.c - see proc.h. */
#include "worker/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The start of /proc/PID/`name` as a string; false if it cannot be read. */
static bool proc_read(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

char proc_state(pid_t pid)
{
    char text[512];
    if (!proc_read(pid, "stat", text, sizeof text)) return 0;
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    return name_end && name_end[1] == ' ' ? name_end[2] : 0;
}

int64_t proc_rss(pid_t pid)
{
    char text[128];
    int64_t pages;
    if (!proc_read(pid, "statm", text, sizeof text)) return -1;
    if (sscanf(text, "%*u %" SCNd64, &pages) != 1) return -1;
    return pages * sysconf(_SC_PAGESIZE);
}
