/* session.h - inside of broker.h: one connection after the other, and the rooms of lib/amqp that
 * live on it. broker.c is what the owner calls, dial.c decides where to connect and when, home.c
 * goes back to the first URL, session.c reads and writes, fill.c says what is written, lane.c opens
 * and closes channels, intake.c says which channel consumes which queue, route.c brings each frame
 * to its room, delays.c sees to messages that wait in the broker. */
#ifndef TRANSPORT_SESSION_H
#define TRANSPORT_SESSION_H

#include "amqp/consumers.h"
#include "amqp/inbox.h"
#include "amqp/ladder.h"
#include "amqp/link.h"
#include "amqp/outbox.h"
#include "amqp/settle.h"
#include "amqp/stream.h"
#include "amqp/topology.h"
#include "transport/broker.h"

/* Numbers: 1 publishes, those from 2 on consume, one queue each; the highest is for the delay
 * queues, the topology's come down from below it. A channel does one thing after the other, so what
 * has to wait for a queue that does not answer must not share one with anything else. */
enum { CHANNEL_PUBLISH = 1, CHANNEL_CONSUME = 2 };

/* A channel of ours. What is asked follows channel.open without awaiting its answer. */
struct lane {
    uint16_t number;
    bool open;
    bool closing; /* by us: until close-ok its number may not be used */
    int64_t opened_at, retry_at, close_by;
};

/* When the publishing channel may be opened anew. */
struct renewal {
    int64_t at;          /* not before */
    int64_t wait;        /* between the last one and the next */
    int64_t confirms_by; /* under way: how long confirms are awaited; 0: it is not */
};

/* A queue that is consumed, and the channel that does it. queue "": it was deleted, or another
 * intake has it; when the channel is closed too, another queue may take the intake over. */
struct intake {
    struct list link;
    struct lane lane;
    struct consumers consumers;
    struct inbox deliveries;
    struct settle settle; /* its generation is this intake's and nobody else's */
    char queue[NAME_MAX_BYTES + 1];
};

/* How long the oldest message under way may stay unconfirmed; see patience.c. */
struct patience {
    uint64_t awaited; /* its number; 0: none is under way */
    int64_t until;    /* CLOCK_NEVER: its time does not count now */
    bool last_call;
    unsigned strikes; /* in a row */
};

enum phase {
    PHASE_WAITING,   /* until retry_at, or for the resolver */
    PHASE_DIALING,   /* the stream is connecting */
    PHASE_CONNECTED, /* the rest is the link's state */
    PHASE_CLOSED,    /* for good */
};

/* The way back to the first URL, see home.c. */
struct home {
    enum {
        HOME_AWAY,  /* an attempt is made at `at` */
        HOME_NAME,  /* the attempt waits for the resolver, */
        HOME_DIAL,  /* the stream is connecting, */
        HOME_LOGIN, /* or the rest is the link's state */
    } step;
    int64_t at, until;
    unsigned failures;
    struct addrs addrs; /* of the first URL when it was last dialled; count 0: none were found */
    struct stream stream;
    struct link link; /* while HOME_LOGIN */
};

struct news {
    struct list link;
    struct broker_event ev;
};

/* So many messages at the broker unconfirmed keep a near one busy. More would lie in its queues,
 * and cost it more than they do lying here. */
#define FLIGHT 256

struct broker {
    struct broker_config cfg;
    struct url *urls; /* in memory of base/secret.h */
    unsigned url_count;
    unsigned at; /* the URL that is tried, or in use */
    char name[128];
    char arguments[QUEUE_ARGUMENTS_MAX + 1];

