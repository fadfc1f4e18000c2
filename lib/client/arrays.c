/* arrays.c - plain arrays over a map: one item an element, results in the same order. */
#include "client/map.h"

#include <stdlib.h>

#define NOWHERE SIZE_MAX

struct arrays {
    struct ctask_map *map;
    struct ctask_array in;
    struct ctask_out out;
    size_t n, put;
    size_t *places; /* of the map's items, since what is not sent has no index there */
    size_t failed;  /* the place of the first failure so far, NOWHERE: of the whole */
    struct ctask_error why;
};

static void failed_at(struct arrays *a, size_t place, const struct ctask_error *e)
{
    if (a->why.code != CTASK_OK && place > a->failed) return;
    a->failed = place;
    a->why = *e;
}

/* Puts until the window is full. False when sending as such does not work. */
static bool arrays_put(struct arrays *a)
{
    for (; a->put < a->n; a->put++) {
        if (a->map->under_way >= map_window(a->map)) return true;
        struct ctask_arg x = a->in.load(a->in.p, a->put);
        size_t item = a->map->stat.sent;
        int rc = ctask_map_put_args(a->map, 1, &x);
        if (rc == CTASK_OK) {
            a->places[item] = a->put;
            continue;
        }
        failed_at(a, a->put, ctask_error());
        if (rc != CTASK_EINVAL && rc != CTASK_ETOOBIG) return false;
    }
    ctask_map_end(a->map);
    return true;
}

static void arrays_store(struct arrays *a, size_t place, struct ctask_result *r)
{
    struct ctask_out at = a->out;
    if (at.p) at.p = (char *)at.p + place * at.size;
    int rc = ctask_result_get(r, 0, at);
    if (rc != CTASK_OK) failed_at(a, place, ctask_error());
}

static void arrays_run(struct arrays *a, int64_t deadline)
{
    size_t item;
    struct ctask_result *r;
    while (arrays_put(a)) {
        int64_t left = deadline - clock_now();
        int rc = ctask_map_next(a->map,
                                deadline == CLOCK_NEVER ? -1
                                : left < 0              ? 0
                                                        : left / 1e9,
                                &item, &r);
        if (rc == 0) return;
        if (rc != 1) {
            a->failed = NOWHERE;
            a->why = *ctask_error();
            return;
        }
        arrays_store(a, a->places[item], r);
    }
}

int ctask_map_arrays(struct ctask_client *c, double timeout, const char *name,
                     struct ctask_array in, struct ctask_out out, size_t n)
{
    int64_t deadline = clock_in(timeout);
    if (out.kind == CTASK_OUT_TEXT && out.p)
        return raise_error(CTASK_EINVAL, "text lives in handles, which a map of arrays does not "
                                         "keep: use an array of json_t *");
    struct arrays a = {.in = in, .out = out, .n = n};
    a.map = ctask_map_open(c, NULL, name, 0);
    if (!a.map) return ctask_error()->code;
    a.places = calloc(n ? n : 1, sizeof *a.places);
    a.map->left = n;
    if (a.places)
        arrays_run(&a, deadline);
    else
        error_set(&a.why, CTASK_ENOMEM, "out of memory");
    ctask_map_close(a.map);
    free(a.places);
    if (a.why.code == CTASK_OK) return CTASK_OK;
    struct ctask_error e = a.why;
    if (a.failed != NOWHERE) error_set(&e, a.why.code, "item %zu: %s", a.failed, a.why.text);
    memcpy(e.type, a.why.type, sizeof e.type);
    return error_raise(&e);
}
