/* post.h - one message on its way out: where it goes, its bytes, and the mark of a second sending.
 */
#ifndef AMQP_POST_H
#define AMQP_POST_H

#include "amqp/frame.h"
#include "amqp/ladder.h"
#include "amqp/types.h"
#include "base/list.h"

#define HEADER_LIMIT (FRAME_MAX - 64) /* room for the frame, the fixed part and the mark */

struct post {
    struct list link; /* its state */
    struct list all;
    struct publish what; /* points into itself, or to `marked` */
    uint8_t *marked;     /* its properties with the mark */
    uint64_t seq;        /* its confirm's number on this channel; 0: not sent */
    uint64_t end;        /* where its last byte is in the connection's stream */
    size_t size;         /* what it counts in the window */
    bool returned;       /* came back unroutable; its confirm follows */
    bool looked_again;   /* its queue was looked at again after it came back */
    bool empty;          /* its queue was, when it was looked at again */
    bool recalled;       /* nobody waits for it */
    bool suspect;        /* was under way when the channel or connection was closed: goes alone */
    bool hopeless;       /* refused for what it is: there is no use in sending it again */
    uint8_t closes; /* how often the broker closed the connection while only it was under way */
    int outcome;    /* ended: CTASK_OK, CTASK_E... */
    char *why;      /* ended: the broker's words, or NULL */
    uint8_t bytes[];
};

#define POST_USUAL ((size_t)768) /* most tasks and results fit, with their properties */

/* Where it goes on the wire: as text, or in the room. */
const char *post_exchange(const struct post *p, char room[LADDER_EXCHANGE_SIZE]);
const char *post_key(const struct post *p, char room[NAME_MAX_BYTES + 1]);
uint64_t post_body_size(const struct post *p);
/* Reads n bytes of the body from `at` on. False when its file cannot be read. */
bool post_body_read(const struct post *p, uint64_t at, uint8_t *to, size_t n);
/* Adds the mark x-ctask-again to its headers. Without memory, room or a readable table it goes as
 * it is: a duplicate that does not say so is better than a message lost. */
void post_mark(struct post *p);
/* m may be what came back of it. correlation: m's. */
bool post_matches(const struct post *p, const struct envelope *m, struct bytes correlation);

#endif