    enum phase phase;
    bool resolving, closing;
    bool leaving;               /* the connection is being closed, for that of `home` */
    bool silent;                /* it was given up because its node answered nothing */
    int64_t retry_at, deadline; /* deadline: of the look-up, the handshake, or of closing */
    int64_t up_at;
    unsigned good;           /* the address that answered last */
    unsigned failed;         /* URLs that failed since the last good one, a bit each */
    unsigned tried;          /* how many failed in this round, */
    struct ctask_error tale; /* and what each of them said */
    unsigned failures;       /* rounds that failed one after the other */
    struct stream stream;
    struct link link; /* while PHASE_CONNECTED */
    struct home home;
    struct patience patience;
    int64_t pulse_at; /* when to look whether the peer acknowledges; CLOCK_NEVER: it has */
    bool quiet;       /* poll found nothing to read: see broker_polled */
    size_t read_size;
    size_t props_max;   /* see broker_props_max */
    int64_t held_until; /* see broker_hold */
    struct ctask_error error;
    bool attempt_told; /* it is that of an attempt, not of a loss */

    struct lane publish, delays;
    struct renewal renewal;
    struct outbox out;
    struct inbox returns;
    struct topology topology;
    struct ladder ladder;
    struct list intakes;
    uint32_t generation;     /* the last one given out */
    struct delivery spooled; /* the last one in a file; one at a time is unsettled */
    int64_t spool_kept;      /* see broker_spool_keep */

    struct list news, arrived;
    struct spares parcels; /* for what arrives */
    struct news reserve;   /* for a BROKER_DOWN that memory cannot hold */
    struct post *given;    /* whose outcome was handed out last */
};

/* News for the owner; queue may be NULL. An owner that misses one would wait for ever: NULL when
 * memory cannot hold it, and the connection ends for that. */
struct broker_event *news_add(struct broker *b, enum broker_event_kind kind,
                              const struct queue *queue);

bool session_up(const struct broker *b);
/* The connection, or the attempt at one, has ended: cleans up, and lets dial.c decide what next. */
void session_end(struct broker *b, const struct ctask_error *e, int64_t now);
/* A link over a stream that is connected to u. */
void session_link(const struct broker *b, struct link *link, const struct url *u, int64_t now);
/* Closes the connection in order; that of `home` takes its place. */
void session_leave(struct broker *b, int64_t now);
/* The stream is connected. */
void session_begin(struct broker *b, int64_t now);
/* How its channels are used. False, and the link is dead, if the broker allows too few. */
bool session_channels(struct broker *b);
void session_poll(const struct broker *b, struct pollfd *p, int64_t *wake);
void session_turn(struct broker *b, int64_t now);
/* Writes without reading. True if nothing is left to write. */
bool session_flush(struct broker *b, int64_t now);
/* Says now what changed about consuming, so that it is said before what follows. */
void session_consume(struct broker *b, struct intake *in, int64_t now);
void session_close(struct broker *b, int64_t now);

void patience_begin(struct patience *p);
/* After each write. */
void patience_await(struct broker *b, int64_t now);
/* After reading: the connection is to be made again. */
bool patience_over(struct broker *b, int64_t now);

/* fill.c: something is due to be written. */
bool fill_due(const struct broker *b, int64_t now);
/* Puts it into the link's buffer. False when it could not be put together. */
bool fill_out(struct broker *b, int64_t now);

/* intake.c: the intake of q; if it has none, an unused or a new one becomes q's. NULL when out of
 * memory. */
struct intake *intake_for(struct broker *b, const struct queue *q);
/* Takes it out of the list and frees it. Its channel must not be open. */
void intake_free(struct intake *in);
/* When the next queue is to be moved to another channel, since the broker has not answered its
 * basic.consume. CLOCK_NEVER while the broker is in alarm, or while no channel is left. */
int64_t intakes_deadline(const struct broker *b);
/* The broker answered a basic.consume: queues that have waited for over a second are moved next. */
void intakes_hurry(struct broker *b, int64_t now);
/* The broker could not answer until now, being in alarm. */
void intakes_wait_anew(struct broker *b, int64_t now);
/* Moves the queues whose time is over, as far as channels are left; fill.c then consumes them.
 * False when out of memory. */
bool intakes_move(struct broker *b, int64_t now);
/* Its channel is closed, and its queue consumed over another one. False when out of memory. */
bool intake_reopen(struct broker *b, struct intake *in, int64_t now);

