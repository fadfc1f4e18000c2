/* fuzz_escape.c - what goes into the log comes from the network: one line of UTF-8 comes out. */
#include "fuzz.h"

#include "base/log.h"
#include "base/utf8.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char out[256];
    size_t room = 8 + (size ? data[0] % (sizeof out - 8) : 0);
    log_escape(out, room, data, size);
    size_t n = strnlen(out, room);
    must(n < room);
    for (size_t i = 0; i < n; i++) must((uint8_t)out[i] >= 0x20 && out[i] != 0x7f);
    return 0;
}
