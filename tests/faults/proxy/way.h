/* way.h - one direction of a connection through the proxy: bytes in, frames by frames through the
 * rules, bytes out at the pace that was asked for. Frames are only counted and named, never changed
 * in meaning; what is no AMQP (TLS) passes as it comes and no rule for frames applies to it. */
#ifndef FAULTS_WAY_H
#define FAULTS_WAY_H

#include "base/buf.h"
#include "base/list.h"

#define KIND_SIZE 48
#define WAY_RULES 8

enum act {
    ACT_NONE,
    ACT_HOLD,        /* this frame and what follows stay here */
    ACT_DROP,        /* it never existed */
    ACT_DOUBLE,      /* it goes twice */
    ACT_LATE,        /* it goes after the frame that follows it */
    ACT_RESET_AFTER, /* once it has left the connection is reset; c2s: the broker sees an end */
    ACT_ACTS
};
extern const char *const act_names[ACT_ACTS];

/* For the nth frame of a kind from now on, for each of them if nth is 0. */
struct rule {
    enum act act;
    char kind[KIND_SIZE]; /* a method as in basic.ack, header, body, heartbeat, or any */
    unsigned nth, seen;
};

struct pace {
    bool black;               /* nothing is taken any more: the sender's kernel fills up */
    unsigned delay_ms, split; /* split: bytes a segment; 0: as they come */
    uint64_t rate;            /* bytes a second; 0: any */
};

struct way {
    const char *name; /* "c2s", "s2c" */
    unsigned connection;
    int from, to;
    struct pace pace;
    struct rule rules[WAY_RULES];
    uint64_t corrupt_at; /* the byte of the stream that is turned around; 0: none */
    uint64_t passed;     /* bytes that came through the rules */
    bool trace;          /* each frame is told */
    bool held;           /* an ACT_HOLD has struck */
    bool raw;            /* no AMQP */
    bool eof, done;      /* eof: nothing more comes; done: and nothing is left */
    struct buf in;
    struct list chunks; /* out, in order */
    struct chunk *late;
    int64_t next_at; /* rate: not before */
    char peer[128];  /* connection_name, as the client said it */
};

void way_init(struct way *w, const char *name, unsigned connection, int from, int to);
void way_free(struct way *w);
/* False if there is no room for another rule. */
bool way_rule(struct way *w, enum act act, const char *kind, unsigned nth);
/* As if nothing had ever been asked for; what was held goes on. */
void way_pass(struct way *w);

/* It would take bytes now. */
bool way_takes(const struct way *w);
/* It would send bytes now; else, if bytes wait for their time, lowers *wake to it. */
bool way_sends(const struct way *w, int64_t now, int64_t *wake);

enum way_end { WAY_GOES_ON, WAY_BROKEN, WAY_RESET };
enum way_end way_read(struct way *w, int64_t now);
enum way_end way_write(struct way *w, int64_t now);

#endif
