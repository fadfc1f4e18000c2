/* fd.c - see fd.h. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

int fd_pair(int out[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out);
}

#define HIGH 100

int fd_lift(int fd)
{
    int up = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    if (up < 0) up = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    if (up >= 0) close(fd);
    errno = error;
    return up;
}

int fd_above_standard(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    close(fd);
    errno = error;
    return up;
}

int fd_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -1;
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return wanted == flags ? 0 : fcntl(fd, F_SETFL, wanted);
}

/* Files raise no SIGPIPE, sockets can be asked not to. */
static ssize_t write_quietly(int fd, const void *p, size_t n)
{
    ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
    return done < 0 && errno == ENOTSOCK ? write(fd, p, n) : done;
}

int fd_write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write_quietly(fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int fd_read_all(int fd, void *p, size_t n)
{
    char *at = p;
    while (n > 0) {
        ssize_t done = read(fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        if (done == 0 && at == (char *)p) return 0;
        if (done == 0) {
            errno = ECONNRESET;
            return -1;
        }
        at += done;
        n -= (size_t)done;
    }
    return 1;
}

int fd_spool(void)
{
    const char *dir = secure_getenv("TMPDIR");
    if (!dir || !*dir) dir = "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
    /* Some file systems (overlayfs of old, NFS) have no unnamed files: take the name away. */
    char *path;
    if (asprintf(&path, "%s/ctask-spool-XXXXXX", dir) < 0) {
        errno = ENOMEM;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    free(path);
    return fd;
}

int fd_memory(void)
{
    return memfd_create("ctask-spool", MFD_CLOEXEC);
}
