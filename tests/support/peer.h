/* peer.h - one broker connection under test: turns it, and keeps what happened until it is asked
 * for. Waiting is for events; one that does not come within 30 s fails the test. */
#ifndef SUPPORT_PEER_H
#define SUPPORT_PEER_H

#include "transport/broker.h"

#define PEER_EVENTS (BROKER_UNBLOCKED + 1)
#define PEER_COOKIES 20000
#define PEER_MESSAGES 4096
#define PEER_NO_OUTCOME 1 /* no code is positive */

struct peer {
    struct url url;
    struct broker *b;
    unsigned seen[PEER_EVENTS];
    struct broker_event last[PEER_EVENTS]; /* no pointers in them are followed */
    int outcome[PEER_COOKIES];             /* of cookie i, made by peer_publish */
    unsigned outcomes, outcomes_twice;
    char why[512]; /* of the last failed outcome */
    struct envelope *messages[PEER_MESSAGES];
    size_t count; /* messages held */
    bool ack;     /* ack and drop what comes, counting it in `taken` */
    size_t taken;
    int64_t worst_turn; /* the longest broker_turn, ns */
};

/* cfg may be NULL; its url is set here. */
struct peer *peer_new(const char *url, const struct broker_config *cfg);
void peer_free(struct peer *p);
/* A name of its own. */
void peer_queue_name(char out[64]);

/* One poll of at most ms, one turn, and all events. */
void peer_turn(struct peer *p, int ms);
/* Until `kind` was seen `times` times since the start. */
void peer_wait(struct peer *p, enum broker_event_kind kind, unsigned times);
void peer_wait_outcomes(struct peer *p, unsigned n);
void peer_wait_messages(struct peer *p, size_t n);
void peer_wait_taken(struct peer *p, size_t n);
/* Drops the held message i without settling it. */
void peer_drop(struct peer *p, size_t i);
/* The connection is up and the queue exists. */
void peer_ready(struct peer *p, const char *queue);

/* Publishes to the queue, persistent, with cookie i as correlation id. */
int peer_publish_body(struct peer *p, const char *queue, int i, struct bytes body);
int peer_publish(struct peer *p, const char *queue, int i);
/* The cookie of a message, and whether it is marked as published again. */
int peer_cookie(const struct envelope *m, bool *again);

/* The broker to test against, else ends the program, saying why, with status 77. */
const char *peer_broker(void);
/* The same one without TLS. */
const char *peer_plain(void);
/* Runs rabbitmqctl against it. False if it failed, or if there is none: the reason is printed. */
bool peer_ctl(const char *args);

#endif
