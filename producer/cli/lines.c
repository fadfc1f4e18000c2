/* lines.c - cuts what comes from a descriptor into lines. It reads only when asked to and never
 * waits for the end of a line, so that the caller can look after other things meanwhile. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 << 10 };

enum lines_got lines_next(struct lines *in, const char **line, size_t *length)
{
    if (in->start == in->length) return LINES_NONE;
    char *from = in->data + in->start;
    size_t have = in->length - in->start;
    char *newline = memchr(from, '\n', have);
    if (!newline && have > LINE_MAX_BYTES) return LINES_TOO_LONG;
    if (!newline && !in->eof) return LINES_NONE;
    *line = from;
    *length = newline ? (size_t)(newline - from) : have;
    if (*length > LINE_MAX_BYTES) return LINES_TOO_LONG;
    from[*length] = '\0'; /* there is always one byte more: see lines_fill */
    in->start += *length + (newline != NULL);
    return LINES_ONE;
}

bool lines_fill(struct lines *in)
{
    in->length -= in->start;
    if (in->length > 0) memmove(in->data, in->data + in->start, in->length);
    in->start = 0;
    if (in->size < in->length + CHUNK + 1) {
        in->size = 2 * in->size + CHUNK + 1;
        in->data = realloc(in->data, in->size);
        if (!in->data) abort();
    }
    ssize_t n = read(in->fd, in->data + in->length, CHUNK);
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    in->eof = n == 0;
    in->length += (size_t)n;
    return true;
}

bool lines_over(const struct lines *in)
{
    return in->eof && in->start == in->length;
}

size_t lines_count(int fd)
{
    struct stat st;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || at < 0) return 0;
    static char chunk[CHUNK];
    size_t lines = 0;
    char last = '\n';
    for (ssize_t n; (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n) {
        for (char *p = chunk; (p = memchr(p, '\n', (size_t)(chunk + n - p))); p++) lines++;
        last = chunk[n - 1];
    }
    return lines + (last != '\n');
}
