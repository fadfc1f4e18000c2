/* chunk.c - see chunk.h. */
#include "task/chunk.h"

#include "base/clock.h"
#include "task/after.h"
#include "task/relay.h"
#include "wire/element.h"
#include "wire/json.h"
#include "wire/starmap.h"

#define MOMENT 0.005             /* seconds of work in a message that goes on */
#define PIECES_MOST 64           /* of one message */
#define OWN_MAX 256              /* messages of single items before the rest is sent on */
#define OWN_BYTES_MAX (8 << 20)  /* under DONE_BYTES_MAX */
#define REPLY_MAX (1 << 20)      /* bytes of values in one reply; more go on */
#define LONG_RUN (CLOCK_MS / 10) /* an item whose run time is told by itself */

struct chunk {
    const struct ctask_call *whole;
    struct part part;         /* of its producer's message */
    struct bytes items, rest; /* as text, and those that have not run */
    size_t n;                 /* items */
    struct bytes one;         /* the item that runs, as text */
    struct ctask_call item;   /* the one that runs */
    struct buf values, notes;
    struct buf own;     /* messages that go on: items alone, smaller maps; */
    size_t owned;       /* so many */
    int64_t longest;    /* of the items that ran */
    struct fault first; /* of the items that failed */
    size_t faults;      /* how many did */
    bool failed;        /* memory is short */
    bool wants_reply;
};

/* ---- What goes on ---------------------------------------------------------------------------- */

/* Appends items [at, at + count), which this text is, as a message; one alone is an ordinary one.
 * how: beside id and task, which are set here. */
static bool part_post(struct chunk *k, size_t at, size_t count, struct bytes text, struct copy how,
                      double delay)
{
    const struct ctask_call *t = k->whole;
    struct buf props = {0}, body = {0};
    char id[PART_SIZE];
    part_write(id, k->part.whole, k->part.first + at, count > 1 ? count : 0);
    how.id = id;
    how.task = count == 1 ? t->task->name : NULL;
    how.again = ctask_call_redelivered(t);
    k->owned++;
    bool ok = count == 1 ? message_body_put(text, &body)
                         : starmap_begin(bytes_text(t->task->name), &body) &&
                               buf_bytes_append(&body, text) && starmap_end(&body);
    ok = ok && message_copy(t->job->props, &how, &props) &&
         posted_append(&k->own, &(struct posted){.kind = POSTED_PART,
                                                 .routing_key = t->job->queue,
                                                 .ensure = t->job->queue,
                                                 .props = buf_bytes(&props),
                                                 .body = buf_bytes(&body),
                                                 .delay = message_delay(delay)});
    buf_done(&props);
    buf_done(&body);
    return ok;
}

/* What has not run, from item `at` on, in messages of `each`. */
static bool rest_post(struct chunk *k, size_t at, size_t each)
{
    bool ok = true;
    while (ok && at < k->n) {
        struct bytes text = k->rest, one = {0};
        size_t count = 0;
        while (count < each && element_next(&k->rest, &one) == 1) count++;
        text.n = (size_t)(one.p + one.n - text.p);
        ok = part_post(k, at, count, text, (struct copy){0}, 0);
        at += count;
    }
    return ok;
}

/* How many items go into each of PIECES_MOST messages. */
static size_t piece_of(size_t n)
{
    return (n + PIECES_MOST - 1) / PIECES_MOST;
}

/* How many items take a moment, if they go on like those so far but for the longest of them. Not
 * so few that one message becomes hundreds: those who are idle take these apart again. */
static size_t moment_of(const struct chunk *k, size_t done, int64_t took)
{
    size_t rest = k->n - done, least = piece_of(rest);
    bool many = done > 1;
    double each = clock_seconds(many ? took - k->longest : took) / (double)(many ? done - 1 : 1);
    if (each * (double)rest <= MOMENT) return k->n;
    size_t n = each < MOMENT ? (size_t)(MOMENT / each) : 1;
    return n > least ? n : least;
}

/* ---- One item -------------------------------------------------------------------------------- */

static void note_add(struct chunk *k, const struct note *n)
{
    if (k->wants_reply && !note_write(&k->notes, n)) k->failed = true;
}

static void none_add(struct chunk *k)
{
    if (k->wants_reply && !buf_append(&k->values, "null", 4)) k->failed = true;
}

