/* rlimits.h - what the kernel lets a child have: setrlimit(2), from one table. They hold for the
 * life of a child, not for each of its jobs. */
#ifndef WORKER_RLIMITS_H
#define WORKER_RLIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

enum { RLIMITS_MAX = 9 };

struct rlimits {
    bool set[RLIMITS_MAX];
    rlim_t value[RLIMITS_MAX];
};

/* A size in bytes, as 4096, 64K, 256M, 2G. False if it is none. */
bool size_parse(const char *text, uint64_t *bytes);
/* Adds "name=value[,name=value]" to *l: sizes as above, numbers, or "unlimited". False with a
 * sentence in why: also if this process may not allow its children so much. */
bool rlimits_parse(struct rlimits *l, const char *text, char *why, size_t size);
/* In a child. Without cores unless they are asked for: they hold what tasks were given. */
void rlimits_apply(const struct rlimits *l);

#endif
