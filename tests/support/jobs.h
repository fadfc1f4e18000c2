/* jobs.h - a job in, a DONE frame out: what a child does, without a worker around it. */
#ifndef SUPPORT_JOBS_H
#define SUPPORT_JOBS_H

#include "task/run.h"
#include "wire/outcome.h"

#include <check.h>

#define REPLY_TO "ctask.reply.here"
#define STEP_ID "id-2" /* of a later step of the job's chain */

/* The job, as job_set made it; it may be changed before run_job. */
extern struct job job;

#define PARTS_HEARD 400

/* What the last job came to. */
struct heard {
    struct done done;
    size_t results, copies, parts, steps; /* steps: results of STEP_ID */
    struct reply reply;                   /* the last result */
    struct posted copy;                   /* the last copy; valid until the next job, like: */
    struct posted part[PARTS_HEARD];      /* items that go on */
};
extern struct heard heard;

/* A case of its own in the suite whose calls know the tasks of these apps (NULL at the end). */
TCase *job_case(Suite *suite, const char *name, const struct ctask_app *const *apps);

/* A job as a producer would cause it, from queue q. */
void job_set(const struct send *s, const char *body);
/* The same with id-1 as its id and a result wanted. */
void job_for(const char *task, const char *body);
void run_job(void);
/* job_for and run_job with arguments as JSON. */
void run(const char *task, const char *args, const char *kwargs);
/* The copy that the last job came to is the next job. */
void run_copy(void);
/* Buries the job in that state (NULL: none) as one that cost its child. */
void bury(const char *state);

/* It was a success with one result: this value. */
void succeeds(const char *value);
/* It was a failure with one result of that type, with `text` inside. */
void fails(enum done_state state, const char *type, const char *text);

/* The next PUBLISH frame that went up while jobs ran. Borrows from *in, which is to be freed. */
struct posted published(struct buf *in);
/* Takes notice of one message. */
void hear(const struct posted *p);

#endif
