/* outcome.h - Celery's result message, as the rpc:// backend reads and writes it. */
#ifndef WIRE_OUTCOME_H
#define WIRE_OUTCOME_H

#include "wire/message.h"

/* States that travel; anything else is a custom one such as PROGRESS. */
#define STATE_STARTED "STARTED"
#define STATE_RETRY "RETRY"
#define STATE_SUCCESS "SUCCESS"
#define STATE_FAILURE "FAILURE"
#define STATE_REVOKED "REVOKED"
#define STATE_PROGRESS "PROGRESS"

struct outcome {
    const char *state;
    json_t *result;     /* borrowed; SUCCESS: the value, PROGRESS: the report */
    struct fault fault; /* FAILURE, REVOKED, RETRY */
    double runtime;     /* seconds in the task's function; 0: not known */
    bool redelivered;   /* the task may have been started more than once */
};

/* True if m's sender wants a result at a sane address. */
bool outcome_wanted(const struct message *m);
/* Appends property bytes and body of the result of m. False when out of memory, over 15
 * MiB or json_unfit. */
bool outcome_write(const struct message *m, const struct outcome *o, struct buf *props,
                   struct buf *body);
/* The id that a result of m bears, and its property bytes. */
struct bytes outcome_id(const struct message *m);
bool outcome_props_write(const struct message *m, struct buf *props);

/* A result as a client reads it. Owns result and items. */
struct reply {
    char state[32];
    bool ready; /* SUCCESS, FAILURE, REVOKED */
    bool success;
    json_t *result; /* new reference; may be NULL */
    json_t *items;  /* the same: what is special about items, see starmap.h; */
    size_t count;   /* of how many of them; 0: it does not say */
    struct fault fault;
    double runtime;
    bool redelivered;
};
/* The body of a result; the id is in the property correlation_id. Total. False with *f set when it
 * is no result. */
bool reply_read(struct bytes body, struct reply *r, struct fault *f);
void reply_done(struct reply *r);

#endif
