/* urls.h - the brokers that somebody may connect to; the first is tried first, see dial.c. As text
 * they are URLs with ; between, as kombu has it: "amqp://bob:x@a/v;amqps://bob:x@b/v". Each is
 * whole: nothing is taken over from the one before.
 *
 * They are meant to be the nodes of one cluster. Brokers that share nothing work too, but what was
 * sent to one is answered there: handles that are open when the connection moves end with
 * CTASK_ELOST. */
#ifndef BASE_URLS_H
#define BASE_URLS_H

#include "base/url.h"

#define URLS_MAX 8

struct urls {
    unsigned count;
    struct url at[URLS_MAX];
};

/* In memory of secret.h. NULL with one sentence that never holds a password. */
struct urls *urls_new(const char *text, struct ctask_error *e);
/* From the environment: those of $CTASK_BROKER_URL, else of the file that $CTASK_BROKER_FILE names,
 * which holds them in its first line, else amqp://localhost. */
struct urls *urls_default(struct ctask_error *e);
/* NULL is fine. */
void urls_free(struct urls *u);

#endif
