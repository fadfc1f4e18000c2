/* call.c - from a call in C to a task message: arguments, options, encoding. What cannot be sent is
 * refused here, before it costs anybody else anything. */
#include "client/inside.h"

#include "base/utf8.h"
#include "wire/body.h"
#include "wire/message.h"

#define USUAL 1024 /* bytes of properties, and of a body: more costs an allocation */

/* ---- Arguments ------------------------------------------------------------------------------- */

static bool key_add(json_t **kwargs, const char *key, json_t *value, const char **why)
{
    if (!*kwargs) *kwargs = json_object();
    if (json_object_get(*kwargs, key)) *why = "this keyword was given before";
    if (*why) {
        json_decref(value);
        return false;
    }
    *why = "its keyword is not UTF-8";
    return json_object_set_new(*kwargs, key, value) == 0;
}

static bool value_add(json_t **args, json_t *value, const char **why)
{
    if (!*args) *args = json_array();
    *why = "out of memory";
    return json_array_append_new(*args, value) == 0;
}

/* Goes on to the end also when one does not fit, since CTASK_TAKE values are owned here. */
int call_args(size_t n, const struct ctask_arg *a, json_t **args, json_t **kwargs,
              struct ctask_error *e)
{
    *args = *kwargs = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *why = NULL;
        json_t *value = ctask_arg_to_json(a[i], &why);
        bool fits = value && (a[i].key ? key_add(kwargs, a[i].key, value, &why)
                                       : value_add(args, value, &why));
        if (fits || e->code != CTASK_OK) continue;
        if (a[i].key)
            error_set(e, CTASK_EINVAL, "the argument '%s': %s", a[i].key, why);
        else
            error_set(e, CTASK_EINVAL, "argument %zu: %s", i + 1, why);
    }
    return e->code;
}

/* ---- Options --------------------------------------------------------------------------------- */

struct ctask_options call_options(const struct ctask_options *o)
{
    struct ctask_options v = {0};
    if (o) memcpy(&v, o, o->size > 0 && o->size < sizeof v ? o->size : sizeof v);
    v.size = sizeof v;
    return v;
}

static int name_check(const char *what, const char *s, struct ctask_error *e)
{
    size_t n = s ? strlen(s) : 0;
    if (n == 0) return error_set(e, CTASK_EINVAL, "the %s is empty", what);
    if (n > NAME_MAX_BYTES)
        return error_set(e, CTASK_EINVAL, "the %s is over %d bytes", what, NAME_MAX_BYTES);
    if (!utf8_is_text(bytes_of(s, n)))
        return error_set(e, CTASK_EINVAL, "the %s is not plain UTF-8 text", what);
    return CTASK_OK;
}

static int delay_check(const char *what, double seconds, struct ctask_error *e)
{
    if (seconds >= 0 && seconds <= MESSAGE_DELAY_MAX) return CTASK_OK;
    return error_set(e, CTASK_EINVAL, "%s is not between 0 and %d seconds", what,
                     MESSAGE_DELAY_MAX);
}

/* What it waits for longer than a moment it waits for in the broker, by a key of limited length. */
static int countdown_check(const struct ctask_options *v, struct ctask_error *e)
{
    if (delay_check("countdown", v->countdown, e) != CTASK_OK) return e->code;
    if (!v->queue || message_delay(v->countdown) == 0) return CTASK_OK;
    const char *why = broker_undelayable(v->queue);
    if (!why) return CTASK_OK;
    return error_set(e, CTASK_EINVAL, "no task can be delayed by over %d s to this queue: %s",
                     MESSAGE_DELAY_MIN, why);
}

int call_check(const struct ctask_options *v, const char *name, const json_t *args,
               const json_t *kwargs, struct ctask_error *e)
{
    if (name_check("task's name", name, e) != CTASK_OK) return e->code;
    if (v->queue && name_check("queue's name", v->queue, e) != CTASK_OK) return e->code;
    if (v->id && name_check("task's id", v->id, e) != CTASK_OK) return e->code;
    if (countdown_check(v, e) != CTASK_OK) return e->code;
    if (delay_check("expires", v->expires, e) != CTASK_OK) return e->code;
    if (delay_check("time_limit", v->time_limit, e) != CTASK_OK) return e->code;
    if (delay_check("soft_time_limit", v->soft_time_limit, e) != CTASK_OK) return e->code;
    if (v->chunk < 0) return error_set(e, CTASK_EINVAL, "chunk is negative");
    if (v->time_limit > 0 && v->soft_time_limit > v->time_limit)
        return error_set(e, CTASK_EINVAL, "soft_time_limit is over time_limit");
    if (args && !json_is_array(args)) return error_set(e, CTASK_EINVAL, "args is not an array");
    if (kwargs && !json_is_object(kwargs))
        return error_set(e, CTASK_EINVAL, "kwargs is not an object");
    return CTASK_OK;
}

