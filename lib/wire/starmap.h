/* starmap.h - many calls of one task in one message. It is Celery's task celery.starmap, which runs
 * them one after the other and returns the list of their values, so Python takes part on either
 * side; celery.map is the same with one argument an item.
 *
 * A producer of ours adds the header x-ctask-map, the name of the items' task: so that a worker can
 * decide about the message without its body, and as the sign that its sender wants to hear of each
 * item. The reply to what ran is a success with the list of values, null where there is none, and
 * beside it the list "items" with a note on each item that there is more to say of:
 *   {"item": 3, "status": "FAILURE", "result": {the exception}}
 *   {"item": 5, "status": "RETRY"}    its end is told by a reply of its own
 *   {"item": 7, "runtime": 0.02}      it ran for longer than its share
 * A reply that has no such list is that of a worker which knows no items, and is about all of them.
 *
 * Items are numbered in the message that their producer made. If its id is ID, item I is ID:I
 * wherever it runs, and what was left of the message is sent on as messages ID:I+N, the N items
 * from I on. So whoever knows ID knows what a reply is about. */
#ifndef WIRE_STARMAP_H
#define WIRE_STARMAP_H

#include "wire/body.h"
#include "wire/outcome.h"

#define TASK_STARMAP "celery.starmap"
#define TASK_MAP "celery.map"

/* True if m has items that its sender wants to hear of one by one. */
static inline bool starmap_itemized(const struct message *m)
{
    return m->item_task.n > 0 && bytes_is(m->task, TASK_STARMAP);
}

/* ---- Parts ----------------------------------------------------------------------------------- */

#define PARTS_MAX 1000000000 /* items of a message */
#define PART_WHOLE_MAX 200   /* bytes of its id */
#define PART_SIZE (PART_WHOLE_MAX + 24)

struct part {
    struct bytes whole;  /* the id of the message that it is of */
    size_t first, count; /* count 0: all of it */
    bool one;            /* an item by itself */
};

/* Total: an id of no such form is that of a whole message. */
struct part part_read(struct bytes id);
/* ID:first, or with a count ID:first+count, of an id of at most PART_WHOLE_MAX bytes. */
void part_write(char out[PART_SIZE], struct bytes whole, size_t first, size_t count);

/* ---- Bodies ---------------------------------------------------------------------------------- */

#define ITEM_DEPTH_MAX (JSON_DEPTH_MAX - 3) /* of an item's arguments, with their own array */

/* Appends what stands before the items, which are arrays with commas between, and behind them. */
bool starmap_begin(struct bytes task, struct buf *out);
bool starmap_end(struct buf *out);

struct starmap {
    struct bytes task; /* borrowed from the body, like items */
    const json_t *items;
};
/* False with *f set if this is not [.., {task, it}, ..]. */
bool starmap_read(const struct message_body *b, struct starmap *s, struct fault *f);
/* What stands between begin and end, if the body is exactly what they make, and empty if not. */
struct bytes starmap_items(struct bytes body, struct bytes task);

/* ---- Replies --------------------------------------------------------------------------------- */

struct note {
    size_t item;    /* in the reply's own list of values */
    bool failed;    /* with `fault` */
    bool elsewhere; /* its end is told by another reply */
    struct fault fault;
    double runtime; /* 0: its share of what is left of the whole run time */
};

/* Appends a note, with a comma before it if it is not the first. */
bool note_write(struct buf *notes, const struct note *n);
/* Total; false if it is none. *result: the exception of a failure, borrowed, or NULL. */
bool note_read(const json_t *j, struct note *n, const json_t **result);

/* The reply to m, about `count` items: values and notes are what is between the brackets of their
 * lists. */
bool starmap_reply_write(const struct message *m, size_t count, struct bytes values,
                         struct bytes notes, double runtime, bool redelivered, struct buf *props,
                         struct buf *body);
/* A reply, whoever wrote it, and the values of its list as text, for element_next. */
struct starmap_reply {
    struct reply reply; /* its result is NULL if the list is set */
    bool listed;        /* it is a success with a list: */
    size_t count;       /* as many values as it says */
    struct bytes list;  /* borrowed from the body or from `text` */
    struct buf text;
};
bool starmap_reply_read(struct bytes body, struct starmap_reply *r, struct fault *f);
void starmap_reply_done(struct starmap_reply *r);

#endif
