/* cases.h - whole messages as they are on the wire, from the text files in tests/golden; README.md
 * there describes the layout. A missing file or case ends the test. */
#ifndef SUPPORT_CASES_H
#define SUPPORT_CASES_H

#include "base/buf.h"

struct wire_case {
    char name[64];
    struct buf props, body;
};

/* All cases of a file, *count of them. */
struct wire_case *cases_load(const char *file, size_t *count);
void cases_free(struct wire_case *all, size_t count);
/* NULL if there is none of that name. */
struct wire_case *cases_find(struct wire_case *all, size_t count, const char *name);
/* Checks that a message which ctask made is byte for byte that case of ctask.txt, which a Python
 * Celery was shown to read as meant (tests/interop/test_wire.sh). */
void cases_match(const char *name, const struct buf *props, const struct buf *body);

#endif
