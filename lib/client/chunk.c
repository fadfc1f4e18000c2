/* chunk.c - items of a map on their way in one message, and what comes back for it. See map.h. */
#include "client/map.h"

#include <stdlib.h>

#define LEARN_WAIT 0.005 /* seconds */

bool is_chunk(const struct ctask_result *r)
{
    return r->member && r->member->chunk;
}

bool chunk_news(struct ctask_client *c, void *map)
{
    const struct ctask_map *m = map;
    (void)c;
    return !list_empty(&m->gather.ended) || !list_empty(&m->replies);
}

static struct chunk *chunk_new(struct ctask_map *m)
{
    size_t n = m->item_count;
    struct chunk *k = calloc(1, sizeof *k + (n > 1 ? (n + 7) / 8 : 0));
    if (!k) return NULL;
    k->map = m;
    k->n = n;
    k->first = m->stat.sent - n;
    k->member.index = k->first;
    k->member.chunk = n > 1 ? k : NULL;
    return k;
}

void chunk_free(struct chunk *k)
{
    struct ctask_map *m = k->map;
    struct ctask_result *r = k->member.r;
    struct chunk_reply *p;
    pthread_mutex_lock(&m->client->lock);
    if (k->replies > 0) {
        list_each(p, &m->replies, struct chunk_reply, link) {
            if (p->chunk != k) continue;
            list_remove(&p->link);
            free(p);
        }
    }
    list_remove(&k->member.link);
    r->member = NULL;
    pthread_mutex_unlock(&m->client->lock);
    ctask_result_forget(r);
    free(k);
}

/* ---- Out ------------------------------------------------------------------------------------- */

static bool body_write(struct ctask_map *m)
{
    struct bytes items = buf_bytes(&m->items);
    buf_clear(&m->body);
    if (m->item_count == 1) return message_body_put(items, &m->body);
    return starmap_begin(bytes_text(m->name), &m->body) && buf_bytes_append(&m->body, items) &&
           starmap_end(&m->body);
}

/* As send_message, whose handle is a member of the map's gather. */
static struct ctask_result *message_send(struct ctask_map *m, struct chunk *k, const char *id,
                                         struct ctask_error *e)
{
    struct ctask_options v = m->options;
    struct ctask_result *r = NULL;
    struct buf props = {0};
    bool many = m->item_count > 1;
    if (!v.queue && *m->client->queue) v.queue = m->client->queue;
    v.id = id;
    if (call_check(&v, m->name, NULL, NULL, e) != CTASK_OK) return NULL;
    if (!call_props(m->client, &v, many ? TASK_STARMAP : m->name, many ? m->name : NULL, &props) ||
        !body_write(m))
        error_set(e, CTASK_ENOMEM, "out of memory");
    else
        r = send_message(m->client,
                         &(struct sending){.id = id,
                                           .queue = v.queue,
                                           .delay = message_delay(v.countdown),
                                           .props = buf_bytes(&props),
                                           .body = buf_bytes(&m->body),
                                           .no_result = v.no_result,
                                           .gather = !many,
                                           .into = &m->gather,
                                           .m = &k->member},
                         e);
    buf_done(&props);
    return r;
}

/* How long items take the first answers say. For those it is worth waiting a moment, a few times,
 * before hundreds have left one by one. */
static void learn(struct ctask_map *m)
{
    struct ctask_client *c = m->client;
    size_t n = m->stat.sent;
    if (m->pace.fixed > 0 || m->pace.each > 0 || m->options.no_result) return;
    if (n != 32 && n != 128 && n != 512) return;
    if (client_hold(c) != CTASK_OK) return;
    if (c->x && !c->in_task) pump_until(c, chunk_news, m, clock_in(LEARN_WAIT));
    if (!list_empty(&m->gather.ended))
        pace_ran(&m->pace, 1, list_last(&m->gather.ended, struct member, link)->r->runtime, 0);
    client_leave(c);
}

/* All items of k, which is not sent and never will be, end with e. */
static int chunk_fail(struct ctask_map *m, struct chunk *k, const char *id, struct ctask_error *e)
{
    struct ctask_result *r = k->member.r;
    if (!r && !(r = result_new(m->client, id, false))) return CTASK_ENOMEM;
    pthread_mutex_lock(&m->client->lock);
    if (!k->member.r) gather_add(&m->gather, &k->member, r);
    result_fail(r, e, NULL, 0);
    pthread_mutex_unlock(&m->client->lock);
    return CTASK_OK;
}

static void chunk_undo(struct chunk *k)
{
    if (k->member.r)
        chunk_free(k);
    else
        free(k);
}

int chunk_send(struct ctask_map *m, bool fails, struct ctask_error *e)
{
    char id[ID_SIZE];
    if (m->item_count == 0) return CTASK_OK;
    if (client_hold(m->client) != CTASK_OK) { /* in a forked child its lock is somebody else's */
        *e = *ctask_error();
        return e->code;
    }
    client_leave(m->client);
    id_new(id);
    struct chunk *k = chunk_new(m);
    if (!k) return error_set(e, CTASK_ENOMEM, "out of memory");
    message_send(m, k, id, e);
    bool hopeless = e->code != CTASK_OK && fails && !(e->flags & CTASK_RETRIABLE);
    if (e->code != CTASK_OK && !(hopeless && chunk_fail(m, k, id, e) == CTASK_OK)) {
        chunk_undo(k);
        return e->code;
    }
    pace_sent(&m->pace);
    buf_clear(&m->items);
    m->item_count = 0;
    learn(m);
    return CTASK_OK;
}

/* ---- Back ------------------------------------------------------------------------------------ */

void chunk_deliver(struct ctask_result *r, const struct part *p, const struct envelope *m)
{
    struct chunk *k = r->member->chunk;
    bool too_big = m->body_size != m->body.n;
    size_t n = too_big ? 0 : m->body.n;
    struct chunk_reply *reply = malloc(sizeof *reply + n);
    if (!reply) {
        struct ctask_error e;
        error_set(&e, CTASK_ENOMEM, "out of memory");
        result_fail(r, &e, NULL, 0);
        return;
    }
    *reply = (struct chunk_reply){.chunk = k,
                                  .first = p->first,
                                  .count = p->count,
                                  .one = p->one,
                                  .too_big = too_big,
                                  .n = n};
    if (n > 0) memcpy(reply->body, m->body.p, n);
    list_append(&k->map->replies, &reply->link);
    k->replies++;
}
