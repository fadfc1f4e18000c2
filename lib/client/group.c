/* group.c - many handles: gathered as they end (for maps too), and groups of them. */
#include "client/inside.h"

#include <stdlib.h>

/* ---- Gathering ------------------------------------------------------------------------------- */

void gather_init(struct gather *g)
{
    list_init(&g->waiting);
    list_init(&g->ended);
    g->ended_count = 0;
}

void member_ended(struct member *m)
{
    list_remove(&m->link);
    list_append(&m->gather->ended, &m->link);
    m->gather->ended_count++;
}

void gather_add(struct gather *g, struct member *m, struct ctask_result *r)
{
    m->gather = g;
    m->r = r;
    list_init(&m->link);
    list_append(&g->waiting, &m->link);
    if (result_ended(r))
        member_ended(m);
    else
        r->member = m;
}

struct member *gather_take(struct gather *g)
{
    if (list_empty(&g->ended)) return NULL;
    struct member *m = list_first(&g->ended, struct member, link);
    list_remove(&m->link);
    return m;
}

/* ---- Groups ---------------------------------------------------------------------------------- */

struct ctask_group {
    struct ctask_client *client; /* NULL: no member was pending */
    struct gather gather;
    size_t n, given;
    struct member members[];
};

/* The client of the handles that are not ready. False if there are several. */
static bool one_client(struct ctask_result *const *r, size_t n, struct ctask_client **c)
{
    *c = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!r[i]) return false;
        if (result_ended(r[i])) continue;
        if (*c && *c != r[i]->client) return false;
        *c = r[i]->client;
    }
    return true;
}

/* Each handle becomes the member at its place, unless it is one already, here or elsewhere: then
 * the place stays empty and the group cannot be. */
static bool members_claim(struct ctask_group *g, struct ctask_result *const *r)
{
    bool all = true;
    for (size_t i = 0; i < g->n; i++) {
        bool taken = r[i]->member != NULL;
        g->members[i].index = i;
        g->members[i].r = taken ? NULL : r[i];
        if (!taken && r[i] != result_of_no_memory()) r[i]->member = &g->members[i];
        all = all && !taken;
    }
    return all;
}

struct ctask_group *ctask_group_of(struct ctask_result *const *r, size_t n)
{
    struct ctask_client *c;
    struct ctask_group *g = NULL;
    bool sound = one_client(r, n, &c);
    if (!sound)
        raise_error(CTASK_EINVAL, "a handle is NULL, or they are of more than one client");
    else if (n > (SIZE_MAX - sizeof *g) / sizeof g->members[0] ||
             !(g = calloc(1, sizeof *g + n * sizeof g->members[0])))
        raise_error(CTASK_ENOMEM, "out of memory");
    if (!g || (c && client_hold(c) != CTASK_OK)) {
        for (size_t i = 0; i < n; i++) ctask_result_forget(r[i]);
        free(g);
        return NULL;
    }
    g->client = c;
    g->n = n;
    gather_init(&g->gather);
    sound = members_claim(g, r);
    for (size_t i = 0; sound && i < n; i++) gather_add(&g->gather, &g->members[i], r[i]);
    if (c && sound) client_ref(c);
    if (c) client_leave(c);
    if (sound) return g;
    raise_error(CTASK_EINVAL, "a handle is given twice, or is in another group already");
    for (size_t i = 0; i < n; i++) ctask_result_forget(g->members[i].r);
    free(g);
    return NULL;
}

size_t ctask_group_size(const struct ctask_group *g)
{
    return g->n;
}

struct ctask_result *ctask_group_at(const struct ctask_group *g, size_t i)
{
    return i < g->n ? g->members[i].r : NULL;
}

void ctask_group_forget(struct ctask_group *g)
{
    if (!g) return;
    struct ctask_client *c = g->client;
    if (c && client_forked(c)) return; /* a copy, like the handles in it */
    for (size_t i = 0; i < g->n; i++) ctask_result_forget(g->members[i].r);
    free(g);
    if (c) client_unref(c);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static bool all_ended(struct ctask_client *c, void *ctx)
{
    struct ctask_group *g = ctx;
    (void)c;
    return g->gather.ended_count == g->n;
}

static bool one_ended(struct ctask_client *c, void *ctx)
{
    struct ctask_group *g = ctx;
    (void)c;
    return !list_empty(&g->gather.ended) || g->given == g->n;
}

/* Raises what stands in the way. */
static int group_pump(struct ctask_group *g, done_fn *done, double timeout)
{
    struct ctask_client *c = g->client;
    int64_t deadline = clock_in(timeout);
    int rc = c->in_task ? CTASK_EINTASK : pump_until(c, done, g, deadline);
    if (rc == CTASK_OK) return rc;
    if (rc != CTASK_ETIMEDOUT) return raise_error(rc, "%s", ctask_strerror(rc));
    raise_error(rc, "%zu of %zu tasks are done after %g s", g->gather.ended_count, g->n, timeout);
    return raise_reason(c, NULL);
}

static int first_failure(const struct ctask_group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct ctask_error *why = ctask_result_error(g->members[i].r);
        if (why->code == CTASK_OK) continue;
        struct ctask_error e;
        error_set(&e, CTASK_ETASK, "task %zu of the group failed: %s", i, why->text);
        memcpy(e.type, why->type, sizeof e.type);
        return error_raise(&e);
    }
    return CTASK_OK;
}

int ctask_group_wait(struct ctask_group *g, double timeout)
{
    if (g->client) {
        int rc = client_hold(g->client);
        if (rc != CTASK_OK) return rc;
        rc = group_pump(g, all_ended, timeout);
        client_leave(g->client);
        if (rc != CTASK_OK) return rc;
    }
    return first_failure(g);
}

struct ctask_result *ctask_group_next(struct ctask_group *g, double timeout, size_t *index)
{
    int rc = CTASK_OK;
    if (g->client) {
        if (client_hold(g->client) != CTASK_OK) return NULL;
        rc = group_pump(g, one_ended, timeout);
    }
    struct member *m = rc == CTASK_OK ? gather_take(&g->gather) : NULL;
    if (m) g->given++;
    if (g->client) client_leave(g->client);
    if (rc == CTASK_OK) error_raise(&(struct ctask_error){0});
    if (m && index) *index = m->index;
    return m ? m->r : NULL;
}
