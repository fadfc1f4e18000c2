/* sample.h - one task message and one result as ctask itself sent them, and the frames made of
 * them.
 *
 * The pair copies these bytes and changes the id in each copy, so what the broker has to do is the
 * same for it and for ctask. */
#ifndef BARE_SAMPLE_H
#define BARE_SAMPLE_H

#include "wire.h"

struct message {
    struct buf props, body;
};

struct sample {
    struct message task, result;
    char id[ID_SIZE + 1], reply_to[256];
    size_t task_id_at, result_id_at; /* in the property bytes, of the correlation id */
};

/* As wire_await left it in the two messages: finds id and reply queue. */
void sample_look(struct sample *s);
void sample_read(struct sample *s, const char *path);
void sample_write(const struct sample *s, const char *path);
/* The message will not be written to disk. */
void message_transient(struct message *m);

/* All frames of a publish, and where in them the digits of the id are. */
#define PLACES_MAX 16
struct template
{
    uint8_t *bytes;
    size_t size, place[PLACES_MAX], places;
};
void template_make(struct template *t, const char *routing_key, bool mandatory,
                   const struct message *m, const char *id);
/* Appends one message to what is to be sent. */
void template_put(const struct template *t, struct wire *w, uint64_t number);

#endif
