/* result.c - the handle of one task: born at the send, ended once, forgotten once. */
#include "client/inside.h"

#include "wire/fault.h"

#include <stdlib.h>

static const struct ctask_error no_error = {.code = CTASK_OK};
static const struct ctask_error no_memory = {
    .code = CTASK_ENOMEM, .flags = CTASK_RETRIABLE, .text = "out of memory"};

/* Shared by all who get it, so nothing of it ever changes. Its error is that for which there is no
 * memory. */
static struct ctask_result memoryless = {.state = CTASK_FAILURE};

struct ctask_result *result_of_no_memory(void)
{
    return &memoryless;
}

/* An id of ours, or one that is no longer. */
static bool is_usual(const struct ctask_result *r)
{
    return strlen(r->id) < ID_SIZE;
}

struct ctask_result *result_new(struct ctask_client *c, const char *id, bool locked)
{
    size_t n = strlen(id) + 1;
    struct ctask_result *r = locked && n <= ID_SIZE
                                 ? spares_take(&c->results)
                                 : malloc(RESULT_SIZE(n <= ID_SIZE ? ID_SIZE : n));
    if (!r) return NULL;
    *r = (struct ctask_result){.client = c, .state = CTASK_PENDING};
    memcpy(r->id, id, n);
    client_ref(c);
    return r;
}

struct extras *result_extras(struct ctask_result *r)
{
    if (!r->extras) r->extras = calloc(1, sizeof(struct extras));
    return r->extras;
}

static void extras_free(struct extras *x)
{
    if (!x) return;
    json_decref(x->progress);
    json_decref(x->news);
    free(x->error);
    free(x->trouble);
    free(x);
}

/* Nobody else knows it any more. */
void result_free(struct ctask_result *r)
{
    struct ctask_client *c = r->client;
    json_decref(r->value);
    extras_free(r->extras);
    if (is_usual(r))
        spares_give(&c->results, r);
    else
        free(r);
    client_unref(c);
}

bool result_ended(const struct ctask_result *r)
{
    return r->state >= CTASK_SUCCESS;
}

/* ---- The end --------------------------------------------------------------------------------- */

/* The first end counts: a task that ran twice answers twice. */
static void result_end(struct ctask_result *r, enum ctask_state state, json_t *value,
                       double runtime)
{
    replies_forget(r->client, r);
    r->value = value;
    r->runtime = runtime;
    if (r->member) member_ended(r->member);
    r->state = state; /* last: from here on r is also its reader's, see inside.h */
}

void result_succeed(struct ctask_result *r, json_t *value, double runtime)
{
    if (result_ended(r))
        json_decref(value);
    else
        result_end(r, CTASK_SUCCESS, value, runtime);
}

void result_fail(struct ctask_result *r, const struct ctask_error *e, json_t *value, double runtime)
{
    if (result_ended(r)) {
        json_decref(value);
        return;
    }
    struct extras *x = result_extras(r);
    struct ctask_error *own = x ? malloc(sizeof *own) : NULL;
    if (own) {
        *own = *e;
        x->error = own;
    }
    result_end(r, CTASK_FAILURE, value, runtime);
}

/* Of one that failed. */
static const struct ctask_error *result_why(const struct ctask_result *r)
{
    const struct extras *x = r->extras;
    return x && x->error ? x->error : &no_memory;
}

/* CTASK_OK, or the raised reason of a handle that has ended. */
static int result_outcome(const struct ctask_result *r)
{
    return r->state == CTASK_SUCCESS ? CTASK_OK : error_raise(result_why(r));
}

/* ---- What is known --------------------------------------------------------------------------- */

const char *ctask_result_id(const struct ctask_result *r)
{
    return r == &memoryless ? "" : r->id;
}

enum ctask_state ctask_result_state(const struct ctask_result *r)
{
    return (enum ctask_state)r->state;
}

bool ctask_result_ready(const struct ctask_result *r)
{
    return result_ended(r);
}

const json_t *ctask_result_json(const struct ctask_result *r)
{
    return result_ended(r) ? r->value : NULL;
}

const json_t *ctask_result_progress(const struct ctask_result *r)
{
    bool locked = r != &memoryless && client_hold(r->client) == CTASK_OK;
    struct extras *x = r->extras;
    if (locked && x && x->news) {
        json_decref(x->progress);
        x->progress = x->news;
        x->news = NULL;
    }
    const json_t *shown = x ? x->progress : NULL;
    if (locked) client_leave(r->client);
    return shown;
}

double ctask_result_runtime(const struct ctask_result *r)
{
    return result_ended(r) ? r->runtime : 0;
}

bool ctask_result_redelivered(const struct ctask_result *r)
{
    return result_ended(r) && r->redelivered;
}

const struct ctask_error *ctask_result_error(const struct ctask_result *r)
{
    const struct extras *x = r->extras;
    if (r->state == CTASK_FAILURE) return result_why(r);
    return x && x->trouble ? x->trouble : &no_error;
}

