/* backoff.c - see backoff.h. Celery's formula, but for its rounding to whole seconds. */
#include "task/backoff.h"

#include "wire/message.h"

#include <math.h>
#include <string.h>
#include <sys/random.h>

#define BASE 1.0
#define MOST 600.0

/* From 0 to 1, from the kernel: a forked child must not repeat its brother's. */
static double chance(void)
{
    uint32_t r = 0;
    (void)!getrandom(&r, sizeof r, 0);
    return (double)r / UINT32_MAX;
}

double backoff_wait(const struct ctask_task *t, int64_t retries)
{
    double base = t->retry_backoff > 0 ? t->retry_backoff : BASE;
    double most = t->retry_backoff_max > 0 ? t->retry_backoff_max : MOST;
    double grown = ldexp(base, retries < 64 ? (int)retries : 64);
    return chance() * (grown < most ? grown : most);
}

/* The length of the first name of a list, and what follows it in *rest; 0 at the end. */
static size_t name_next(const char **list, const char **rest)
{
    *list += strspn(*list, " ");
    size_t n = strcspn(*list, " ,");
    *rest = *list + n + strspn(*list + n, " ");
    return n;
}

bool backoff_wanted(const struct ctask_task *t, const char *type)
{
    const char *name = t->autoretry ? t->autoretry : "", *rest;
    size_t n;
    for (; (n = name_next(&name, &rest)) > 0; name = *rest ? rest + 1 : rest)
        if ((n == strlen(type) && memcmp(name, type, n) == 0) ||
            (n == strlen("Exception") && memcmp(name, "Exception", n) == 0))
            return true;
    return false;
}

const char *backoff_check(const struct ctask_task *t)
{
    const char *name = t->autoretry, *rest;
    if (!(t->retry_backoff >= 0 && t->retry_backoff <= MESSAGE_DELAY_MAX))
        return "has a .retry_backoff that is no time to wait";
    if (!(t->retry_backoff_max >= 0 && t->retry_backoff_max <= MESSAGE_DELAY_MAX))
        return "has a .retry_backoff_max that is no time to wait";
    while (name) {
        if (name_next(&name, &rest) == 0 || (*rest && *rest != ','))
            return "has an .autoretry that is no list of types, as \"OSError, TimeoutError\"";
        name = *rest ? rest + 1 : NULL;
    }
    return NULL;
}
