/* table.h - AMQP field tables as bytes: one walker, one writer. No allocation, no I/O.
 *
 * The walker is total: any bytes give a verdict. Limits: depth 16, 512 entries in all (items of
 * arrays too: x-death has nine for each delay queue that a message was in, of which there are 28),
 * 64 KiB; no empty name; an inner table must end exactly inside its outer one. Kinds understood:
 * S I l L i s u b B t f d V A F T D x (AMQP 0-9-1 as RabbitMQ reads it:
 * https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
 *
 * The writer emits only what Celery's reader takes as meant: I, S, t, V, and A of I, d and V. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include "base/buf.h"

/* A table here is the run of its entries, without the 4 bytes of length in front. */
struct field {
    struct bytes key;
    char kind; /* the type byte on the wire */
    bool is_int, is_text;
    int64_t i;          /* is_int: any integer kind, and t as 0 or 1 */
    double d;           /* f, d */
    struct bytes text;  /* S, x: the value; A, F: the entries inside */
    struct bytes entry; /* the whole entry, key to end, for copying */
};

/* NULL if the table is sound in all its depth, else what is wrong with it; static. */
const char *table_check(struct bytes table);
/* Takes the next entry off the front of *rest. False at the end (or at the first unsound entry). */
bool table_next(struct bytes *rest, struct field *f);
/* The same for the items of an array, which have no key. */
bool table_item_next(struct bytes *rest, struct field *f);
/* The first entry of that name; false if there is none. */
bool table_find(struct bytes table, const char *key, struct field *f);

/* Appends one entry. Keys are at most 255 bytes (asserted: ours are constants). */
bool table_put_text(struct buf *b, const char *key, struct bytes v);
bool table_put_int(struct buf *b, const char *key, int32_t v);
bool table_put_bool(struct buf *b, const char *key, bool v);
bool table_put_null(struct buf *b, const char *key);
/* An array of n numbers; whole ones as integers, NaN as null. */
bool table_put_numbers(struct buf *b, const char *key, const double *v, size_t n);

#endif
