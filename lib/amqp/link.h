/* link.h - one AMQP connection as a state machine: bytes in, frames and bytes out, no I/O and no
 * clock of its own, so that a test or a fuzzer drives it from a buffer.
 *
 * The owner appends what it received to `in`, calls link_next until LINK_NONE, and sends what is in
 * `out`, telling so with link_sent. Channel 0 is handled here; frames of other channels are passed
 * on. After LINK_ENDED nothing follows: send what is still in `out` and close. */
#ifndef AMQP_LINK_H
#define AMQP_LINK_H

#include "amqp/frame.h"
#include "base/url.h"

enum link_state {
    LINK_GREETING, /* protocol header sent, connection.start expected */
    LINK_TUNING,   /* start-ok sent */
    LINK_OPENING,  /* tune-ok and open sent */
    LINK_UP,
    LINK_CLOSING, /* we said connection.close */
    LINK_DEAD,
};

struct link {
    enum link_state state;
    const struct url *url; /* borrowed */
    const char *name;      /* borrowed */
    unsigned heartbeat;    /* seconds: asked for, then agreed on; 0: none */
    struct buf in, out;
    uint64_t sent; /* bytes that left so far; sent + out.len is where the next one goes */
    int64_t heard_at, sent_at;
    size_t frame_max;   /* what we may send */
    size_t frame_limit; /* what we take */
    uint16_t channel_max;
    unsigned rabbitmq_major; /* 3 for 3.10; 0: another broker, or not known yet */
    amqp_pool_t pool;
    size_t taken; /* the frame given last, still at the front of `in` */
    bool blocked;
    char why[256];            /* blocked */
    struct ctask_error error; /* dead */
    bool blames;              /* dead: the broker closed it for something that was sent */
};

enum link_event {
    LINK_NONE,  /* more bytes are needed */
    LINK_FRAME, /* *f, of a channel other than 0; valid until the next call */
    LINK_OPENED,
    LINK_BLOCKED, /* l->why */
    LINK_UNBLOCKED,
    LINK_ENDED, /* l->error; CTASK_ECLOSED: agreed upon */
};

/* heartbeat 0: none, whatever the broker asks. Queues the protocol header. */
void link_init(struct link *l, const struct url *u, const char *name, unsigned heartbeat,
               int64_t now);
void link_done(struct link *l);

enum link_event link_next(struct link *l, struct frame *f);
void link_heard(struct link *l, int64_t now);
void link_sent(struct link *l, size_t n, int64_t now);
/* Queues a heartbeat when one is due. False when the peer has been silent for two of them: then
 * l->error is set. Read before asking. */
bool link_tick(struct link *l, int64_t now);
int64_t link_wake(const struct link *l);

/* Says connection.close. */
void link_close(struct link *l);
/* The connection ended (reason: errno, 0 for an orderly end): l->error becomes what a person should
 * check. */
void link_lost(struct link *l, int reason);
/* Ends it for what the peer or we did wrong. */
void link_fail(struct link *l, int code, const char *what);

/* "host:port", for sentences. */
#define LINK_WHERE_SIZE 272
const char *link_where(const struct url *u, char out[LINK_WHERE_SIZE]);

#endif
