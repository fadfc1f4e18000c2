/* err.c - see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct ctask_error last;

static const struct {
    int code;
    unsigned flags;
    const char *text;
} errors[] = {
#define ERROR_ROW(name, value, flags, text) {value, flags, text},
    CTASK_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

const char *ctask_strerror(int code)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) return errors[i].text;
    return "an unknown error";
}

const struct ctask_error *ctask_error(void)
{
    return &last;
}

int error_set(struct ctask_error *e, int code, const char *fmt, ...)
{
    if (!e) return code;
    struct ctask_error set = {.code = code};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) set.flags = errors[i].flags;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(set.text, sizeof set.text, fmt, ap);
    va_end(ap);
    *e = set;
    return code;
}

int error_raise(const struct ctask_error *e)
{
    last = *e;
    return e->code;
}

_Noreturn void bug_at(const char *file, int line, const char *what)
{
    fprintf(stderr, "ctask: bug at %s:%d: %s\n", file, line, what);
    abort();
}
