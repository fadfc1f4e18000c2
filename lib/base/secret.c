/* secret.c - see secret.h. */
#include "base/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

void *secret_new(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (madvise(p, n, MADV_WIPEONFORK) == 0 && madvise(p, n, MADV_DONTDUMP) == 0) return p;
    munmap(p, n);
    return NULL;
}

void secret_free(void *p, size_t n)
{
    if (!p) return;
    explicit_bzero(p, n);
    munmap(p, n);
}

bool secret_is_public(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IROTH);
}