/* The value of an item that is too large for the others' company travels alone. */
static void value_alone(struct chunk *k, struct note *n)
{
    struct ctask_call *t = &k->item;
    struct message m = k->whole->m;
    struct outcome o = {.state = STATE_SUCCESS,
                        .result = t->value,
                        .runtime = t->runtime,
                        .redelivered = ctask_call_redelivered(t)};
    m.id = m.correlation_id = bytes_text(t->id);
    n->elsewhere = after_result(&k->own, &m, &o);
    k->owned++;
    n->failed = !n->elsewhere;
    if (n->elsewhere) return;
    after_unfit(t, &n->fault);
}

/* True if the item's value is in the list. */
static bool value_add(struct chunk *k)
{
    size_t room = k->values.len < REPLY_MAX ? REPLY_MAX - k->values.len : 0;
    return wire_json_append_within(k->item.value, VALUE_DEPTH_MAX, room, &k->values);
}

/* Item i did not return: it failed, or a message of its own has it from now on. */
static void item_failed(struct chunk *k, size_t i, struct note *n)
{
    struct ctask_call *t = &k->item;
    bool retry = t->end == CALL_RETRY;
    struct copy how = {.retry = retry, .eta = retry && t->delay > 0 ? clock_wall() + t->delay : 0};
    n->failed = t->end == CALL_FAILED;
    n->elsewhere = !n->failed;
    n->fault = t->fault;
    if (n->elsewhere && !part_post(k, i, 1, k->one, how, retry ? t->delay : 0)) k->failed = true;
}

/* Notes how item i, which has run, ended. */
static void item_ended(struct chunk *k, size_t i, int64_t took)
{
    struct ctask_call *t = &k->item;
    after_tries(t);
    if (k->wants_reply && i > 0 && !buf_append(&k->values, ",", 1)) k->failed = true;
    bool kept = t->end == CALL_RETURNED && (!k->wants_reply || value_add(k));
    if (kept && took < LONG_RUN) return;

    struct note n = {.item = i, .runtime = took < LONG_RUN ? 0 : clock_seconds(took)};
    if (!kept && t->end == CALL_RETURNED)
        value_alone(k, &n);
    else if (!kept)
        item_failed(k, i, &n);
    if (!kept) none_add(k);
    note_add(k, &n);
    if (n.failed && k->faults++ == 0)
        fault_set(&k->first, n.fault.type, "%s: %s", t->id, n.fault.text);
}

