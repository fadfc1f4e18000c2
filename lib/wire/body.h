/* body.h - the body of a task message: [args, kwargs, embed]. This is for children and clients: a
 * worker's parent never comes here. */
#ifndef WIRE_BODY_H
#define WIRE_BODY_H

#include "wire/json.h"

#define MESSAGE_BODY_MAX ((size_t)15 << 20) /* RabbitMQ refuses over 16 MiB from 4.0 on */

struct message_body {
    json_t *whole;         /* owns the rest */
    json_t *args, *kwargs; /* borrowed: an array, an object */
    json_t *embed;         /* the same: an object or null; NULL: nothing is to follow */
};
bool message_body_read(struct bytes body, struct message_body *b, struct fault *f);
void message_body_done(struct message_body *b);
/* Appends [args, kwargs, embed of nulls]; borrows both, NULL for none. False when out of memory
 * or json_unfit. */
bool message_body_write(const json_t *args, const json_t *kwargs, struct buf *out);
/* The same of arguments that are JSON text already. */
bool message_body_put(struct bytes args, struct buf *out);

#endif
