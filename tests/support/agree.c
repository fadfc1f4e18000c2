/* agree.c - see agree.h. */
#include "support/agree.h"

#include <stdlib.h>

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); /* NaN is itself here */
}

static bool same_value(const struct field *f, const amqp_field_value_t *v)
{
    switch (f->kind) {
    case 't': return f->is_int && f->i == v->value.boolean;
    case 'b': return f->is_int && f->i == v->value.i8;
    case 'B': return f->is_int && f->i == v->value.u8;
    case 's': return f->is_int && f->i == v->value.i16;
    case 'u': return f->is_int && f->i == v->value.u16;
    case 'I': return f->is_int && f->i == v->value.i32;
    case 'i': return f->is_int && f->i == v->value.u32;
    case 'l': return f->is_int && f->i == v->value.i64;
    case 'L': return f->is_int && f->i == (int64_t)v->value.u64;
    case 'f': return !f->is_int && same_double(f->d, v->value.f32);
    case 'd': return !f->is_int && same_double(f->d, v->value.f64);
    case 'S':
    case 'x': return f->is_text && bytes_equal(f->text, bytes_amqp(v->value.bytes));
    case 'F': return !f->is_text && !agree(f->text, &v->value.table);
    default: return !f->is_text && !f->is_int;
    }
}

const char *agree(struct bytes table, const amqp_table_t *theirs)
{
    struct field f;
    int n = 0;
    for (; table_next(&table, &f); n++) {
        if (n == theirs->num_entries) return "we have more entries";
        const amqp_table_entry_t *e = &theirs->entries[n];
        if (!bytes_equal(f.key, bytes_amqp(e->key))) return "a name differs";
        if ((uint8_t)f.kind != e->value.kind) return "a kind differs";
        if (!same_value(&f, &e->value)) return "a value differs";
    }
    return n == theirs->num_entries ? NULL : "they have more entries";
}

const char *agree_decoded(struct bytes table)
{
    struct buf raw = {0};
    amqp_pool_t pool;
    amqp_table_t theirs;
    size_t offset = 0;
    init_amqp_pool(&pool, 4096);
    if (!buf_u32(&raw, (uint32_t)table.n) || !buf_bytes_append(&raw, table)) abort();
    amqp_bytes_t encoded = {.len = raw.len, .bytes = buf_head(&raw)};
    const char *differs = "they do not decode it";
    if (amqp_decode_table(encoded, &pool, &theirs, &offset) == AMQP_STATUS_OK)
        differs = offset == raw.len ? agree(table, &theirs) : "they do not decode all of it";
    empty_amqp_pool(&pool);
    buf_done(&raw);
    return differs;
}