static void item_reset(struct ctask_call *t)
{
    json_decref(t->value);
    t->value = NULL;
    t->end = CALL_OPEN;
    t->fault.type[0] = t->because.type[0] = '\0';
    t->delay = 0;
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* True if one reply, or one DONE, may hold no more. */
static bool is_full(const struct chunk *k)
{
    return k->values.len + k->notes.len >= REPLY_MAX || k->owned >= OWN_MAX ||
           k->own.len >= OWN_BYTES_MAX;
}

/* Runs items until the end, or until one may not be begun any more; returns how many ran. */
static size_t items_run(struct chunk *k, int64_t begun, int64_t *end)
{
    struct ctask_call *t = &k->item;
    int64_t slice = clock_after(begun, CHUNK_SLICE), at = begun;
    size_t i = 0;
    for (; i < k->n && !k->failed; i++) {
        bool expired = t->m.expires > 0 && t->m.expires < clock_wall();
        if (i > 0 && (at >= slice || expired || ctask_call_cancelled(t) || is_full(k))) break;
        item_reset(t);
        part_write(t->id, k->part.whole, k->part.first + i, 0);
        int64_t ended = at;
        element_next(&k->rest, &k->one);
        if (element_array(k->one, &t->body.args, &t->fault))
            ended = call_run(t, at);
        else
            call_end(t, CALL_REFUSED);
        item_ended(k, i, ended - at);
        if (ended - at > k->longest) k->longest = ended - at;
        at = ended;
    }
    *end = at;
    item_reset(t);
    return i;
}

static bool reply_post(const struct chunk *k, size_t done, double runtime, struct buf *posted)
{
    const struct message *m = &k->whole->m;
    struct buf props = {0}, body = {0};
    bool ok = !k->wants_reply ||
              (starmap_reply_write(m, done, buf_bytes(&k->values), buf_bytes(&k->notes), runtime,
                                   ctask_call_redelivered(k->whole), &props, &body) &&
               posted_append(posted, &(struct posted){.kind = POSTED_RESULT,
                                                      .routing_key = m->reply_to,
                                                      .props = buf_bytes(&props),
                                                      .body = buf_bytes(&body)}));
    buf_done(&props);
    buf_done(&body);
    return ok;
}

/* The reply first: what goes on may be answered soon. */
static bool done_post(struct chunk *k, enum done_state state, size_t done, double runtime,
                      struct buf *out)
{
    struct buf posted = {.max = out->max};
    struct done d = {.state = state, .runtime = runtime};
    if (k->faults > 0)
        fault_set(&d.fault, k->first.type, "%zu of %zu items, the first %s", k->faults, done,
                  k->first.text);
    bool ok = !k->failed && (state == DONE_RETRY || reply_post(k, done, runtime, &posted)) &&
              buf_bytes_append(&posted, buf_bytes(&k->own));
    d.posted = buf_bytes(&posted);
    d.cost = clock_seconds(clock_now() - k->whole->begun);
    ok = ok && done_write(out, &d);
    buf_done(&posted);
    return ok;
}

static bool run(struct chunk *k, struct buf *out)
{
    int64_t begun = clock_now(), end = begun;
    if (!relay_enter(&k->item)) return false;
    size_t done = items_run(k, begun, &end);
    relay_leave();
    size_t each =
        ctask_call_cancelled(&k->item) ? k->n : moment_of(k, done ? done : 1, end - begun);
    if (done < k->n && !rest_post(k, done, each)) return false;
    return done_post(k, DONE_SUCCESS, done, clock_seconds(end - begun), out);
}

/* The items as text, whoever wrote the body. */
static bool items_open(struct chunk *k, const struct ctask_call *t, struct buf *own,
                       struct fault *f)
{
    struct starmap s;
    struct bytes name = bytes_text(t->task->name);
    k->items = starmap_items(t->job->body, name);
    if (t->body.whole) {
        if (!starmap_read(&t->body, &s, f)) return false;
        if (!bytes_equal(s.task, name))
            return fault_set(f, "InvalidTaskError", "the items are of %.*s and the header says %s",
                             BYTES_ARG(s.task), t->task->name);
        if (!wire_json_append(s.items, BUF_MAX, own))
            return fault_set(f, "MemoryError", "out of memory");
        k->items = bytes_of(buf_head(own) + 1, own->len - 2);
    }
    k->rest = k->items;
    return element_count(k->items, &k->n) || fault_set(f, "DecodeError", "not JSON");
}

static bool fits(const struct chunk *k, struct fault *f)
{
    if (k->part.whole.n > PART_WHOLE_MAX)
        return fault_set(f, "InvalidTaskError", "its id is over %d bytes long", PART_WHOLE_MAX);
    if (k->n == 0) return fault_set(f, "InvalidTaskError", "it has no items");
    if (k->part.count > 0 && k->part.count != k->n)
        return fault_set(f, "InvalidTaskError", "its id says %zu items and its body has %zu",
                         k->part.count, k->n);
    return true;
}

bool chunk_is_text(const struct ctask_call *t)
{
    return starmap_itemized(&t->m) && starmap_items(t->job->body, bytes_text(t->task->name)).n > 0;
}

bool chunk_run(struct ctask_call *t, struct buf *out, bool *ok)
{
    struct chunk k = {.whole = t,
                      .part = part_read(t->m.id),
                      .wants_reply = outcome_wanted(&t->m),
                      .item = {.job = t->job, .line = t->line, .m = t->m, .task = t->task}};
    struct buf own = {0};
    if (!items_open(&k, t, &own, &t->fault) || !fits(&k, &t->fault)) {
        buf_done(&own);
        call_end(t, CALL_REFUSED);
        return false;
    }
    k.item.body.kwargs = json_object();
    k.item.m.reply_to = bytes_of(NULL, 0); /* nobody sees the progress of an item */
    memcpy(k.item.root_id, t->root_id, sizeof k.item.root_id);
    k.own.max = k.values.max = k.notes.max = out->max;
    *ok = t->m.crashes > 0 ? rest_post(&k, 0, piece_of(k.n)) && done_post(&k, DONE_RETRY, 0, 0, out)
                           : run(&k, out);
    json_decref(k.item.body.kwargs);
    json_decref(k.item.body.args);
    buf_done(&own);
    buf_done(&k.values);
    buf_done(&k.notes);
    buf_done(&k.own);
    return true;
}
