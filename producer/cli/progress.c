/* progress.c - one line on stderr that says how far a map is: a bar on a terminal, a plain line
 * every ten seconds otherwise. The rate is that of the last seconds, so that a worker that comes
 * or goes shows. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double draw_every = 0.25, plain_every = 10;

void progress_init(struct progress *p, bool quiet)
{
    *p = (struct progress){.quiet = quiet,
                           .terminal = isatty(STDERR_FILENO),
                           .shared = isatty(STDOUT_FILENO),
                           .start = now_seconds()};
    p->next_draw = p->start + (p->terminal ? draw_every : plain_every);
    if (!quiet) p->total = lines_count(STDIN_FILENO);
}

/* Results a second over the samples kept, newest included. */
static double progress_rate(struct progress *p, size_t done, double now)
{
    unsigned kept = p->samples < PROGRESS_SAMPLES ? p->samples : PROGRESS_SAMPLES;
    struct progress_sample oldest = {.at = p->start};
    if (kept == PROGRESS_SAMPLES) oldest = p->sample[p->samples % PROGRESS_SAMPLES];
    p->sample[p->samples++ % PROGRESS_SAMPLES] = (struct progress_sample){now, done};
    return now > oldest.at ? (double)(done - oldest.done) / (now - oldest.at) : 0;
}

static void duration_text(char *text, size_t size, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(text, size, "%lds", s);
    else if (s < 3600)
        snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
}

/* "61% 612/1000  84.2/s  ETA 5s  3 failed", as far as it is known. */
static int figures_text(char *text, size_t size, const struct progress *p, size_t done,
                        size_t failed, double rate)
{
    char eta[32] = "", count[64], failures[40] = "";
    if (p->total) {
        snprintf(count, sizeof count, "%3zu%% %zu/%zu", 100 * done / p->total, done, p->total);
        if (rate > 0 && done < p->total) {
            memcpy(eta, "  ETA ", 7);
            duration_text(eta + 6, sizeof eta - 6, (double)(p->total - done) / rate);
        }
    } else {
        snprintf(count, sizeof count, "%zu done", done);
    }
    if (failed) snprintf(failures, sizeof failures, "  %zu failed", failed);
    return snprintf(text, size, "%s  %.*f/s%s%s", count, rate < 100, rate, eta, failures);
}

static void bar_text(char *text, size_t width, double share)
{
    size_t full = (size_t)(share * (double)width + 0.5);
    memset(text, '.', width);
    memset(text, '#', full < width ? full : width);
    text[width] = '\0';
}

void progress_draw(struct progress *p, size_t done, size_t failed)
{
    double now = now_seconds();
    if (p->quiet || now < p->next_draw) return;
    p->next_draw = now + (p->terminal ? draw_every : plain_every);

    char figures[160], bar[64] = "";
    int used = figures_text(figures, sizeof figures, p, done, failed, progress_rate(p, done, now));
    if (!p->terminal) {
        fprintf(stderr, "%s\n", figures);
        return;
    }
    struct winsize window = {0};
    ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    int room = (window.ws_col ? window.ws_col : 80) - used - 4;
    if (p->total && room >= 8)
        bar_text(bar, room < 40 ? (size_t)room : 40, (double)done / (double)p->total);
    fprintf(stderr, "\r\033[K%s %s", bar, figures);
    p->shown = true;
}

void progress_hide(struct progress *p)
{
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = false;
}

void progress_hide_for_output(struct progress *p)
{
    if (p->shared) progress_hide(p);
}
