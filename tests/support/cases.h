/* cases.h - whole messages as they are on the wire, from the text files in tests/golden; README.md
 * there describes the layout. A missing file or case ends the test. */
#ifndef SUPPORT_CASES_H
#define SUPPORT_CASES_H

#include "base/buf.h"

struct wire_case {
    char name[64];
    struct buf props, body;
};

/* The cases that Celery wrote; loaded and unloaded by a fixture of check. */
extern struct wire_case *cases;
extern size_t case_count;
void cases_load_tasks(void);
void cases_load_results(void);
void cases_unload(void);
struct wire_case *case_named(const char *name);
/* Checks that a message which ctask made is byte for byte that case of ctask.txt, which a Python
 * Celery was shown to read as meant (tests/interop/test_wire.sh). */
void cases_match(const char *name, const struct buf *props, const struct buf *body);

#endif