/* ---- Encoding -------------------------------------------------------------------------------- */

bool call_props(const struct ctask_client *c, const struct ctask_options *v, const char *name,
                const char *item_task, struct buf *props)
{
    double now = v->countdown > 0 || v->expires > 0 ? clock_wall() : 0;
    struct send s = {
        .task = name,
        .id = v->id,
        .item_task = item_task,
        .reply_to = v->no_result || c->in_task ? NULL : c->reply_queue,
        .root_id = c->in_task ? c->x->root_id : NULL,
        .parent_id = c->in_task ? c->x->task_id : NULL,
        .origin = c->origin,
        .eta = v->countdown > 0 ? now + v->countdown : 0,
        .expires = v->expires > 0 ? now + v->expires : 0,
        .limits = {.hard = v->time_limit, .soft = v->soft_time_limit},
        .ignore_result = v->no_result,
    };
    return message_write(&s, props);
}

static int call_encode(const struct ctask_client *c, const struct ctask_options *v,
                       const char *name, const json_t *args, const json_t *kwargs,
                       struct buf *props, struct buf *body, struct ctask_error *e)
{
    if (!call_props(c, v, name, NULL, props)) return error_set(e, CTASK_ENOMEM, "out of memory");
    if (message_body_write(args, kwargs, body)) return CTASK_OK;
    if (body->failed) return error_set(e, CTASK_ETOOBIG, "the arguments are over 15 MiB as JSON");
    const char *why = json_unfit(args);
    if (!why) why = json_unfit(kwargs);
    return error_set(e, CTASK_EINVAL, "an argument %s", why ? why : "has no JSON form");
}

struct ctask_result *call_send(struct ctask_client *c, const struct ctask_options *o,
                               const char *name, json_t *args, json_t *kwargs, bool gather,
                               struct ctask_error *e)
{
    struct ctask_options v = call_options(o);
    struct ctask_result *r = NULL;
    uint8_t room[2][USUAL];
    struct buf props = buf_over(room[0], USUAL, 0);
    struct buf body = buf_over(room[1], USUAL, MESSAGE_BODY_MAX);
    char fresh[ID_SIZE];
    if (!v.queue && *c->queue) v.queue = c->queue;
    if (e->code == CTASK_OK) call_check(&v, name, args, kwargs, e);
    if (!v.id || e->code != CTASK_OK) {
        id_new(fresh);
        v.id = fresh;
    }
    if (e->code == CTASK_OK) call_encode(c, &v, name, args, kwargs, &props, &body, e);
    if (e->code == CTASK_OK)
        r = send_message(c,
                         &(struct sending){.id = v.id,
                                           .queue = v.queue,
                                           .delay = message_delay(v.countdown),
                                           .props = buf_bytes(&props),
                                           .body = buf_bytes(&body),
                                           .no_result = v.no_result,
                                           .gather = gather},
                         e);
    buf_done(&props);
    buf_done(&body);
    json_decref(args);
    json_decref(kwargs);
    if (!r) r = result_new(c, v.id, false);
    if (!r) {
        error_set(e, CTASK_ENOMEM, "out of memory");
        r = result_of_no_memory();
    }
    if (e->code != CTASK_OK) {
        result_fail(r, e, NULL, 0);
        error_raise(e);
    }
    return r;
}

/* ---- The public calls ------------------------------------------------------------------------ */

struct ctask_result *ctask_send_json(struct ctask_client *c, const struct ctask_options *o,
                                     const char *name, json_t *args, json_t *kwargs)
{
    struct ctask_error e = {0};
    return call_send(client_or_default(c), o, name, args, kwargs, false, &e);
}

struct ctask_result *ctask_send(struct ctask_client *c, const struct ctask_options *o, size_t n,
                                const struct ctask_arg *a)
{
    struct ctask_error e = {0};
    json_t *args, *kwargs;
    bool named = n > 0 && a[0].kind == CTASK_TEXT && !a[0].key;
    if (!named) error_set(&e, CTASK_EINVAL, "the first argument is the task's name");
    call_args(named ? n - 1 : n, named ? a + 1 : a, &args, &kwargs, &e);
    return call_send(client_or_default(c), o, named ? a[0].v.s : NULL, args, kwargs, false, &e);
}

int ctask_post(struct ctask_client *c, const struct ctask_options *o, size_t n,
               const struct ctask_arg *a)
{
    struct ctask_options v = call_options(o);
    v.no_result = true;
    struct ctask_result *r = ctask_send(c, &v, n, a);
    int rc = ctask_result_error(r)->code;
    ctask_result_forget(r);
    return rc;
}