void ctask_result_forget(struct ctask_result *r)
{
    if (!r || r == &memoryless) return;
    struct ctask_client *c = r->client;
    /* In a forked child the handle is a copy like its client, and stays as it is. */
    if (client_hold(c) != CTASK_OK) return;
    replies_forget(c, r);
    r->forgotten = true;
    r->member = NULL;
    if (!r->unconfirmed) result_free(r);
    client_leave(c);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static bool one_ended(struct ctask_client *c, void *r)
{
    (void)c;
    return result_ended(r);
}

/* Why r is tried again; f->type is empty if that is unknown. */
static void retry_reason(const struct ctask_result *r, struct fault *f)
{
    const struct extras *x = r->state == CTASK_RETRY ? r->extras : NULL;
    f->type[0] = '\0';
    if (x && (x->news || x->progress)) fault_from_json(x->news ? x->news : x->progress, f);
}

int raise_reason(struct ctask_client *c, const struct fault *again)
{
    struct ctask_error e = *ctask_error(), down;
    if (client_known_down(c, &down))
        error_set(&e, e.code, "%s: %s", e.text, down.text);
    else if (again && again->type[0])
        error_set(&e, e.code, "%s; it is tried again: %s: %s", e.text, again->type, again->text);
    else if (!again && c->retry.code != CTASK_OK)
        error_set(&e, e.code, "%s; the last one that is tried again: %s: %s", e.text, c->retry.type,
                  c->retry.text);
    return error_raise(&e);
}

/* Raises the error of a wait that failed, for r or (NULL) for any result; returns its code. */
static int wait_failed(struct ctask_client *c, int rc, const struct ctask_result *r, double timeout)
{
    struct fault why = {0};
    const char *what = r ? "the result of task " : "any result", *id = r ? r->id : "";
    if (r) retry_reason(r, &why);
    if (rc == CTASK_ECLOSED)
        return raise_error(rc, "the client was closed before %s%s came", what, id);
    raise_error(rc, "%s%s did not come within %g s", what, id, timeout);
    return raise_reason(c, r ? &why : NULL);
}

static void trouble_note(struct ctask_result *r)
{
    struct ctask_error why = *ctask_error();
    bool locked = !client_forked(r->client) && client_hold(r->client) == CTASK_OK;
    struct extras *x = result_extras(r);
    if (x && !x->trouble) x->trouble = malloc(sizeof *x->trouble);
    if (x && x->trouble) *x->trouble = why;
    if (locked) client_leave(r->client);
}

/* So that result_error(r) answers for whatever the last call on r returned. */
static int result_note(struct ctask_result *r, int rc)
{
    struct extras *x = r->extras;
    if (rc != CTASK_OK && r->state != CTASK_FAILURE) {
        trouble_note(r);
    } else if (x) {
        free(x->trouble);
        x->trouble = NULL;
    }
    return rc;
}

static int result_await(struct ctask_result *r, double timeout)
{
    if (result_ended(r)) return result_outcome(r);
    struct ctask_client *c = r->client;
    int64_t deadline = clock_in(timeout);
    int rc = client_hold(c);
    if (rc != CTASK_OK) return rc;
    if (c->in_task)
        rc = raise_error(CTASK_EINTASK, "%s", ctask_strerror(CTASK_EINTASK));
    else if ((rc = pump_until(c, one_ended, r, deadline)) != CTASK_OK)
        rc = wait_failed(c, rc, r, timeout);
    client_leave(c);
    return rc == CTASK_OK ? result_outcome(r) : rc;
}

int ctask_result_wait(struct ctask_result *r, double timeout)
{
    return result_note(r, result_await(r, timeout));
}

int ctask_result_get(struct ctask_result *r, double timeout, struct ctask_out out)
{
    int rc = result_await(r, timeout);
    const char *why = rc == CTASK_OK ? ctask_out_store(out, r->value) : NULL;
    if (why) rc = raise_error(CTASK_ETYPE, "the result of task %s: %s", r->id, why);
    return result_note(r, rc);
}

/* ---- Any of many ----------------------------------------------------------------------------- */

struct any {
    struct ctask_result *const *r;
    size_t n;
    uint64_t seen; /* looks at all of them only after something happened */
    long found;
};

static bool any_ended(struct ctask_client *c, void *ctx)
{
    struct any *a = ctx;
    if (a->found < 0 && a->seen == c->happened) return false;
    a->seen = c->happened;
    for (size_t i = 0; a->found < 0 && i < a->n; i++)
        if (a->r[i] && result_ended(a->r[i])) a->found = (long)i;
    return a->found >= 0;
}

long ctask_result_wait_any(struct ctask_result *const *r, size_t n, double timeout)
{
    struct any any = {.r = r, .n = n, .seen = UINT64_MAX, .found = -1};
    struct ctask_client *c = NULL;
    int64_t deadline = clock_in(timeout);
    for (size_t i = 0; i < n; i++) {
        if (!r[i]) continue;
        if (result_ended(r[i])) return (long)i;
        if (c && r[i]->client != c)
            return raise_error(CTASK_EINVAL, "the handles are of more than one client");
        c = r[i]->client;
    }
    if (!c) return raise_error(CTASK_EINVAL, "there is no handle to wait for");
    int rc = client_hold(c);
    if (rc != CTASK_OK) return rc;
    if (c->in_task)
        rc = raise_error(CTASK_EINTASK, "%s", ctask_strerror(CTASK_EINTASK));
    else if ((rc = pump_until(c, any_ended, &any, deadline)) != CTASK_OK)
        rc = wait_failed(c, rc, NULL, timeout);
    client_leave(c);
    return rc == CTASK_OK ? any.found : rc;
}
