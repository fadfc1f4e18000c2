/* secret.h - memory for passwords: no core dump holds it, and a forked child sees zeros in its
 * place. Whole pages, so for few and long-lived things. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed; NULL when there is none. */
void *secret_new(size_t n);
/* Wipes it first. NULL is fine. */
void secret_free(void *p, size_t n);

/* True if every user of this machine may read that file. */
bool secret_is_public(const char *path);

#endif
