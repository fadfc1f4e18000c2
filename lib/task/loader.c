/* loader.c - see loader.h. The only file that loads code. */
#include "task/loader.h"

#include "base/buf.h"
#include "base/err.h"
#include "task/registry.h"

#include <ctype.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYMBOL_PREFIX "ctask_app_"

/* App names end up in symbols, so they are what C allows there. */
static bool is_app_name(const char *s, size_t n)
{
    if (n == 0 || n > 128 || isdigit((unsigned char)s[0])) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_') return false;
    return true;
}

/* The function ctask_app_<name> of a loaded library; NULL if it has none. */
static const struct ctask_app *app_of(void *library, const char *name, size_t n)
{
    if (!is_app_name(name, n)) return NULL;
    char symbol[sizeof SYMBOL_PREFIX + 128];
    snprintf(symbol, sizeof symbol, SYMBOL_PREFIX "%.*s", (int)n, name);
    void *address = dlsym(library, symbol);
    if (!address) return NULL;
    /* POSIX lets dlsym return functions; C knows no cast for it. */
    const struct ctask_app *(*get)(void);
    memcpy(&get, &address, sizeof get);
    return get();
}

/* Loads one file. Its app is named by the file: without .so, and without lib if that finds none. */
static int load(const char *path, const struct ctask_app **out, struct ctask_error *e)
{
    const char *base = strrchr(path, '/') + 1;
    size_t n = strlen(base);
    if (n > 3 && strcmp(base + n - 3, ".so") == 0) n -= 3;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return error_set(e, CTASK_EINVAL, "cannot load app: %s", dlerror());
    bool has_lib = n > 3 && strncmp(base, "lib", 3) == 0;
    const struct ctask_app *app = app_of(library, base, n);
    if (!app && has_lib) app = app_of(library, base + 3, n - 3);
    if (!app) {
        const char *name = has_lib ? base + 3 : base;
        int length = (int)(has_lib ? n - 3 : n);
        dlclose(library);
        return error_set(e, CTASK_EINVAL,
                         "%s is no app: it has no function " SYMBOL_PREFIX "%.*s, which "
                         "CTASK_APP(%.*s, ...) makes; file and app must have the same name",
                         path, length, name, length, name);
    }
    int rc = app_check(app, path, e);
    if (rc == CTASK_OK)
        *out = app;
    else
        dlclose(library);
    return rc;
}

/* ---- Looking --------------------------------------------------------------------------------- */

/* Looks for name.so and libname.so in dir. CTASK_EAGAIN when neither is there. */
static int load_from(const char *dir, const char *name, const struct ctask_app **out,
                     struct ctask_error *e)
{
    static const char *const prefixes[] = {"", "lib"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s%s.so", dir, prefixes[i], name);
        if (n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0) return load(path, out, e);
    }
    return CTASK_EAGAIN;
}

/* Appends lib/ctask beside the running program, as in bin and lib of one prefix. */
static bool own_dir(struct buf *dirs)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return true;
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (!slash) return true;
    *slash = '\0';
    return buf_append(dirs, exe, strlen(exe)) && buf_append(dirs, "/../lib/ctask", 13);
}

/* All places to look, as one text with colons between. */
static bool places(struct buf *dirs)
{
    const char *path = getenv("CTASK_PATH");
    if (path && *path && !(buf_append(dirs, path, strlen(path)) && buf_u8(dirs, ':'))) return false;
    return own_dir(dirs) && buf_u8(dirs, '\0');
}

static int not_found(const char *name, const struct ctask_app *const *linked, const char *dirs,
                     struct ctask_error *e)
{
    char known[128] = "";
    size_t used = 0;
    for (size_t i = 0; linked && linked[i] && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                 i ? ", " : " (built in: ", linked[i]->name);
    return error_set(
        e, CTASK_EINVAL,
        "there is no app \"%s\"%s%s: give its file with a slash, as ./%s.so, or name its "
        "directory in CTASK_PATH; looked for %s.so and lib%s.so in %s",
        name, known, used ? ")" : "", name, name, name, dirs);
}

/* linked: named if it is not found. */
static int search(const char *name, const struct ctask_app *const *linked,
                  const struct ctask_app **out, struct ctask_error *e)
{
    struct buf dirs = {0};
    int rc = CTASK_EAGAIN;
    if (!places(&dirs)) {
        rc = error_set(e, CTASK_ENOMEM, "out of memory");
        goto done;
    }
    const char *at = (const char *)buf_head(&dirs);
    while (rc == CTASK_EAGAIN && *at) {
        size_t n = strcspn(at, ":");
        char dir[PATH_MAX];
        /* An empty element would be the current directory. */
        if (n > 0 && n < sizeof dir) {
            snprintf(dir, sizeof dir, "%.*s", (int)n, at);
            rc = load_from(dir, name, out, e);
        }
        at += n + (at[n] == ':');
    }
    if (rc == CTASK_EAGAIN) rc = not_found(name, linked, (const char *)buf_head(&dirs), e);
done:
    buf_done(&dirs);
    return rc;
}

int loader_find(const char *name, const struct ctask_app *const *linked,
                const struct ctask_app **out, struct ctask_error *e)
{
    if (strchr(name, '/')) return load(name, out, e);
    if (!is_app_name(name, strlen(name)))
        return error_set(e, CTASK_EINVAL,
                         "\"%s\" is no app name: those are made of letters, digits and _; a file "
                         "is given with a slash, as ./primes.so",
                         name);
    for (size_t i = 0; linked && linked[i]; i++) {
        int rc = app_check(linked[i], "an app that is linked in", e);
        if (rc != CTASK_OK) return rc;
        if (strcmp(linked[i]->name, name) == 0) {
            *out = linked[i];
            return CTASK_OK;
        }
    }
    return search(name, linked, out, e);
}
