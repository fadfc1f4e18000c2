/* outbox.c - see outbox.h. What was sent is on a list in order and in a table by number, so that a
 * confirm costs what it confirms, whatever else waits for how long. */
#include "amqp/outbox.h"
#include "amqp/frame.h"
#include "amqp/ladder.h"
#include "base/props.h"
#include "base/table.h"

#include <ctask.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SEQS 2048
#define POSTS_KEPT 1024

void outbox_init(struct outbox *o, unsigned window, size_t window_bytes)
{
    *o = (struct outbox){.window = window, .window_bytes = window_bytes, .flying_max = SIZE_MAX};
    list_init(&o->all);
    list_init(&o->ready);
    list_init(&o->sent);
    list_init(&o->ended);
    list_init(&o->unroutable);
    o->posts = (struct spares){.size = POST_USUAL, .most = POSTS_KEPT};
}

void post_free(struct outbox *o, struct post *p)
{
    if (!p) return;
    if (p->recalled && p->what.spool >= 0) close(p->what.spool); /* ours: see outbox_recall */
    free(p->marked);
    free(p->why);
    if (p->size <= POST_USUAL)
        spares_give(&o->posts, p);
    else
        free(p);
}

/* It is sent as a whole. */
static void seq_note(struct outbox *o, struct post *p)
{
    if (!o->by_seq) o->by_seq = calloc(SEQS, sizeof(struct post *));
    if (o->by_seq) o->by_seq[p->seq % SEQS] = p;
}

static void seq_forget(struct outbox *o, struct post *p)
{
    if (o->by_seq && o->by_seq[p->seq % SEQS] == p) o->by_seq[p->seq % SEQS] = NULL;
    if (p->seq) o->flying--;
    p->seq = 0;
}

static struct post *seq_find(const struct outbox *o, uint64_t seq)
{
    struct post *p = o->by_seq ? o->by_seq[seq % SEQS] : NULL;
    if (p && p->seq == seq) return p;
    list_each(p, &o->sent, struct post, link) {
        if (p->seq >= seq) return p->seq == seq ? p : NULL;
    }
    return NULL;
}

/* Takes p out of everything; it lives on, as the caller's. */
static void post_drop(struct outbox *o, struct post *p)
{
    seq_forget(o, p);
    list_remove(&p->link);
    list_remove(&p->all);
    o->count--;
    o->bytes -= p->size;
    if (p->recalled) o->recalled--;
}

void outbox_done(struct outbox *o)
{
    while (!list_empty(&o->all)) {
        struct post *p = list_first(&o->all, struct post, all);
        post_drop(o, p);
        post_free(o, p);
    }
    spares_done(&o->posts);
    free(o->by_seq);
    o->by_seq = NULL;
}

static bool delay_valid(const struct publish *p)
{
    return p->delay <= LADDER_DELAY_MAX && p->ensure && !*p->exchange &&
           strcmp(p->ensure, p->routing_key) == 0 && !ladder_unfit(p->ensure);
}

static bool publish_valid(const struct publish *p)
{
    return p->exchange && p->routing_key && strlen(p->exchange) <= NAME_MAX_BYTES &&
           strlen(p->routing_key) <= NAME_MAX_BYTES &&
           (!p->ensure || strlen(p->ensure) <= NAME_MAX_BYTES) && (p->delay == 0 || delay_valid(p));
}

static const void *place(uint8_t **at, const void *p, size_t n)
{
    void *here = *at;
    if (n) memcpy(here, p, n);
    *at += n;
    return here;
}

int outbox_put(struct outbox *o, const struct publish *what, struct post **out)
{
    if (!publish_valid(what)) return CTASK_EINVAL;
    if (what->props.n > HEADER_LIMIT) return CTASK_ETOOBIG;
    size_t exchange = strlen(what->exchange) + 1, key = strlen(what->routing_key) + 1;
    size_t ensure = what->ensure ? strlen(what->ensure) + 1 : 0;
    size_t body = what->spool < 0 ? what->body.n : 0;
    size_t size = sizeof(struct post) + exchange + key + ensure + what->props.n + body;
    if (o->count >= o->window) return CTASK_EAGAIN;
    if (o->count > 0 &&
        size > o->window_bytes - (o->bytes < o->window_bytes ? o->bytes : o->window_bytes))
        return CTASK_EAGAIN;
    struct post *p = size <= POST_USUAL ? spares_take(&o->posts) : malloc(size);
    if (!p) return CTASK_ENOMEM;
    *p = (struct post){.what = *what, .size = size};
    uint8_t *at = p->bytes;
    p->what.exchange = place(&at, what->exchange, exchange);
    p->what.routing_key = place(&at, what->routing_key, key);
    if (ensure) p->what.ensure = place(&at, what->ensure, ensure);
    p->what.props = bytes_of(place(&at, what->props.p, what->props.n), what->props.n);
    p->what.body = bytes_of(place(&at, what->body.p, body), body);
    if (what->spool < 0) p->what.spool_size = 0;
    list_init(&p->link);
    list_append(&o->all, &p->all);
    o->count++;
    o->bytes += size;
    *out = p;
    return CTASK_OK;
}

