/* table.c - see table.h. */
#include "base/table.h"

#include <assert.h>
#include <math.h>

#define DEPTH_MAX 16
#define ENTRIES_MAX 512
#define SIZE_LIMIT ((size_t)64 << 10)

#define LENGTH_FIRST 255 /* four bytes of length come first */
#define NO_KIND 254

static uint8_t kind_width(char kind)
{
    switch (kind) {
    case 'V': return 0;
    case 't':
    case 'b':
    case 'B': return 1;
    case 's':
    case 'u': return 2;
    case 'I':
    case 'i':
    case 'f': return 4;
    case 'D': return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T': return 8;
    case 'S':
    case 'x':
    case 'A':
    case 'F': return LENGTH_FIRST;
    default: return NO_KIND;
    }
}

/* Takes n bytes off the front of *rest; NULL if there are fewer. */
static const uint8_t *take(struct bytes *rest, size_t n)
{
    if (n > rest->n) return NULL;
    const uint8_t *p = rest->p;
    *rest = bytes_rest(*rest, n);
    return p;
}

static uint64_t number_read(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | *p++;
    return v;
}

static double double_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static double float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void field_set_number(struct field *f, uint64_t v)
{
    f->is_int = true;
    switch (f->kind) {
    case 't': f->i = v != 0; break;
    case 'b': f->i = (int8_t)v; break;
    case 's': f->i = (int16_t)v; break;
    case 'I': f->i = (int32_t)v; break;
    case 'B':
    case 'u':
    case 'i':
    case 'l':
    case 'L': f->i = (int64_t)v; break; /* L too is signed: RabbitMQ sends either for the same */
    case 'd':
        f->d = double_of(v);
        f->is_int = false;
        break;
    case 'f':
        f->d = float_of((uint32_t)v);
        f->is_int = false;
        break;
    default: f->is_int = false; break;
    }
}

static const char *value_take(struct bytes *rest, struct field *f)
{
    const uint8_t *p = take(rest, 1);
    if (!p) return "a table entry is cut short";
    f->kind = (char)*p;
    uint8_t width = kind_width(f->kind);
    if (width == NO_KIND) return "a table entry is of an unknown kind";
    if (width != LENGTH_FIRST) {
        p = take(rest, width);
        if (!p) return "a table entry is cut short";
        field_set_number(f, number_read(p, width));
        return NULL;
    }
    p = take(rest, 4);
    if (!p) return "a table entry is cut short";
    size_t n = number_read(p, 4);
    p = take(rest, n);
    if (!p) return "a table entry ends beyond its table";
    f->text = bytes_of(p, n);
    f->is_text = f->kind == 'S' || f->kind == 'x';
    return NULL;
}

static const char *entry_take(struct bytes *rest, struct field *f)
{
    const uint8_t *start = rest->p, *p = take(rest, 1);
    if (!p) return "a table entry is cut short";
    size_t n = *p;
    p = take(rest, n);
    if (!p) return "a table entry is cut short";
    if (n == 0) return "a table entry has an empty name";
    f->key = bytes_of(p, n);
    const char *wrong = value_take(rest, f);
    f->entry = bytes_of(start, (size_t)(rest->p - start));
    return wrong;
}

/* Items of an array are entries without a key. */
static const char *check(struct bytes rest, bool keyed, unsigned depth, unsigned *entries)
{
    if (depth > DEPTH_MAX) return "a table is nested too deep";
    while (rest.n > 0) {
        if (++*entries > ENTRIES_MAX) return "a table has too many entries";
        struct field f = {0};
        const char *wrong = keyed ? entry_take(&rest, &f) : value_take(&rest, &f);
        if (!wrong && (f.kind == 'A' || f.kind == 'F'))
            wrong = check(f.text, f.kind == 'F', depth + 1, entries);
        if (wrong) return wrong;
    }
    return NULL;
}

const char *table_check(struct bytes table)
{
    if (table.n > SIZE_LIMIT) return "a table is too large";
    unsigned entries = 0;
    return check(table, true, 1, &entries);
}

bool table_next(struct bytes *rest, struct field *f)
{
    *f = (struct field){0};
    return rest->n > 0 && !entry_take(rest, f);
}

bool table_item_next(struct bytes *rest, struct field *f)
{
    *f = (struct field){0};
    return rest->n > 0 && !value_take(rest, f);
}

bool table_find(struct bytes table, const char *key, struct field *f)
{
    struct bytes name = bytes_text(key);
    while (table_next(&table, f))
        if (bytes_equal(f->key, name)) return true;
    return false;
}

static bool key_put(struct buf *b, const char *key, char kind)
{
    size_t n = strlen(key);
    assert(n > 0 && n <= 255);
    return buf_u8(b, (uint8_t)n) && buf_append(b, key, n) && buf_u8(b, (uint8_t)kind);
}

bool table_put_text(struct buf *b, const char *key, struct bytes v)
{
    return key_put(b, key, 'S') && buf_u32(b, (uint32_t)v.n) && buf_bytes_append(b, v);
}

bool table_put_int(struct buf *b, const char *key, int32_t v)
{
    return key_put(b, key, 'I') && buf_u32(b, (uint32_t)v);
}

bool table_put_bool(struct buf *b, const char *key, bool v)
{
    return key_put(b, key, 't') && buf_u8(b, v);
}

bool table_put_null(struct buf *b, const char *key)
{
    return key_put(b, key, 'V');
}

static void number_put(struct buf *b, double v)
{
    uint64_t bits;
    if (isnan(v)) {
        buf_u8(b, 'V');
    } else if (v >= INT32_MIN && v <= INT32_MAX && v == trunc(v)) {
        buf_u8(b, 'I');
        buf_u32(b, (uint32_t)(int32_t)v);
    } else {
        memcpy(&bits, &v, sizeof bits);
        buf_u8(b, 'd');
        buf_u64(b, bits);
    }
}

bool table_put_numbers(struct buf *b, const char *key, const double *v, size_t n)
{
    struct buf items = {0};
    for (size_t i = 0; i < n; i++) number_put(&items, v[i]);
    bool ok = !items.failed && key_put(b, key, 'A') && buf_u32(b, (uint32_t)items.len) &&
              buf_bytes_append(b, buf_bytes(&items));
    if (items.failed) b->failed = true;
    buf_done(&items);
    return ok;
}