/* lane.c: nothing keeps it from being used now. */
bool lane_usable(const struct lane *lane, int64_t now);
/* Opens the channel unless it is open. False when memory is short. */
bool lane_open(struct broker *b, struct lane *lane, int64_t now);
/* Closes it; it is opened again when it is needed. False when memory is short. */
bool lane_close(struct broker *b, struct lane *lane, int64_t now);
/* The broker closed it. One that did not live for a second is not reopened at once. */
bool lane_closed(struct broker *b, struct lane *lane, int64_t now);
/* The lane with this channel that we are closing, or NULL. */
struct lane *lane_closing(struct broker *b, uint16_t channel);
/* A frame on it: all that comes before close-ok is late, and nobody's. NULL, or what is wrong. */
const char *lane_late(struct broker *b, struct lane *lane, const struct frame *f);
/* When the broker must have answered each channel.close; CLOCK_NEVER while it is in alarm. The
 * close of an intake without a queue has no limit while other channels consume, and that of the
 * delay channel has none: meanwhile what is to be delayed is refused at once. */
int64_t lanes_deadline(const struct broker *b);
/* The broker could not answer until now, being in alarm. */
void lanes_wait_anew(struct broker *b, int64_t now);
/* The publishing channel is to be opened anew: no further message is begun on it. */
bool renewal_holds(const struct broker *b, int64_t now);
/* Something is to be done for that. */
bool renewal_due(const struct broker *b, int64_t now);
int64_t renewal_wake(const struct broker *b);
bool renewal_write(struct broker *b, int64_t now);

/* delays.c: as the functions of route.c and session.c beside them, for delayed messages. A post
 * whose queue is known leaves, or waits for the ladder and its queue's binding. */
void delays_post(struct broker *b, struct post *p);
/* It came back: all that it needs is declared again. */
void delays_doubt(struct broker *b, const struct post *p);
bool delays_due(const struct broker *b, int64_t now);
bool delays_write(struct broker *b, int64_t now);
const char *delays_method(struct broker *b, amqp_method_number_t id, const void *m, int64_t now);
void delays_reset(struct broker *b);

/* Does what is due while there is no connection. */
void dial_turn(struct broker *b, int64_t now);
void dial_poll(const struct broker *b, struct pollfd *p, int64_t *wake);
#define SETTLED_AFTER CLOCK_SECOND /* up that long: the next failure counts as the first */
/* Decides what follows the end of an attempt or of a connection. True if it is to be told, and why
 * in *why; false while there are URLs left to try. */
bool dial_again(struct broker *b, struct ctask_error *why, bool was_up, int64_t now);
/* How names become addresses, as broker_config.resolve says. */
int dial_resolve(struct broker *b, const struct url *u, struct addrs *to, struct ctask_error *e);
int64_t dial_jitter(int64_t least, int64_t most);
/* True if b is not where the one that it follows is. */
bool dial_is_astray(const struct broker *b);

/* home.c: the connection is up: if it is not where it should be, an attempt follows in time. */
#define HOME_CALM (600 * CLOCK_SECOND)
void home_wait(struct broker *b, int64_t now);
void home_turn(struct broker *b, int64_t now);
int64_t home_wake(const struct broker *b, int64_t now);
bool home_is_up(const struct broker *b);
/* The connection in use is gone. True if that of `home` is in its place. */
bool home_take(struct broker *b);
/* No attempt is made any more. */
void home_end(struct broker *b);

/* NULL, or what is wrong with the frame; static. */
const char *route_frame(struct broker *b, const struct frame *f, int64_t now);
/* q became KNOWN or REFUSED; NULL: nothing to tell. */
void route_verdict(struct broker *b, struct queue *q);
/* A post that is to leave, or to wait for its queue. False when out of memory. */
bool route_post(struct broker *b, struct post *p);
/* What came back although its queue was known: the queue is looked at again, once per message. To
 * be called after whatever ends posts. */
void route_unroutable(struct broker *b);
/* A consuming channel is gone: nothing that came over it can be settled. */
void route_stale(struct broker *b, struct intake *in);
/* The one that brought d and can settle it, or NULL. */
struct intake *route_intake(const struct broker *b, struct delivery d);

#endif
