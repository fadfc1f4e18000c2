/* golden.h - captured bytes, kept as hex in tests/golden/NAME. */
#ifndef SUPPORT_GOLDEN_H
#define SUPPORT_GOLDEN_H

#include "base/bytes.h"

/* The bytes of tests/golden/NAME: pairs of hex digits, spaces and lines between them, comments from
 * # to the end of the line. malloc'ed; the program ends when there is no such file. */
struct bytes golden_read(const char *name);

#endif
