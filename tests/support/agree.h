/* agree.h - does librabbitmq decode the same from a table as base/table.h? */
#ifndef SUPPORT_AGREE_H
#define SUPPORT_AGREE_H

#include "base/table.h"
#include "support/librabbitmq.h"

/* NULL if each entry of `table`, which table_check found sound, is in *theirs with the same name,
 * kind and value, in all depth; else what differs. */
const char *agree(struct bytes table, const amqp_table_t *theirs);
/* Decodes it with librabbitmq first. */
const char *agree_decoded(struct bytes table);

static inline struct bytes bytes_amqp(amqp_bytes_t b)
{
    return bytes_of(b.bytes, b.len);
}

#endif