void outbox_drop(struct outbox *o, struct post *p)
{
    post_drop(o, p);
    post_free(o, p);
}

void outbox_ready(struct outbox *o, struct post *p)
{
    list_remove(&p->link);
    list_append(&o->ready, &p->link);
}

/* The one that is partly written, or NULL. */
static struct post *post_begun(const struct outbox *o)
{
    return o->begun ? list_first(&o->ready, struct post, link) : NULL;
}

void outbox_end(struct outbox *o, struct post *p, int outcome, struct bytes why)
{
    if (p->recalled) {
        post_drop(o, p);
        post_free(o, p);
        return;
    }
    seq_forget(o, p); /* nothing is to come for it: a recall frees it */
    p->outcome = outcome;
    p->why = why.n ? strndup((const char *)why.p, why.n) : NULL;
    list_remove(&p->link);
    list_append(&o->ended, &p->link);
}

struct post *outbox_take(struct outbox *o)
{
    if (list_empty(&o->ended)) return NULL;
    struct post *p = list_first(&o->ended, struct post, link);
    post_drop(o, p);
    return p;
}

static void post_recall(struct outbox *o, struct post *p)
{
    if (p->seq == 0 && p != post_begun(o)) {
        p->what.spool = -1;
        post_drop(o, p);
        post_free(o, p);
        return;
    }
    /* Its number stays taken. A file still being read goes back to its owner, so keep our own
     * descriptor of it; without one the broken message breaks the connection. */
    if (p->what.spool >= 0) p->what.spool = fcntl(p->what.spool, F_DUPFD_CLOEXEC, 0);
    p->recalled = true;
    o->recalled++;
}

