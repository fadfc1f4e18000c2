/* asker.h - a channel that asks the broker one question after the other.
 *
 * Answers come in order, so the first question is the one that an answer, or the closing of the
 * channel, is for. A channel waits for the queue that its first question is about, whatever stands
 * behind it; so what waits behind a slow one is asked again by another asker (see topology.c), and
 * its answer here, when it comes after all, is nobody's. */
#ifndef AMQP_ASKER_H
#define AMQP_ASKER_H

#include "amqp/frame.h"
#include "base/list.h"

struct queue;

enum ask { ASK_LOOK, ASK_COMPARE, ASK_QUEUE, ASK_BIND, ASK_DELETE };

struct question {
    struct list link;
    enum ask what;
    struct queue *queue; /* NULL: nobody waits for the answer */
    int64_t asked_at;
    char name[];
};
/* NULL when out of memory. */
struct question *question_new(enum ask what, const char *name, struct queue *q);
void question_free(struct question *k);

struct asker {
    struct list link;
    uint16_t channel;
    bool open;
    bool closing;      /* given up: its number is free again at close-ok */
    struct list asked; /* questions, oldest first */
};

/* NULL when out of memory. */
struct asker *asker_new(uint16_t channel);
/* With its questions. */
void asker_free(struct asker *a);
/* NULL if there is none. */
struct question *asker_first(const struct asker *a);
/* A question about another queue waits behind the first one. */
bool asker_holds_up(const struct asker *a);
/* The first question has waited so long that nothing more should wait behind it. */
bool asker_slow(const struct asker *a, int64_t now);
/* When it will be. */
int64_t asker_slow_at(const struct asker *a);

/* Opens the channel where that is due and notes and writes the question; method: what asks it.
 * Frees k and returns false when out of memory. */
bool asker_ask(struct asker *a, struct question *k, amqp_method_number_t id, void *method,
               struct buf *out, int64_t now);
/* Says channel.close; nothing that it asked will be answered. */
bool asker_close(struct asker *a, struct buf *out);

#endif
