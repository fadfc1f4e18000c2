/* report.c - what the program says when something goes wrong: one sentence, what to do about it,
 * and the exit status that goes with it. Text from a task or the broker cannot move the cursor or
 * start a new line. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void say(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f) *p = ' ';
    fprintf(stderr, "ctask: %s\n", text);
}

enum status status_of(int code)
{
    switch (code) {
    case CTASK_OK: return STATUS_OK;
    case CTASK_ETASK: return STATUS_TASK;
    case CTASK_ETIMEDOUT: return STATUS_TIMEOUT;
    case CTASK_EAUTH:
    case CTASK_EREFUSED: return STATUS_REFUSED;
    case CTASK_EINVAL:
    case CTASK_ETOOBIG: return STATUS_USAGE;
    default: return STATUS_BROKER;
    }
}

static const char *advice(int code)
{
    switch (code) {
    case CTASK_ECONN: return "; name a running broker with -b or CTASK_BROKER_URL";
    case CTASK_EAUTH:
        return "; the broker URL is that of -b, CTASK_BROKER_URL or CTASK_BROKER_FILE";
    case CTASK_EBLOCKED: return "; try again when the broker has memory and disk to spare";
    default: return "";
    }
}

enum status say_error(const struct ctask_error *e)
{
    char text[sizeof e->text + sizeof e->type];
    say("%s%s", failure_text(e, text, sizeof text), advice(e->code));
    return status_of(e->code);
}

const char *failure_text(const struct ctask_error *e, char *text, size_t size)
{
    bool named = e->type[0] && strncmp(e->text, e->type, strlen(e->type)) != 0;
    snprintf(text, size, "%s%s%s", named ? e->type : "", named ? ": " : "", e->text);
    return text;
}

bool is_unknown(const struct ctask_error *e)
{
    return strcmp(e->type, "NotRegistered") == 0;
}

struct ctask_client *open_client(const struct options *o, enum status *status)
{
    struct ctask_error e = {0};
    struct ctask_client *c = ctask_open(o->url, &e);
    if (!c) *status = say_error(&e);
    return c;
}

void say_differs(struct ctask_client *c)
{
    struct ctask_error why;
    if (ctask_queue_differs(c, &why)) say("%s", why.text);
}

enum status close_output(enum status status)
{
    if (status == STATUS_OUTPUT) return status; /* said already */
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    say("results could not be written: %s", strerror(errno));
    return STATUS_OUTPUT;
}