bool outbox_recall(struct outbox *o, void *cookie)
{
    struct post *p;
    bool any = false;
    list_each(p, &o->all, struct post, all) {
        if (p->recalled || p->what.cookie != cookie) continue;
        post_recall(o, p);
        any = true;
    }
    return any;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* What is written next, or NULL. */
static struct post *post_next(const struct outbox *o)
{
    struct post *p;
    if (list_empty(&o->ready)) return NULL;
    if (o->begun || !o->suspects_wait) return list_first(&o->ready, struct post, link);
    list_each(p, &o->ready, struct post, link)
        if (!p->suspect) return p;
    return NULL;
}

/* A suspect goes alone, so that a refusal can only mean it. */
bool outbox_pending(const struct outbox *o)
{
    const struct post *p = post_next(o);
    if (!p) return false;
    if (o->begun || list_empty(&o->sent)) return true;
    if (o->flying >= o->flying_max) return false;
    return !p->suspect && !list_last(&o->sent, struct post, link)->suspect;
}

static bool post_begin(struct outbox *o, struct post *p, struct buf *out, uint16_t channel)
{
    char room[NAME_MAX_BYTES + 1], entry[LADDER_EXCHANGE_SIZE];
    p->seq = ++o->seq;
    o->flying++;
    o->begun = true;
    o->next = 0;
    list_remove(&p->link);
    list_prepend(&o->ready, &p->link);
    return frame_publish(out, channel, bytes_text(post_exchange(p, entry)),
                         bytes_text(post_key(p, room))) &&
           frame_header(out, channel, post_body_size(p), p->what.props);
}

bool outbox_write(struct outbox *o, struct buf *out, uint16_t channel, size_t frame_max,
                  size_t limit, uint64_t base)
{
    size_t most = frame_max - FRAME_OVERHEAD;
    while (out->len < limit && outbox_pending(o)) {
        struct post *p = post_next(o);
        if (p->what.props.n + 16 > most) { /* a broker with small frames */
            outbox_end(o, p, CTASK_ETOOBIG, bytes_text("its properties do not fit one frame"));
            continue;
        }
        if (!o->begun && !post_begin(o, p, out, channel)) return false;
        uint64_t left = post_body_size(p) - o->next;
        size_t n = left < most ? (size_t)left : most;
        if (n > 0) {
            uint8_t *to = frame_room(out, n);
            if (!to || !post_body_read(p, o->next, to, n)) return false;
            frame_seal(out, AMQP_FRAME_BODY, channel, n);
            o->next += n;
        }
        if (o->next < post_body_size(p)) continue;
        o->begun = false;
        p->end = base + out->len;
        list_remove(&p->link);
        list_append(&o->sent, &p->link);
        seq_note(o, p);
    }
    return true;
}

/* ---- Outcomes -------------------------------------------------------------------------------- */

/* Its queue is to be looked at, once: it may have been deleted, or be on a node that is down. */
static bool look_again(struct outbox *o, struct post *p)
{
    if ((!p->what.ensure && !p->what.look) || p->looked_again || p->recalled) return false;
    p->looked_again = true;
    p->returned = false;
    seq_forget(o, p);
    list_remove(&p->link);
    list_append(&o->unroutable, &p->link);
    return true;
}

static void post_confirmed(struct outbox *o, struct post *p, bool taken)
{
    nacks_note(&o->nacks, p, taken);
    if (!taken) post_mark(p); /* a queue whose node went down may have it */
    if (taken && !p->returned)
        outbox_end(o, p, CTASK_OK, bytes_text(NULL));
    else if (!look_again(o, p))
        outbox_end(o, p, taken ? CTASK_EROUTE : CTASK_ENACK, bytes_text(NULL));
}

void outbox_confirm(struct outbox *o, uint64_t tag, bool multiple, bool taken)
{
    struct post *p = multiple ? NULL : seq_find(o, tag);
    if (p) post_confirmed(o, p, taken);
    if (!multiple) return;
    list_each(p, &o->sent, struct post, link) {
        if (p->seq > tag) return;
        post_confirmed(o, p, taken);
    }
}

void outbox_return(struct outbox *o, const struct envelope *m)
{
    struct props props;
    struct post *p;
    props_read(m->props, &props);
    list_each(p, &o->sent, struct post, link) {
        if (!post_matches(p, m, props.correlation_id)) continue;
        p->returned = true;
        return;
    }
}

/* ---- Again ----------------------------------------------------------------------------------- */

void outbox_reset(struct outbox *o, uint64_t gone)
{
    struct post *begun = post_begun(o);
    o->begun = false;
    o->seq = 0;
    o->nacks = (struct nacks){0};
    if (begun) seq_forget(o, begun);
    if (begun && begun->recalled) outbox_end(o, begun, CTASK_OK, bytes_text(NULL));
    while (!list_empty(&o->sent)) {
        struct post *p = list_last(&o->sent, struct post, link);
        seq_forget(o, p);
        if (p->recalled || p->returned) {
            post_confirmed(o, p, true);
            continue;
        }
        if (p->end <= gone) post_mark(p);
        list_remove(&p->link);
        list_prepend(&o->ready, &p->link);
    }
}

/* The only one under way; NULL if there are more, or none. */
static struct post *post_alone(const struct outbox *o)
{
    if (o->flying != 1) return NULL;
    return o->begun ? post_begun(o) : list_first(&o->sent, struct post, link);
}

static void suspect_all(struct outbox *o)
{
    struct post *p;
    list_each(p, &o->sent, struct post, link) p->suspect = true;
    if ((p = post_begun(o))) p->suspect = true;
}

static void post_condemn(struct outbox *o, struct post *p, struct bytes why)
{
    if (p == post_begun(o)) o->begun = false;
    outbox_end(o, p, CTASK_EREFUSED, why);
}

void outbox_refused(struct outbox *o, uint64_t gone, unsigned code, struct bytes why)
{
    struct post *p = post_alone(o);
    if (!p) {
        suspect_all(o);
    } else if (code == AMQP_NOT_FOUND && p->what.delay > 0 && !o->begun) {
        p->returned = true;
    } else {
        p->hopeless = code == AMQP_PRECONDITION_FAILED; /* not for where it goes */
        post_condemn(o, p, why);
    }
    outbox_reset(o, gone);
}

void outbox_blamed(struct outbox *o, uint64_t gone, bool alone, struct bytes why)
{
    struct post *p = alone ? post_alone(o) : NULL;
    suspect_all(o);
    if (p) p->hopeless = ++p->closes >= CLOSES_MAX;
    if (p && p->hopeless) {
        post_condemn(o, p, why);
        p = NULL;
    }
    if (p && p->recalled) p = NULL; /* reset frees it */
    outbox_reset(o, gone);
    if (p) outbox_ready(o, p); /* behind the others: each attempt costs a connection */
}
