/* wire.h - an AMQP connection with as little between the program and its socket as there can be:
 * frames are written into one buffer that leaves in one send, and read where recv put them.
 *
 * For a benchmark: what goes wrong ends the program with a sentence. It knows only the messages
 * that it is told of in advance: their ids are the same text but for the last twelve digits. */
#ifndef BARE_WIRE_H
#define BARE_WIRE_H

#include "amqp/frame.h"

#define ID_SIZE 36
#define ID_PREFIX 24 /* the rest is a number in hexadecimal digits */

/* What is written, each with the frames of one channel. */
enum { CHANNEL_OUT = 1, CHANNEL_IN = 2 };

enum event_kind { EVENT_NONE, EVENT_DELIVERY, EVENT_CONFIRM };

struct event {
    enum event_kind kind;
    uint64_t tag;
    bool multiple;   /* of a confirm */
    uint64_t number; /* of a delivery's id */
    uint64_t size;   /* of its body */
};

struct wire {
    int fd;
    uint8_t *out;
    size_t out_from, out_to, out_cap;
    uint8_t *in;
    size_t in_from, in_to;
    uint64_t sends, recvs;
    /* Where the properties of what is delivered have the id, and how it begins. */
    size_t id_at;
    char id_prefix[ID_PREFIX];
    struct event message; /* under way: its method came */
    uint64_t body_left;
    struct buf *keep_props, *keep_body; /* NULL, or where what is delivered is copied */
};

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Connects and opens both channels. The socket waits for nothing afterwards. */
void wire_open(struct wire *w, const char *url);
void wire_close(struct wire *w);

/* Calls that wait for their answer; for before and after a measurement. */
void wire_declare(struct wire *w, const char *queue, bool expires);
void wire_delete(struct wire *w, const char *queue);
void wire_confirm_select(struct wire *w);
/* Deliveries begin. They have ids that begin like id, at so many bytes in their properties; 0: they
 * are not looked at. */
void wire_consume(struct wire *w, const char *queue, uint16_t prefetch, bool no_ack, const char *id,
                  size_t id_at);

/* Room for n bytes at the end of what is to be sent; wire_added says how many were written. */
uint8_t *wire_room(struct wire *w, size_t n);
static inline void wire_added(struct wire *w, size_t n)
{
    w->out_to += n;
}
static inline size_t wire_unsent(const struct wire *w)
{
    return w->out_to - w->out_from;
}
void wire_ack(struct wire *w, uint64_t tag); /* and all before it */
/* Sends what the socket takes. */
void wire_flush(struct wire *w);
/* Reads once. False when there was nothing. */
bool wire_read(struct wire *w);
/* The next event in what was read, EVENT_NONE when that is used up. */
enum event_kind wire_next(struct wire *w, struct event *ev);
/* Sends all, then reads until the next event. */
void wire_await(struct wire *w, struct event *ev);

#endif
