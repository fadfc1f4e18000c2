/* outbox.h - messages on their way out, until the broker has taken them or will not.
 *
 * A post is ready, then sent, then ended: the list it is on is its state. (Before, it may wait on a
 * list of its owner's, for its queue to be known.) Every post ends exactly once, unless it is
 * recalled. The number of posts and their bytes in memory have a ceiling; so have those that fly,
 * unconfirmed at the broker or on the way there, and the out buffer: a large body is cut into
 * frames only as the buffer drains.
 *
 * What was sent and not confirmed when the connection or the channel ends is sent again, marked
 * with the header x-ctask-again if it may have arrived. A nacked message is marked too, since a
 * node that went down may have it. It is sent again once if its queue can be looked at; else its
 * owner gets it back, marked, and may send it again. */
#ifndef AMQP_OUTBOX_H
#define AMQP_OUTBOX_H

#include "amqp/nacks.h"
#include "amqp/post.h"
#include "base/buf.h"
#include "base/spares.h"

struct outbox {
    size_t window, window_bytes;
    struct list all, ready, sent, ended;
    struct list unroutable; /* came back, or were not accepted, though their queue was known: their
                               owner looks again */
    size_t count, bytes, recalled;
    size_t flying;        /* that have a number: sent, or begun */
    size_t flying_max;    /* while so many have, no other is begun; its owner may change it */
    bool suspects_wait;   /* suspects are not sent for now; set by the owner */
    uint64_t seq;         /* of the last one on this channel */
    struct post **by_seq; /* those sent, at seq % SEQS; a later one may have taken the place of one
                             that waits for long. NULL: no memory for it */
    struct nacks nacks;   /* on this channel */
    struct spares posts;  /* of POST_USUAL bytes */
    bool begun;           /* ready's first is partly written: */
    uint64_t next;        /* from here on its body is not */
};

void outbox_init(struct outbox *o, unsigned window, size_t window_bytes);
void outbox_done(struct outbox *o);

/* A copy of *p, on no list but `all`; see broker_publish for the codes. */
int outbox_put(struct outbox *o, const struct publish *p, struct post **out);
void outbox_ready(struct outbox *o, struct post *p);
/* Undoes outbox_put. */
void outbox_drop(struct outbox *o, struct post *p);
/* Ends p with that outcome, or frees it if it was recalled. why is copied. */
void outbox_end(struct outbox *o, struct post *p, int outcome, struct bytes why);
/* Takes all with this cookie back: they have no outcome. False if there is none. */
bool outbox_recall(struct outbox *o, void *cookie);
/* The oldest that has ended, now the caller's: post_free. NULL if there is none. */
struct post *outbox_take(struct outbox *o);
void post_free(struct outbox *o, struct post *p);

/* Something could be written. */
bool outbox_pending(const struct outbox *o);
/* Writes frames until out holds `limit` bytes. base: how many bytes of the connection's stream are
 * gone, so base + out->len is where the next one goes. False on a failure that ends the connection
 * (memory; a file that cannot be read in mid-message). */
bool outbox_write(struct outbox *o, struct buf *out, uint16_t channel, size_t frame_max,
                  size_t limit, uint64_t base);

/* basic.ack and basic.nack. */
void outbox_confirm(struct outbox *o, uint64_t tag, bool multiple, bool taken);
/* basic.return: a message came back. */
void outbox_return(struct outbox *o, const struct envelope *m);
/* The channel is gone, and with it numbers and confirms: what was sent is ready again. `gone` bytes
 * of the connection's stream have left. */
void outbox_reset(struct outbox *o, uint64_t gone);
/* The same, because the broker refused a publish, with these words. If one was under way alone it
 * is the culprit and ends; else each of them goes alone now, so that the next refusal names it.
 * code: the broker's. A delayed one is unroutable if its exchange is missing, since that is among
 * what can be declared for it. */
void outbox_refused(struct outbox *o, uint64_t gone, unsigned code, struct bytes why);
/* The same, because the broker closed the connection for something that it was sent. alone: nothing
 * but posts was under way. A post that was under way alone goes behind the others, and ends after
 * CLOSES_MAX closes: the broker may have had another reason for the first ones. */
void outbox_blamed(struct outbox *o, uint64_t gone, bool alone, struct bytes why);

#endif
