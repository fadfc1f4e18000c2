/* fuzz_outcome.c - a result's body, as a client reads it from whoever can write to its queue. */
#include "fuzz.h"

#include "wire/outcome.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reply r;
    struct fault f = {0};
    if (reply_read(bytes_of(data, size), &r, &f)) {
        must(r.state[0] && memchr(r.state, '\0', sizeof r.state));
        must(!r.success || r.ready);
        must(!r.ready || r.success || r.fault.type[0]);
    } else {
        must(f.type[0] && f.text[0]);
    }
    reply_done(&r);
    return 0;
}
