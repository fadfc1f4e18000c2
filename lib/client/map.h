/* map.h - what the files of a map share: map.c is the stream that its user sees, pace.c says how
 * many items go into a message, put.c writes them there, chunk.c sends it and takes what is said of
 * it, reading.c makes items of that again, arrays.c is plain arrays over the stream.
 *
 * An item that goes alone has a handle like any task. One in a chunk has a bit: it is told in the
 * chunk's reply, which is kept as it came until ctask_map_next reads it, and is shown in the one
 * handle that the map has for all of them. */
#ifndef CLIENT_MAP_H
#define CLIENT_MAP_H

#include "client/inside.h"
#include "wire/starmap.h"

/* ---- pace.c ---------------------------------------------------------------------------------- */

/* How many items take a moment. = {.fixed = n}: n, whatever they take. */
struct pace {
    size_t fixed;
    double each;   /* seconds an item runs, a moving average; 0: not known */
    double bytes;  /* of its reply, the same */
    size_t size;   /* of the next chunk; grows towards what the averages say */
    unsigned sent; /* chunks of this size */
};

#define PACE_CHUNKS 128 /* under way at a time */

size_t pace_size(const struct pace *p);
/* n items ran for so long in all, and came back in so many bytes; 0: not known. */
void pace_ran(struct pace *p, size_t n, double seconds, size_t bytes);
void pace_sent(struct pace *p);

/* ---- chunk.c --------------------------------------------------------------------------------- */

struct chunk {
    struct member member; /* of its message's handle */
    struct ctask_map *map;
    size_t first, n;  /* of the map's items */
    size_t ended;     /* so many of them */
    unsigned replies; /* in the map's list */
    uint8_t over[];   /* a bit for each that has */
};

/* One reply about a chunk, as it came. */
struct chunk_reply {
    struct list link; /* in the map's */
    struct chunk *chunk;
    size_t first, count; /* of its items; count 0: all */
    bool one;            /* an item that ran alone */
    bool too_big;        /* its body is not here */
    size_t n;
    uint8_t body[];
};

struct ctask_map {
    struct ctask_client *client;
    struct ctask_options options; /* its strings are ours */
    char *name;
    struct gather gather;
    struct list replies;      /* of struct chunk_reply, guarded by the client's lock */
    size_t window, under_way; /* under way: put and not taken by next; window 0: see ctask.h */
    struct ctask_map_stat stat;
    int64_t opened_at;
    bool ended;

    struct pace pace;
    size_t left;                /* items that are still to be put, SIZE_MAX: not known */
    struct buf items, body;     /* put and not sent yet; scratch */
    size_t item_count;          /* in `items` */
    struct reading *reading;    /* what next gives items of */
    struct ctask_result *given; /* a handle that next gave */
    struct ctask_result *item;  /* shows items of chunks; `reading` owns its value and error */
};

/* Sends what was put. If it cannot be sent at all its items end as failed (`fails`), else all stays
 * as it was, also when another try is worth it. */
int chunk_send(struct ctask_map *m, bool fails, struct ctask_error *e);
/* True if the map's replies or handles have something for it. With the lock held. */
bool chunk_news(struct ctask_client *c, void *map);
/* All its items have ended, or are not waited for any more. */
void chunk_free(struct chunk *k);
/* Of replies.c: what came for the chunk that r is the handle of; with the lock held. */
bool is_chunk(const struct ctask_result *r);
void chunk_deliver(struct ctask_result *r, const struct part *p, const struct envelope *m);

/* ---- put.c ----------------------------------------------------------------------------------- */

/* How many items may be between put and next. */
size_t map_window(const struct ctask_map *m);

/* ---- reading.c ------------------------------------------------------------------------------- */

struct reading *reading_new(void);
void reading_free(struct reading *g);
/* Begins with a reply (taken over), or with the end of a chunk's handle. */
void reading_reply(struct ctask_map *m, struct chunk_reply *r);
void reading_ended(struct ctask_map *m, struct chunk *k);
/* The next item that has ended, shown in m->item; its index. False if there is none. */
bool reading_next(struct ctask_map *m, size_t *index);

#endif
