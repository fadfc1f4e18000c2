/* replay.c - runs a target on files, as libFuzzer would: for compilers without it, and for ctest.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_LIMIT ((size_t)1 << 20)

static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(SIZE_LIMIT);
    if (!f || !data) {
        perror(path);
        exit(1);
    }
    size_t n = fread(data, 1, SIZE_LIMIT, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a step beyond */
    if (!exact) abort();
    memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    free(data);
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        for (struct dirent *e; dir && (e = readdir(dir));) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] == '.') continue;
            run_file(path);
            count++;
        }
        if (dir) closedir(dir);
    }
    printf("%zu inputs\n", count);
    return count == 0; /* an empty corpus proves nothing */
}
