/* child.h - frames between the worker's parent and its children, over a line (base/line.h) of one
 * machine and one binary: a header of {u32 length of the fields, u8 type, u64 nonce}, then the
 * fields, all in network order. The nonce is the job's: what a child says has the number of the job
 * that it has begun, so junk on the line is no frame. A child may have been overwritten by a wild
 * task, so the parent takes nothing for granted: every length is checked and the frame refused as a
 * whole. Reading borrows from the frame. */
#ifndef WIRE_CHILD_H
#define WIRE_CHILD_H

#include "base/buf.h"
#include "wire/fault.h"

enum child_frame_type {
    CHILD_JOB = 1, /* down: run this task */
    CHILD_BURY,    /* down: this message will not run (any more): build its last result */
    CHILD_PUBLISH, /* up: a message that the running task sends; leaves at once */
    CHILD_DONE, /* up: the end of the JOB or BURY, with the messages that must be confirmed first */
    CHILD_LEAVE,  /* up, before DONE: this process is not to be used any more; the reason as text */
    CHILD_OUTPUT, /* up, before DONE: the job has printed something that is not read yet */
    CHILD_RESUME, /* down: what came before and is not begun was given to others */
};

#define CHILD_HEADER 13
#define CHILD_FRAME_MAX ((size_t)64 << 20)

/* What one DONE may publish, since the worker does nothing else until the connection has all of it.
 * The bytes are beside the job's own body. A task that has more to send sends it in parts. */
#define DONE_MESSAGES_MAX 512
#define DONE_BYTES_MAX ((size_t)40 << 20)

/* JOB and BURY. */
struct job {
    uint64_t nonce;     /* in the header; not read by job_read */
    bool redelivered;   /* may have been started before */
    struct bytes queue; /* consumed from */
    struct bytes props, body;
    const char *state;  /* BURY: the state its caller sees, one of STATE_..., NULL: none */
    struct fault fault; /* BURY: why */
};

enum posted_kind { POSTED_RESULT = 1, POSTED_TASK, POSTED_COPY, POSTED_PART };

/* One message to publish. */
struct posted {
    enum posted_kind kind; /* RESULT: unroutable is no failure. COPY: body is the job's own,
                              which the parent still has. PART: some of the job's items, as much
                              in the queue already as the job is when its connection is lost */
    struct bytes exchange, routing_key;
    struct bytes ensure; /* a task queue to look at first, or empty */
    struct bytes props, body;
    uint32_t delay; /* but for RESULT: seconds to spend in the broker's delay queues; 0: none */
};

enum done_state { DONE_SUCCESS = 1, DONE_FAILURE, DONE_RETRY, DONE_DEAD };

struct done {
    enum done_state state; /* DEAD: the parent keeps the message in <queue>.dead with `fault` */
    double runtime;        /* of the task's function */
    double cost;           /* of all that the child did for it */
    struct fault fault;  /* FAILURE, RETRY, DEAD; SUCCESS: of the first item that failed, if any */
    struct bytes posted; /* the messages, for posted_next */
};

/* The length of the whole frame that begins with these CHILD_HEADER bytes; 0 if it is over
 * CHILD_FRAME_MAX. */
size_t child_frame_size(const uint8_t header[CHILD_HEADER]);
uint64_t child_frame_nonce(const uint8_t header[CHILD_HEADER]);
/* Takes the length and type of the frame at the front, which must have this nonce: 1 with *type and
 * *payload, 0: more bytes are needed, -1: no such frame, the stream is lost. */
int child_frame_next(struct bytes stream, uint64_t nonce, enum child_frame_type *type,
                     struct bytes *payload);

/* Gives all of these frames, which are whole, that nonce. */
void child_frames_stamp(struct buf *frames, uint64_t nonce);

bool job_write(struct buf *out, enum child_frame_type type, const struct job *j);
bool job_read(struct bytes payload, struct job *j);
bool publish_write(struct buf *out, const struct posted *p);
bool publish_read(struct bytes payload, struct posted *p);
bool leave_write(struct buf *out, const char *why);
/* OUTPUT or RESUME, which have no fields. */
bool bare_frame_write(struct buf *out, enum child_frame_type type);
/* DONE: messages are appended to *posted first with posted_append. */
bool posted_append(struct buf *posted, const struct posted *p);
bool done_write(struct buf *out, const struct done *d);
/* body: how many bytes the job's own has. */
bool done_read(struct bytes payload, size_t body, struct done *d);
/* The next message of a DONE: 1, 0 at the end, -1 unsound. */
int posted_next(struct bytes *rest, struct posted *p);

#endif
