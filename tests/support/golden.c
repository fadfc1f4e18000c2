/* golden.c - see golden.h. */
#include "support/golden.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static int digit_next(FILE *f)
{
    int c = getc(f);
    while (isspace(c) || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF) c = getc(f);
        else
            c = getc(f);
    }
    if (c == EOF) return -1;
    return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
}

struct bytes golden_read(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", TEST_GOLDEN, name);
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        exit(1);
    }
    uint8_t *bytes = NULL;
    size_t n = 0;
    for (int high; (high = digit_next(f)) >= 0; n++) {
        int low = digit_next(f);
        bytes = realloc(bytes, n + 1);
        if (!bytes || high > 15 || low < 0 || low > 15) {
            fprintf(stderr, "%s: not pairs of hex digits\n", path);
            exit(1);
        }
        bytes[n] = (uint8_t)(high << 4 | low);
    }
    fclose(f);
    return bytes_of(bytes, n);
}
