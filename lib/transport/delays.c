/* delays.c - messages that wait in the broker: what they need there, over a channel of its own, and
 * what becomes of them until it is there. See amqp/ladder.h. */
#include "base/clock.h"
#include "base/err.h"
#include "transport/session.h"

const char *broker_undelayable(const char *queue)
{
    return ladder_unfit(queue);
}

bool broker_delays(struct broker *b, const char *queue, bool anew)
{
    const char *why;
    if (ladder_unfit(queue)) return false;
    if (anew) ladder_forget(&b->ladder, queue);
    struct tie *t = ladder_want(&b->ladder, queue, clock_now());
    if (!t) return false;
    t->wanted = true;
    enum ladder_verdict said = ladder_says(&b->ladder, t, &why);
    if (said == LADDER_WAIT) t->told = said; /* so a second refusal is told too */
    return said == LADDER_READY;
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void post_place(struct broker *b, struct tie *t, struct post *p, enum ladder_verdict said,
                       const char *why)
{
    switch (said) {
    case LADDER_READY: outbox_ready(&b->out, p); break;
    case LADDER_NO: outbox_end(&b->out, p, CTASK_EREFUSED, bytes_text(why)); break;
    case LADDER_AWAY: outbox_end(&b->out, p, CTASK_EUNAVAILABLE, bytes_text(why)); break;
    case LADDER_WAIT:
        if (!list_empty(&p->link)) break; /* it waits already */
        list_append(&t->waiting, &p->link);
    }
}

void delays_post(struct broker *b, struct post *p)
{
    const char *why = NULL;
    struct tie *t = ladder_want(&b->ladder, p->what.ensure, clock_now());
    enum ladder_verdict said = t ? ladder_says(&b->ladder, t, &why) : LADDER_WAIT;
    list_remove(&p->link);
    if (t)
        post_place(b, t, p, said, why);
    else
        outbox_end(&b->out, p, CTASK_ENOMEM, bytes_text(NULL));
}

void delays_doubt(struct broker *b, const struct post *p)
{
    struct tie *t = ladder_want(&b->ladder, p->what.ensure, clock_now());
    if (t) ladder_doubt(&b->ladder, t);
}

static bool tie_news(const struct tie *t, enum ladder_verdict said, uint32_t undelivered)
{
    return said != t->told || (said == LADDER_READY && undelivered != t->told_undelivered);
}

/* Something was answered: brings it to the messages that wait, and to the owner. */
static void delays_tell(struct broker *b)
{
    struct tie *t;
    list_each(t, &b->ladder.ties, struct tie, link) {
        const char *why = NULL;
        struct post *p;
        enum ladder_verdict said = ladder_says(&b->ladder, t, &why);
        list_each(p, &t->waiting, struct post, link) post_place(b, t, p, said, why);
        if (!t->wanted || !tie_news(t, said, b->ladder.undelivered)) continue;
        t->told = said;
        t->told_undelivered = b->ladder.undelivered;
        struct broker_event *ev = said == LADDER_WAIT ? NULL : news_add(b, BROKER_DELAYS, NULL);
        if (!ev) continue;
        ev->queue = t->name;
        ev->messages = b->ladder.undelivered;
        if (said == LADDER_NO || said == LADDER_AWAY)
            error_set(&ev->error, said == LADDER_NO ? CTASK_EREFUSED : CTASK_EUNAVAILABLE,
                      "the broker cannot delay tasks for queue %s: %s", t->name, why);
    }
}

/* ---- The channel ----------------------------------------------------------------------------- */

bool delays_due(const struct broker *b, int64_t now)
{
    /* As looks_due in fill.c. */
    return !b->link.blocked && b->delays.retry_at <= now &&
           (ladder_pending(&b->ladder) || ladder_wake(&b->ladder) <= now);
}

/* Who asks while the channel is still being closed is refused at once. */
static bool refuse(struct broker *b, int64_t now)
{
    bool ok = b->delays.closing || lane_close(b, &b->delays, now);
    do ladder_overdue(&b->ladder, now);
    while (ladder_pending(&b->ladder));
    delays_tell(b);
    return ok;
}

bool delays_write(struct broker *b, int64_t now)
{
    if (b->delays.closing || ladder_wake(&b->ladder) <= now) return refuse(b, now);
    b->delays.number = b->link.channel_max;
    return lane_open(b, &b->delays, now) &&
           ladder_ask(&b->ladder, &b->link.out, b->delays.number, now);
}

/* Its queue is looked at first. */
static void post_anew(struct broker *b, struct post *p)
{
    if (!route_post(b, p)) outbox_end(&b->out, p, CTASK_ENOMEM, bytes_text(NULL));
}

/* The queue of t is missing. Messages that wait for t wait for the queue first, which is declared
 * again. A queue that this connection does not know is somebody else's to declare. */
static void tie_anew(struct broker *b, struct tie *t)
{
    struct queue *q = topology_find(&b->topology, t->name);
    struct post *p;
    if (q) topology_doubt(&b->topology, q);
    list_each(p, &t->waiting, struct post, link) post_anew(b, p);
    if (!q) ladder_forget(&b->ladder, t->name);
}

const char *delays_method(struct broker *b, amqp_method_number_t id, const void *m, int64_t now)
{
    const amqp_channel_close_t *close = m;
    const char *wrong = NULL;
    if (id == AMQP_CHANNEL_OPEN_OK_METHOD) return NULL;
    if (id == AMQP_CHANNEL_CLOSE_METHOD) {
        if (!lane_closed(b, &b->delays, now)) return "out of memory";
        struct tie *t =
            ladder_closed(&b->ladder, close->reply_code, bytes_amqp(close->reply_text), now);
        if (t) tie_anew(b, t);
        b->delays.retry_at = 0; /* each close answers one question */
    } else {
        wrong = ladder_answer(&b->ladder, id, m, now);
    }
    delays_tell(b);
    return wrong;
}

void delays_reset(struct broker *b)
{
    struct tie *t;
    struct post *p;
    b->delays = (struct lane){0};
    ladder_reset(&b->ladder);
    list_each(t, &b->ladder.ties, struct tie, link) {
        t->told = LADDER_WAIT;
        list_each(p, &t->waiting, struct post, link) post_anew(b, p);
    }
    /* The next broker may be another one, whose ladder takes them all the same and leads nowhere.
     */
    list_each(p, &b->out.ready, struct post, link)
        if (p->what.delay > 0) post_anew(b, p);
}
