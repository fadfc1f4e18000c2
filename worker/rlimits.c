/* rlimits.c - see rlimits.h. */
#include "worker/rlimits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int resource;
} table[RLIMITS_MAX] = {
    {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE}, {"memlock", RLIMIT_MEMLOCK},
    {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"stack", RLIMIT_STACK},
};

/* ---- Reading --------------------------------------------------------------------------------- */

bool size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9') return false; /* strtoull takes signs and spaces too */
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (errno || (*end && (!unit || end[1])) || n > UINT64_MAX >> shift) return false;
    *bytes = (uint64_t)n << shift;
    return true;
}

static bool refuse(char *why, size_t size, const char *what, const char *text, size_t n)
{
    snprintf(why, size, "%s, not \"%.*s\"", what, (int)n, text);
    return false;
}

static bool one_parse(struct rlimits *l, const char *text, size_t n, char *why, size_t size)
{
    char value[32];
    struct rlimit ours;
    size_t i = 0, name = strcspn(text, "=,");
    while (i < RLIMITS_MAX &&
           (strlen(table[i].name) != name || memcmp(table[i].name, text, name) != 0))
        i++;
    if (i == RLIMITS_MAX || name == n)
        return refuse(why, size,
                      "takes as, core, cpu, data, fsize, memlock, nofile, nproc or stack and a "
                      "value, as in nofile=256",
                      text, n);
    snprintf(value, sizeof value, "%.*s", (int)(n - name - 1), text + name + 1);
    uint64_t v = RLIM_INFINITY;
    if (strcmp(value, "unlimited") != 0 && !size_parse(value, &v))
        return refuse(why, size, "takes numbers, sizes as 256M, or unlimited", text, n);
    if (getrlimit(table[i].resource, &ours) == 0 && v > ours.rlim_max)
        return refuse(why, size, "cannot allow more than this process may have itself", text, n);
    l->set[i] = true;
    l->value[i] = v;
    return true;
}

bool rlimits_parse(struct rlimits *l, const char *text, char *why, size_t size)
{
    for (;;) {
        size_t n = strcspn(text, ",");
        if (!one_parse(l, text, n, why, size)) return false;
        if (text[n] == 0) return true;
        text += n + 1;
    }
}

/* ---- Applying -------------------------------------------------------------------------------- */

void rlimits_apply(const struct rlimits *l)
{
    for (size_t i = 0; i < RLIMITS_MAX; i++) {
        bool cpu = table[i].resource == RLIMIT_CPU;
        struct rlimit to = {.rlim_cur = l->value[i], .rlim_max = l->value[i]};
        /* A signal that says what it is for comes before the one that does not. */
        if (cpu && to.rlim_max != RLIM_INFINITY) to.rlim_max++;
        if (table[i].resource == RLIMIT_CORE && !l->set[i] && getrlimit(RLIMIT_CORE, &to) == 0)
            to.rlim_cur = 0;
        else if (!l->set[i])
            continue;
        setrlimit(table[i].resource, &to);
    }
}
