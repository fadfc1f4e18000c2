/* props.c - see props.h. One table of the properties serves reader and writer. */
#include "base/props.h"

enum kind { TEXT, TABLE, OCTET, STAMP };

static const struct row {
    enum kind kind;
    size_t value, has; /* where in struct props; TEXT needs no `has` */
} rows[PROP_COUNT] = {
#define ROW_TEXT(field)                        \
    {                                          \
        TEXT, offsetof(struct props, field), 0 \
    }
#define ROW(kind, field)                                                         \
    {                                                                            \
        kind, offsetof(struct props, field), offsetof(struct props, has_##field) \
    }
    [PROP_CONTENT_TYPE] = ROW_TEXT(content_type),
    [PROP_CONTENT_ENCODING] = ROW_TEXT(content_encoding),
    [PROP_HEADERS] = ROW(TABLE, headers),
    [PROP_DELIVERY_MODE] = ROW(OCTET, delivery_mode),
    [PROP_PRIORITY] = ROW(OCTET, priority),
    [PROP_CORRELATION_ID] = ROW_TEXT(correlation_id),
    [PROP_REPLY_TO] = ROW_TEXT(reply_to),
    [PROP_EXPIRATION] = ROW_TEXT(expiration),
    [PROP_MESSAGE_ID] = ROW_TEXT(message_id),
    [PROP_TIMESTAMP] = ROW(STAMP, timestamp),
    [PROP_TYPE] = ROW_TEXT(type),
    [PROP_USER_ID] = ROW_TEXT(user_id),
    [PROP_APP_ID] = ROW_TEXT(app_id),
    [PROP_CLUSTER_ID] = ROW_TEXT(cluster_id),
#undef ROW
#undef ROW_TEXT
};

#define FLAGS_KNOWN (0xffffu & ~(0xffffu >> PROP_COUNT))

static bool number_take(struct bytes *rest, size_t width, uint64_t *v)
{
    if (width > rest->n) return false;
    *v = 0;
    for (size_t i = 0; i < width; i++) *v = *v << 8 | rest->p[i];
    *rest = bytes_rest(*rest, width);
    return true;
}

/* A run of bytes with its length, of `width` bytes, in front. */
static bool run_take(struct bytes *rest, size_t width, struct bytes *run)
{
    uint64_t n;
    if (!number_take(rest, width, &n) || n > rest->n) return false;
    *run = bytes_of(rest->p, n);
    *rest = bytes_rest(*rest, n);
    return true;
}

static bool property_take(struct bytes *rest, const struct row *row, struct props *out)
{
    void *value = (char *)out + row->value;
    bool *has = row->kind == TEXT ? &(bool){false} : (bool *)((char *)out + row->has);
    uint64_t v = 0;
    switch (row->kind) {
    case TEXT: *has = run_take(rest, 1, value); break;
    case TABLE: *has = run_take(rest, 4, value); break;
    case OCTET:
        *has = number_take(rest, 1, &v);
        *(uint8_t *)value = (uint8_t)v;
        break;
    case STAMP: *has = number_take(rest, 8, value); break;
    }
    return *has;
}

const char *props_read(struct bytes raw, struct props *out)
{
    *out = (struct props){0};
    uint64_t flags;
    if (!number_take(&raw, 2, &flags)) return "the properties are cut short";
    if (flags & ~(uint64_t)FLAGS_KNOWN) return "the properties have unknown flags";
    for (size_t i = 0; i < PROP_COUNT; i++)
        if (flags & PROP_FLAG(i) && !property_take(&raw, &rows[i], out))
            return "the properties are cut short";
    const char *wrong = table_check(out->headers);
    if (wrong) out->headers = bytes_of(NULL, 0);
    if (raw.n > 0) return "bytes follow the properties";
    return wrong;
}

static bool property_is_set(const struct row *row, const struct props *p)
{
    const char *base = (const char *)p;
    if (row->kind == TEXT) return ((const struct bytes *)(base + row->value))->p != NULL;
    return *(const bool *)(base + row->has);
}

static bool property_append(struct buf *out, const struct row *row, const struct props *p)
{
    const void *value = (const char *)p + row->value;
    const struct bytes *run = value;
    switch (row->kind) {
    case TEXT: return run->n <= 255 && buf_u8(out, (uint8_t)run->n) && buf_bytes_append(out, *run);
    case TABLE: return buf_u32(out, (uint32_t)run->n) && buf_bytes_append(out, *run);
    case OCTET: return buf_u8(out, *(const uint8_t *)value);
    case STAMP: return buf_u64(out, *(const uint64_t *)value);
    }
    return false;
}

bool props_write(struct buf *out, const struct props *p)
{
    unsigned flags = 0;
    for (size_t i = 0; i < PROP_COUNT; i++)
        if (property_is_set(&rows[i], p)) flags |= PROP_FLAG(i);
    if (!buf_u16(out, (uint16_t)flags)) return false;
    for (size_t i = 0; i < PROP_COUNT; i++)
        if (flags & PROP_FLAG(i) && !property_append(out, &rows[i], p)) return false;
    return true;
}
