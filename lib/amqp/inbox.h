/* inbox.h - puts the frames of one channel together to whole messages: METHOD, HEADER, BODY*.
 *
 * A message is one allocation, made when its header says how large it is, or one used again. A body
 * over body_max goes to an unlinked file if the caller allows it, else it is read past: body_size
 * tells, `body` is empty. Where no file can be had or the disk is full the file is one in memory,
 * if the body has at most SPOOL_MEMORY_MAX bytes. Frames in any other order than the protocol's are
 * refused and end the connection. */
#ifndef AMQP_INBOX_H
#define AMQP_INBOX_H

#include "amqp/frame.h"
#include "amqp/types.h"
#include "base/list.h"
#include "base/spares.h"

#define PARCEL_USUAL ((size_t)640) /* most tasks and results fit, with all that is said of them */

struct inbox {
    uint64_t body_max;
    enum { INBOX_IDLE, INBOX_HEADER, INBOX_BODY } state;
    struct {
        struct delivery delivery;
        bool redelivered;
        uint32_t window;
        size_t exchange_size, key_size, names_size; /* with their NULs; names: of all three */
        char names[3 * (NAME_MAX_BYTES + 1)];       /* exchange, routing key, queue */
    } head;                                         /* of the message under way */
    bool spool;            /* a body whose header comes now may go to a file */
    struct spares *spares; /* borrowed: pieces of PARCEL_USUAL for messages. NULL: none */
    struct envelope *message;
    uint64_t missing; /* bytes of its body yet to come */
};

/* What a method said, before the header. queue: consumed from, "" for a returned message. */
struct inbox_head {
    struct delivery delivery;
    bool redelivered;
    uint32_t window;
    struct bytes exchange, routing_key, queue;
};

void inbox_init(struct inbox *in, uint64_t body_max);
/* Forgets the message under way, as after a lost channel. */
void inbox_reset(struct inbox *in);

/* NULL, or what is wrong; static. */
const char *inbox_method(struct inbox *in, const struct inbox_head *h);
/* HEADER or BODY. *done is the message if this completed it, the caller's then, else NULL. */
const char *inbox_content(struct inbox *in, const struct frame *f, struct envelope **done);
/* As envelope_free, but for the memory, which is kept for another one. */
void envelope_recycle(struct envelope *m, struct spares *spares);
/* The message under way goes to a file. */
static inline bool inbox_spools(const struct inbox *in)
{
    return in->message && in->message->spool >= 0;
}
static inline bool inbox_busy(const struct inbox *in)
{
    return in->state != INBOX_IDLE;
}

/* Whole messages wait on lists: the list member of one, and back. */
struct list *envelope_link(struct envelope *m);
struct envelope *envelope_of(struct list *link);

#endif
