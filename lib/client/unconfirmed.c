/* unconfirmed.c - messages that the broker has not answered yet, and what becomes of their handles.
 * Every one gets an answer, is recalled after 30 s, or is dropped when the client ends. */
#include "client/inside.h"

#define CONFIRM_WAIT (30 * CLOCK_SECOND)

struct ticket *unconfirmed_new(struct ctask_client *c, struct ctask_result *r)
{
    struct ticket *t = spares_take(&c->tickets);
    if (t) *t = (struct ticket){.r = r};
    return t;
}

void unconfirmed_add(struct ctask_client *c, struct ticket *t)
{
    t->r->unconfirmed = t->r->sent = true;
    t->r->reply_at = c->reply_at % REPLY_QUEUES;
    t->sent_at = clock_now();
    list_append(&c->unconfirmed, &t->link);
    c->unconfirmed_count++;
}

/* Its handle, which waits for no answer any more. */
static struct ctask_result *ticket_end(struct ctask_client *c, struct ticket *t)
{
    struct ctask_result *r = t->r;
    list_remove(&t->link);
    spares_give(&c->tickets, t);
    r->unconfirmed = false;
    c->unconfirmed_count--;
    return r;
}

/* r may be freed. */
static void settle(struct ctask_client *c, struct ctask_result *r, const struct ctask_error *e)
{
    if (r->forgotten && e->code != CTASK_OK) {
        if (c->lost_count++ == 0) c->lost = *e;
    } else if (!r->forgotten && e->code != CTASK_OK) {
        result_fail(r, e, NULL, 0);
    } else if (!r->forgotten && r->no_result) {
        result_succeed(r, NULL, 0);
    }
    if (r->forgotten) result_free(r);
}

void unconfirmed_answer(struct ctask_client *c, struct ticket *t, const struct ctask_error *e)
{
    struct ctask_result *r = ticket_end(c, t);
    struct ctask_error named;
    if (e->code == CTASK_OK) {
        settle(c, r, e);
        return;
    }
    /* Which task it was is what the broker's sentence lacks. */
    error_set(&named, e->code, "task %s was not sent: %s", r->id, e->text);
    settle(c, r, &named);
}

/* The clock runs only while an answer can come: a new connection publishes all of them again. */
int64_t unconfirmed_deadline(const struct ctask_client *c)
{
    if (list_empty(&c->unconfirmed) || !c->up || broker_blocked(c->x->broker)) return CLOCK_NEVER;
    int64_t since = list_first(&c->unconfirmed, struct ticket, link)->sent_at;
    return (since > c->flowing_since ? since : c->flowing_since) + CONFIRM_WAIT;
}

void unconfirmed_expire(struct ctask_client *c, int64_t now)
{
    while (unconfirmed_deadline(c) <= now) {
        struct ticket *t = list_first(&c->unconfirmed, struct ticket, link);
        struct ctask_error e;
        error_set(&e, CTASK_EUNCONFIRMED,
                  "the broker did not confirm task %s within 30 s; it may or may not run",
                  t->r->id);
        broker_recall(c->x->broker, t);
        settle(c, ticket_end(c, t), &e);
        c->happened++;
    }
}

void unconfirmed_drop(struct ctask_client *c)
{
    while (!list_empty(&c->unconfirmed)) {
        struct ctask_result *r = ticket_end(c, list_first(&c->unconfirmed, struct ticket, link));
        if (r->forgotten)
            result_free(r);
        else
            result_fail(r, &c->broken, NULL, 0);
    }
}
