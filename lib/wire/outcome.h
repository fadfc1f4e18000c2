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
/* The property bytes of a result of m, and the members of its body beside status and result, each
 * with a comma before it. False when out of memory. */
bool outcome_props_write(const struct message *m, struct buf *props);
bool outcome_rest_write(const struct message *m, double runtime, bool redelivered, struct buf *out);

/* A result as a client reads it. Owns result and notes. */
struct reply {
    char state[32];
    bool ready; /* SUCCESS, FAILURE, REVOKED */
    bool success;
    json_t *result; /* new reference; may be NULL */
    json_t *notes;  /* the same: its "items", see starmap.h; */
    size_t count;   /* about how many of them it is; 0: it does not say */
    struct fault fault;
    double runtime;
    bool redelivered;
};
/* The body of a result; the id is in the property correlation_id. Total. False with *f set when it
 * is no result. */
bool reply_read(struct bytes body, struct reply *r, struct fault *f);
void reply_done(struct reply *r);

#endif
