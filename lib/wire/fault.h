/* fault.h - why something failed, in the terms of Python's exceptions, which is how it travels. */
#ifndef WIRE_FAULT_H
#define WIRE_FAULT_H

#include <ctask.h>

struct fault {
    char type[64];  /* "ValueError"; "" means no fault */
    char text[512]; /* UTF-8 */
};

/* Sets *f and returns false, so that a check can `return fault_set(...)`. */
bool fault_set(struct fault *f, const char *type, const char *fmt, ...) CTASK_PRINTF(3, 4);
/* {"exc_type", "exc_message": [text], "exc_module"}, a new reference. The module is the one where
 * Python has that type; null for a type it does not know, of which it then makes a class. */
json_t *fault_to_json(const struct fault *f);
/* The reverse, total: whatever j is, *f says something. */
void fault_from_json(const json_t *j, struct fault *f);

#endif
