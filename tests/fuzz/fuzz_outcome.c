/* fuzz_outcome.c - a result's body, as a client reads it from whoever can write to its queue. */
#include "fuzz.h"

#include "wire/element.h"
#include "wire/starmap.h"

#include <string.h>

/* The same read as the reply to a message of many items. */
static void items_read(const uint8_t *data, size_t size)
{
    struct starmap_reply r;
    struct fault f = {0};
    struct bytes one;
    if (!starmap_reply_read(bytes_of(data, size), &r, &f)) {
        must(f.type[0] && f.text[0]);
        return;
    }
    must(!r.listed || (r.reply.success && !r.reply.result));
    while (r.listed && element_next(&r.list, &one) == 1) {
        json_t *value = element_value(one, &f);
        must(value || f.text[0]);
        json_decref(value);
    }
    for (size_t i = 0; i < json_array_size(r.reply.notes); i++) {
        struct note n;
        const json_t *result;
        must(!note_read(json_array_get(r.reply.notes, i), &n, &result) ||
             !(n.failed && n.elsewhere));
    }
    starmap_reply_done(&r);
}

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
    items_read(data, size);
    return 0;
}
