/* replies.c - results to handles, by id, whatever their order and queue. Each costs one look into a
 * hash map. Only the first end of a task counts; what nobody waits for (any more) is acknowledged
 * and dropped. */
#include "client/map.h"

#include "base/log.h"
#include "base/props.h"
#include "wire/outcome.h"

#include <inttypes.h>

int replies_expect(struct ctask_client *c, struct ctask_result *r, struct ctask_error *e)
{
    int rc = pending_add(&c->pending, r);
    if (rc == CTASK_EINVAL)
        return error_set(e, rc, "a task with the id %s is awaited already", r->id);
    return rc == CTASK_OK ? rc : error_set(e, rc, "out of memory");
}

void replies_forget(struct ctask_client *c, struct ctask_result *r)
{
    if (r->pending) pending_remove(&c->pending, r);
}

static void fail(struct ctask_result *r, void *e)
{
    result_fail(r, e, NULL, 0);
}

void replies_fail(struct ctask_client *c, const struct ctask_error *e)
{
    struct ctask_error why = *e;
    pending_walk(&c->pending, fail, &why);
}

/* ---- Replies --------------------------------------------------------------------------------- */

/* Shows value at the next ctask_result_progress: the one shown now is borrowed. */
static void progress_came(struct ctask_result *r, json_t *value)
{
    struct extras *x = result_extras(r);
    if (x) {
        json_decref(x->news);
        x->news = value;
    } else {
        json_decref(value);
    }
}

void replies_retry(struct ctask_client *c, const struct fault *why)
{
    error_set(&c->retry, CTASK_ETASK, "%s", why->text);
    memcpy(c->retry.type, why->type, sizeof c->retry.type);
}

bool ctask_retried(struct ctask_client *c, struct ctask_error *why)
{
    c = client_or_default(c);
    *why = (struct ctask_error){0};
    if (client_hold(c) != CTASK_OK) return false;
    *why = c->retry;
    client_leave(c);
    return why->code != CTASK_OK;
}

static void reply_apply(struct ctask_result *r, struct reply *p)
{
    struct ctask_error e;
    r->redelivered = p->redelivered;
    if (p->success) {
        result_succeed(r, p->result, p->runtime);
        p->result = NULL;
    } else if (p->ready) {
        error_set(&e, CTASK_ETASK, "%s", p->fault.text);
        memcpy(e.type, p->fault.type, sizeof e.type);
        result_fail(r, &e, json_incref(p->result), p->runtime);
    } else {
        r->state = strcmp(p->state, STATE_RETRY) == 0 ? CTASK_RETRY : CTASK_STARTED;
        if (r->state == CTASK_RETRY) replies_retry(r->client, &p->fault);
        if (strcmp(p->state, STATE_STARTED) != 0) progress_came(r, json_incref(p->result));
    }
}

static void reply_read_into(struct ctask_result *r, const struct envelope *m)
{
    struct ctask_error e;
    struct fault f;
    struct reply p;
    if (m->body_size != m->body.n) {
        error_set(&e, CTASK_ETOOBIG, "the result of %" PRIu64 " bytes is over the size limit",
                  m->body_size);
        result_fail(r, &e, NULL, 0);
    } else if (!reply_read(m->body, &p, &f)) {
        error_set(&e, CTASK_EPROTO, "what came for task %s is no result: %s", r->id, f.text);
        result_fail(r, &e, NULL, 0);
    } else {
        reply_apply(r, &p);
        reply_done(&p);
    }
}

/* The pending handle that a reply with this id is about; *part: what of it. NULL if none is. */
static struct ctask_result *reply_owner(struct ctask_client *c, struct bytes id, struct part *part)
{
    struct ctask_result *r = pending_find(&c->pending, id);
    *part = (struct part){.whole = id};
    if (r) return r;
    *part = part_read(id);
    r = part->count > 0 ? pending_find(&c->pending, part->whole) : NULL;
    return r && is_chunk(r) ? r : NULL;
}

void replies_deliver(struct ctask_client *c, const struct envelope *m)
{
    struct props p;
    struct part part;
    props_read(m->props, &p); /* of an unsound one the id may still be readable */
    struct ctask_result *r = reply_owner(c, p.correlation_id, &part);
    if (r && is_chunk(r)) {
        chunk_deliver(r, &part, m);
    } else if (r) {
        reply_read_into(r, m);
    } else {
        c->dropped++; /* forgotten, ended by an earlier one, or a stranger's */
        log_debug("reply %" PRIu64 " that nobody waits for was dropped: '%.*s'", c->dropped,
                  BYTES_ARG(p.correlation_id));
    }
    broker_ack(c->x->broker, m->delivery);
}
