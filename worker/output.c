/* output.c - see output.h. It never waits: neither for a child that prints nothing nor for whoever
 * reads the log. */
#include "worker/output.h"

#include "base/utf8.h"
#include "worker/report.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 100 /* a second, of each child */
#define BYTES_MAX 65536

/* ---- Into the log ---------------------------------------------------------------------------- */

/* Takes "<4>" off the front of a line. */
static enum log_level level_of(struct bytes *line)
{
    static const enum log_level levels[] = {
        ['3'] = LOG_ERROR, ['4'] = LOG_WARN, ['5'] = LOG_INFO, ['6'] = LOG_INFO, ['7'] = LOG_DEBUG};
    if (line->n < 3 || line->p[0] != '<' || line->p[2] != '>') return LOG_INFO;
    uint8_t c = line->p[1];
    if (c < '3' || c > '7') return LOG_INFO;
    *line = bytes_of(line->p + 3, line->n - 3);
    return levels[c];
}

static void say(const struct child *k, enum log_level level, struct bytes text)
{
    const struct request *r = jobs_first(k);
    if (r)
        log_at(level, "child pid=%d " TASK_FMT ": %.*s", (int)k->pid, TASK_ARG(r), BYTES_ARG(text));
    else
        log_at(level, "child pid=%d: %.*s", (int)k->pid, BYTES_ARG(text));
}

static void tell_dropped(struct child *k)
{
    struct output *o = &k->output;
    char text[96];
    if (o->dropped == 0) return;
    snprintf(text, sizeof text, "(%llu lines, %llu bytes of output left out)", o->dropped,
             o->dropped_bytes);
    o->dropped = o->dropped_bytes = 0;
    say(k, LOG_WARN, bytes_text(text));
}

static void line_end(struct child *k, int64_t now)
{
    struct output *o = &k->output;
    struct bytes line = bytes_of(o->line, o->line_size);
    o->line_size = 0;
    if (now - o->since >= CLOCK_SECOND) {
        tell_dropped(k);
        o->since = now;
        o->lines = o->bytes = 0;
    }
    if (o->lines >= LINES_MAX || o->bytes + line.n > BYTES_MAX) {
        o->dropped++;
        o->dropped_bytes += line.n;
        return;
    }
    o->lines++;
    o->bytes += (unsigned)line.n;
    enum log_level level = level_of(&line);
    say(k, level, line);
}

static void lines_add(struct child *k, int64_t now, const char *p, size_t n)
{
    struct output *o = &k->output;
    for (const char *end = p + n; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t part = (size_t)((newline ? newline : end) - p), room = OUTPUT_LINE - o->line_size;
        bool whole = newline && part <= room;
        if (part > room) part = room;
        memcpy(o->line + o->line_size, p, part);
        o->line_size += part;
        p += part + whole;
        if (whole || o->line_size == OUTPUT_LINE) line_end(k, now);
    }
}

/* ---- Its end --------------------------------------------------------------------------------- */

static void tail_add(struct output *o, const char *p, size_t n)
{
    if (n > OUTPUT_TAIL) {
        p += n - OUTPUT_TAIL;
        n = OUTPUT_TAIL;
    }
    size_t stays = o->tail_size < OUTPUT_TAIL - n ? o->tail_size : OUTPUT_TAIL - n;
    memmove(o->tail, o->tail + o->tail_size - stays, stays);
    memcpy(o->tail + stays, p, n);
    o->tail_size = stays + n;
}

char *output_tail(const struct output *o, char out[OUTPUT_TAIL])
{
    static const char hex[] = "0123456789abcdef";
    char all[4 * OUTPUT_TAIL];
    size_t n = 0;
    struct bytes rest = bytes_of(o->tail, o->tail_size);
    while (rest.n > 0) {
        size_t shown = *rest.p == '\n' || *rest.p == '\t' ? 1 : utf8_shown(rest);
        char escaped[4] = {'\\', 'x', hex[*rest.p >> 4], hex[*rest.p & 15]};
        size_t add = shown ? shown : sizeof escaped;
        memcpy(all + n, shown ? (const char *)rest.p : escaped, add);
        n += add;
        rest = bytes_of(rest.p + (shown ? shown : 1), rest.n - (shown ? shown : 1));
    }
    /* Its last part, from the start of a character on. */
    size_t from = n < OUTPUT_TAIL ? 0 : n - (OUTPUT_TAIL - 1);
    while (from < n && ((uint8_t)all[from] & 0xc0) == 0x80) from++;
    memcpy(out, all + from, n - from);
    out[n - from] = 0;
    return out;
}

/* ---- Reading --------------------------------------------------------------------------------- */

size_t output_read(struct child *k, int64_t now, size_t limit)
{
    char part[4096];
    while (limit > 0 && k->ends.output >= 0) {
        ssize_t n = read(k->ends.output, part, limit < sizeof part ? limit : sizeof part);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) { /* nobody is left who could print */
            close(k->ends.output);
            k->ends.output = -1;
            break;
        }
        tail_add(&k->output, part, (size_t)n);
        lines_add(k, now, part, (size_t)n);
        limit -= (size_t)n;
        if ((size_t)n < sizeof part) break; /* that was all */
    }
    return limit;
}

void output_end(struct child *k, int64_t now)
{
    if (k->output.line_size > 0) line_end(k, now);
    tell_dropped(k);
}
