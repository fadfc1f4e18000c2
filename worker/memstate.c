/* memstate.c - see memstate.h. */
#include "worker/memstate.h"

#include <fenv.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Floating point -------------------------------------------------------------------------- */

static femode_t mode;

/* Rounding, traps, and whether tiny numbers are zero; not which exceptions have occurred. */
static void read_mode(femode_t *to)
{
    memset(to, 0, sizeof *to);
    fegetmode(to);
#if defined __x86_64__ || defined __i386__
    to->__mxcsr &= ~(unsigned)FE_ALL_EXCEPT;
    to->__mxcsr &= ~2u; /* a denormal has occurred */
    to->__glibc_reserved = 0;
#endif
}

static bool same_mode(void)
{
    femode_t now;
    read_mode(&now);
    return memcmp(&now, &mode, sizeof now) == 0;
}

/* ---- Environment ----------------------------------------------------------------------------- */

static char **pointers, **copies; /* of the variables; NULL behind the last */

static void environment_note(void)
{
    size_t count = 0;
    while (environ && environ[count]) count++;
    pointers = calloc(count + 1, sizeof *pointers);
    copies = calloc(count + 1, sizeof *copies);
    if (!pointers || !copies) abort();
    for (size_t i = 0; i < count; i++) {
        pointers[i] = environ[i];
        if (!(copies[i] = strdup(environ[i]))) abort();
    }
}

static bool same_pointers(void)
{
    size_t i = 0;
    if (!environ) return !pointers[0];
    while (environ[i] == pointers[i])
        if (!pointers[i++]) return true;
    return false;
}

static bool same_text(void)
{
    size_t i = 0;
    for (; environ && environ[i] && copies[i]; i++)
        if (strcmp(environ[i], copies[i]) != 0) return false;
    return !copies[i] && (!environ || !environ[i]);
}

/* ---- Locale ---------------------------------------------------------------------------------- */

static char *names;
static locale_t thread_locale;

static bool same_locale(void)
{
    return strcmp(setlocale(LC_ALL, NULL), names) == 0 && uselocale((locale_t)0) == thread_locale;
}

/* ---- All of it ------------------------------------------------------------------------------- */

void memstate_note(void)
{
    read_mode(&mode);
    environment_note();
    if (!(names = strdup(setlocale(LC_ALL, NULL)))) abort();
    thread_locale = uselocale((locale_t)0);
}

const char *memstate_changed(bool thorough)
{
    if (!same_mode()) return "changed the rounding mode or traps of floating point";
    if (!(thorough ? same_text() : same_pointers() || same_text()))
        return "changed the environment";
    return same_locale() ? NULL : "changed the locale";
}
