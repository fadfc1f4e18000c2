/* urls.c - see urls.h. */
#include "base/urls.h"
#include "base/err.h"
#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_SIZE ((size_t)16 << 10)

static int part_parse(struct urls *u, struct bytes part, bool alone, struct ctask_error *e)
{
    struct ctask_error why = {0};
    if (u->count == URLS_MAX)
        return error_set(e, CTASK_EINVAL, "more than %d broker URLs", URLS_MAX);
    int rc = url_parse_bytes(part, &u->at[u->count++], &why);
    if (rc != CTASK_OK && alone) return error_set(e, rc, "%s", why.text);
    if (rc != CTASK_OK)
        return error_set(e, rc,
                         "of the broker URLs (; is between them, and %%3B in a password) "
                         "number %u: %s",
                         u->count, why.text);
    return rc;
}

struct urls *urls_new(const char *text, struct ctask_error *e)
{
    struct urls *u = secret_new(sizeof *u);
    const char *end = strchr(text, ';');
    bool alone = !end;
    int rc = CTASK_OK;
    if (!u) {
        error_set(e, CTASK_ENOMEM, "out of memory");
        return NULL;
    }
    while (rc == CTASK_OK && end) {
        rc = part_parse(u, bytes_of(text, (size_t)(end - text)), false, e);
        text = end + 1;
        end = strchr(text, ';');
    }
    if (rc == CTASK_OK) rc = part_parse(u, bytes_text(text), alone, e);
    if (rc == CTASK_OK) return u;
    urls_free(u);
    return NULL;
}

static struct urls *file_read(const char *path, struct ctask_error *e)
{
    struct urls *u = NULL;
    char *line = secret_new(LINE_SIZE);
    FILE *f = line ? fopen(path, "re") : NULL;
    if (f) setvbuf(f, NULL, _IONBF, 0); /* no copy of it stays in a buffer */
    if (f && fgets(line, LINE_SIZE, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        u = urls_new(line, e);
    } else {
        const char *why = !line             ? "out of memory"
                          : f && !ferror(f) ? "it is empty"
                                            : strerror(errno);
        error_set(e, CTASK_EINVAL, "CTASK_BROKER_FILE=%s: %s", path, why);
    }
    if (f) fclose(f);
    secret_free(line, LINE_SIZE);
    return u;
}

struct urls *urls_default(struct ctask_error *e)
{
    const char *text = getenv("CTASK_BROKER_URL"), *path = getenv("CTASK_BROKER_FILE");
    if (text && *text) return urls_new(text, e);
    if (path && *path) return file_read(path, e);
    return urls_new("amqp://localhost", e);
}

void urls_free(struct urls *u)
{
    secret_free(u, sizeof *u);
}
