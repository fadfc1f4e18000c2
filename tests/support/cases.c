/* cases.c - see cases.h. */
#include "support/cases.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES_MAX 32

struct wire_case *cases;
size_t case_count;

/* What follows `key: ` on this line, NULL if it is another line. */
static const char *value_of(char *line, const char *key)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || strncmp(line + n, ": ", 2) != 0) return NULL;
    line[strcspn(line, "\n")] = '\0';
    return line + n + 2;
}

static void hex_append(struct buf *b, const char *hex)
{
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2) buf_u8(b, (uint8_t)byte);
}

static struct wire_case *file_load(const char *file, size_t *count)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_GOLDEN, file);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    struct wire_case *all = calloc(CASES_MAX, sizeof *all), *c = NULL;
    ck_assert_ptr_nonnull(all);
    char *line = NULL;
    size_t room = 0;
    *count = 0;
    while (getline(&line, &room, f) > 0) {
        const char *value = value_of(line, "case");
        if (value) {
            ck_assert_uint_lt(*count, CASES_MAX);
            c = &all[(*count)++];
            snprintf(c->name, sizeof c->name, "%s", value);
        } else if (c && (value = value_of(line, "props"))) {
            hex_append(&c->props, value);
        } else if (c && (value = value_of(line, "body"))) {
            buf_append(&c->body, value, strlen(value));
        }
    }
    free(line);
    fclose(f);
    ck_assert_msg(*count > 0, "%s holds no case", path);
    return all;
}

static void file_free(struct wire_case *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_done(&all[i].props);
        buf_done(&all[i].body);
    }
    free(all);
}

static struct wire_case *file_find(struct wire_case *all, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].name, name) == 0) return &all[i];
    return NULL;
}

void cases_load_tasks(void)
{
    cases = file_load("celery-tasks.txt", &case_count);
}

void cases_load_results(void)
{
    cases = file_load("celery-results.txt", &case_count);
}

void cases_unload(void)
{
    file_free(cases, case_count);
}

struct wire_case *case_named(const char *name)
{
    struct wire_case *c = file_find(cases, case_count, name);
    ck_assert_msg(c != NULL, "there is no case '%s'", name);
    return c;
}

static void print_case(const char *name, const struct buf *props, const struct buf *body)
{
    printf("case: %s\nprops: ", name);
    for (size_t i = 0; i < props->len; i++) printf("%02x", buf_head(props)[i]);
    printf("\nbody: %.*s\n\n", BYTES_ARG(buf_bytes(body)));
    fflush(stdout); /* check ends a failed test without */
}

void cases_match(const char *name, const struct buf *props, const struct buf *body)
{
    size_t count;
    struct wire_case *all = file_load("ctask.txt", &count);
    const struct wire_case *c = file_find(all, count, name);
    bool same = c && bytes_equal(buf_bytes(&c->props), buf_bytes(props)) &&
                bytes_equal(buf_bytes(&c->body), buf_bytes(body));
    if (!same) print_case(name, props, body);
    file_free(all, count);
    ck_assert_msg(same, "'%s' is not what ctask.txt has; above is what it was", name);
}
