/* fuzz_table.c - header tables and properties: total, and what is written again reads the same. */
#include "fuzz.h"

#include "base/props.h"

static void walk(struct bytes table)
{
    struct bytes rest = table;
    struct field f;
    size_t count = 0;
    while (table_next(&rest, &f)) {
        must(f.key.n > 0 && f.entry.n > f.key.n);
        must(f.entry.p >= table.p && f.entry.p + f.entry.n <= table.p + table.n);
        must(++count <= 512);
    }
    must(rest.n == 0); /* table_check said that it is sound */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes raw = bytes_of(data, size);
    struct props p, again;
    struct buf out = {0};
    if (!table_check(raw)) walk(raw);
    if (!props_read(raw, &p)) {
        walk(p.headers);
        must(props_write(&out, &p));
        must(!props_read(buf_bytes(&out), &again));
        must(bytes_equal(p.headers, again.headers));
        must(bytes_equal(p.correlation_id, again.correlation_id));
        must(bytes_equal(p.reply_to, again.reply_to));
        must(bytes_equal(p.content_type, again.content_type));
        must(p.priority == again.priority && p.timestamp == again.timestamp);
    }
    buf_done(&out);
    return 0;
}
