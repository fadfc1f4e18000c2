/* log.c - see log.h. A reader that stopped reading costs lines, never time. */
#include "base/log.h"
#include "base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE PIPE_BUF /* written whole or not at all, also beside other processes */
#define PATIENCE_MS 50

static struct {
    enum log_level level;
    int fd;
    char name[64];
    bool bare;  /* no date and no name */
    bool stuck; /* the last line was dropped: do not wait again before one gets through */
} log_to;

static const char *const level_names[] = {[LOG_ERROR] = "error",
                                          [LOG_WARN] = "warning",
                                          [LOG_INFO] = "info",
                                          [LOG_DEBUG] = "debug",
                                          [LOG_TRACE] = "trace"};
static const char *const level_marks[] = {[LOG_ERROR] = "ERROR",
                                          [LOG_WARN] = "WARN ",
                                          [LOG_INFO] = "INFO ",
                                          [LOG_DEBUG] = "DEBUG",
                                          [LOG_TRACE] = "TRACE"};

void log_open(int fd, enum log_level level, const char *name)
{
    log_to.fd = fd;
    log_to.level = level;
    log_to.stuck = false;
    log_to.bare = !name;
    if (name) log_escape(log_to.name, sizeof log_to.name, name, strlen(name));
}

bool log_on(enum log_level level)
{
    return level != LOG_SILENT && level <= log_to.level;
}

int log_level_parse(const char *s)
{
    for (int i = LOG_ERROR; i <= LOG_TRACE; i++)
        if (strcasecmp(s, level_names[i]) == 0) return i;
    return -1;
}

char *log_escape(char *out, size_t size, const void *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *in = p;
    size_t used = 0, cut = 0; /* cut: the last place where "..." still fits behind */
    if (size == 0) return out;
    while (n > 0) {
        char escaped[4] = {'\\', 'x', hex[*in >> 4], hex[*in & 15]};
        size_t length = utf8_shown(bytes_of(in, n));
        size_t add = length ? length : sizeof escaped;
        if (used + add >= size) {
            size_t dots = size > 3 ? 3 : size - 1;
            memcpy(out + cut, "...", dots);
            used = cut + dots;
            break;
        }
        memcpy(out + used, length ? (const char *)in : escaped, add);
        used += add;
        if (used + 3 < size) cut = used;
        in += length ? length : 1;
        n -= length ? length : 1;
    }
    out[used] = '\0';
    return out;
}

static size_t line_begin(char *line, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm t;
    char date[32];
    static const char marks[] = {[LOG_ERROR] = '3',
                                 [LOG_WARN] = '4',
                                 [LOG_INFO] = '6',
                                 [LOG_DEBUG] = '7',
                                 [LOG_TRACE] = '7'};
    if (log_to.bare) return (size_t)snprintf(line, size, "<%c>", marks[level]);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &t);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &t);
    return (size_t)snprintf(line, size, "%s.%03ldZ %s %s ", date, now.tv_nsec / 1000000,
                            level_marks[level], log_to.name);
}

/* poll says when a pipe or a terminal would block, which O_NONBLOCK cannot: the flag belongs to the
 * open file, and with that to whoever else holds it. */
static void line_write(const char *line, size_t n)
{
    struct pollfd p = {.fd = log_to.fd, .events = POLLOUT};
    int ready;
    do ready = poll(&p, 1, log_to.stuck ? 0 : PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    log_to.stuck = ready != 1 || (write(log_to.fd, line, n) < 0 && errno == EAGAIN);
}

void log_at(enum log_level level, const char *fmt, ...)
{
    if (!log_on(level)) return;
    int saved = errno;
    /* As large as the line: what is cut here would be cut there, and marked as such. */
    char text[LINE_SIZE], line[LINE_SIZE];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = line_begin(line, sizeof line, level);
    log_escape(line + n, sizeof line - n - 1, text, strlen(text));
    n += strlen(line + n);
    line[n++] = '\n';
    line_write(line, n);
    errno = saved;
}
