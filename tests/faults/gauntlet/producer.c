/* producer.c - one of the gauntlet's producers: sends its share of the tasks at an even rate, and
 * writes down what it knows of each: that it sends it, that the broker has it, how its handle
 * ended.
 *
 *     gauntlet-producer LEDGER NUMBER FIRST COUNT RATE SEED POISON GIVE_UP LONGER
 *
 * Sends tasks FIRST to FIRST + COUNT - 1 to $CTASK_QUEUE, RATE a second; each POISON-th crashes.
 * What a plain task does takes LONGER times as long as usual. A second producer with the same
 * ledger goes on after the last task that the first has tried. What could not be sent is sent again
 * under a new id, since the first may be on its way nevertheless. Time in which nothing can be sent
 * is not made up for. At the end it waits for its handles until none has ended for GIVE_UP seconds.
 * It judges nothing: its exit status only says that it is done. */
#include "ledger.h"

#include <ctask.h>

#define WINDOW 4096 /* handles under way */
#define HARVEST 0.005
#define ACCEPT 0.1 /* how often the broker's confirms are asked for */
#define ACCEPT_WAIT 0.05
#define RETRY 0.1
#define BURST 0.1 /* seconds of the rate that may leave at once */

#define MAP_WINDOW 1000
#define MAP_HARVEST 0.2 /* meanwhile items gather, so that some travel together */
#define LAST 6.0        /* seconds before its end in which it sends nothing that waits long */
#define LEASED_EACH 10000
#define LEASED_TOOK \
    1500000 /* microseconds: more than the --lease of the worker that they are for */

struct handle {
    struct ctask_result *r;
    uint64_t id;
};

static struct {
    int ledger;
    uint32_t number; /* which producer */
    uint64_t next, end, seed, poison;
    double rate, give_up;
    double longer; /* the factor by which tasks take longer than usual */
    struct ctask_client *client;
    struct handle handles[WINDOW];
    size_t count;
    uint64_t again[WINDOW + 1]; /* ids whose tasks are to be sent anew */
    size_t again_count;
    struct ctask_map *map;
    uint64_t *items; /* the ids of all that was put into the map */
    size_t item_count, items_open;
    int64_t heard; /* when a handle ended last */
} p;

static double seconds(void)
{
    return (double)ledger_now() / 1e9;
}

static void note(struct record r)
{
    r.group = p.number;
    ledger_write(p.ledger, r);
}

/* ---- What the tasks are ---------------------------------------------------------------------- */

/* What it does. 2,000 of them a second must fit into 8 children on two cores, so most are short. */
static void draw_work(struct record *r, uint64_t draw)
{
    uint32_t share = (uint32_t)(draw % 1000000), length = (uint32_t)(draw >> 32);
    if (share < 50)
        r->took = 2000000;
    else if (share < 5000)
        r->took = length % 200000;
    else if (share < 100000)
        r->took = length % 10000;
    else if (share < 500000)
        r->kind = KIND_NOOP;
    else
        r->took = length % 2000;
    r->took = (uint32_t)(r->took * p.longer);
}

/* How it ends, if not by returning, and how it is sent. Over 3 s it waits in the broker. */
static void draw_way(struct record *r, uint64_t draw, bool last)
{
    uint32_t end = (uint32_t)(draw % 1000), way = (uint32_t)(draw >> 16) % 1000;
    uint32_t length = (uint32_t)(draw >> 32);
    if (end < 20) {
        r->kind = KIND_RETRY;
        r->took = end < 2 && !last ? 3100000 + length % 1000000 : length % 200000;
    } else if (end < 40) {
        r->kind = KIND_FOLLOW;
    } else if (end < 50) {
        r->kind = KIND_FAIL;
    }
    if (way < 20) {
        r->lane = LANE_COUNTDOWN;
        r->wait = way < 4 && !last ? 3100 + length % 2000 : 20 + length % 800;
    } else if (way < 145) {
        r->lane = LANE_MAP;
        r->no_result = 0;
    }
}

static struct record task_of(uint64_t number)
{
    uint64_t draw = ledger_mix(p.seed * 1000003 + number);
    struct record r = {.kind = KIND_SLEEP, .no_result = (draw >> 24) % 8 == 0};
    if (number % p.poison == p.poison / 2) {
        r.kind = number / p.poison % 2 ? KIND_SEGV : KIND_ABORT;
    } else if (number % LEASED_EACH == LEASED_EACH / 4) {
        r.took = LEASED_TOOK;
        r.lane = LANE_LEASED;
    } else {
        draw_work(&r, draw);
        draw_way(&r, ledger_mix(draw), (double)(p.end - number) < LAST * p.rate);
    }
    return r;
}

/* ---- Handles --------------------------------------------------------------------------------- */

/* What nobody asked for has no value. */
static uint32_t value_in(const struct ctask_result *r)
{
    const json_t *value = ctask_result_json(r);
    return value ? (uint32_t)json_integer_value(value) : 0;
}

static void again_later(uint64_t id)
{
    if (p.again_count < WINDOW) p.again[p.again_count++] = id;
}

static void note_end(uint64_t id, const struct ctask_result *r)
{
    const struct ctask_error *e = ctask_result_error(r);
    bool good = ctask_result_state(r) == CTASK_SUCCESS;
    struct record end = {.id = id,
                         .what = good ? WHAT_SUCCESS : WHAT_FAILURE,
                         .code = good ? 0 : e->code,
                         .value = good ? value_in(r) : 0,
                         .flagged = ctask_result_redelivered(r)};
    if (!good) snprintf(end.type, sizeof end.type, "%s", e->type);
    note(end);
    p.heard = ledger_now();
    /* A task that failed has run; everything else is a message that did not get there, perhaps. */
    if (!good && e->flags & CTASK_RETRIABLE) again_later(id);
    if (!good && e->code != CTASK_ETASK) fprintf(stderr, "handle %" PRIx64 ": %s\n", id, e->text);
}

static void harvest(void)
{
    for (size_t i = 0; i < p.count;) {
        if (!ctask_result_ready(p.handles[i].r)) {
            i++;
            continue;
        }
        note_end(p.handles[i].id, p.handles[i].r);
        ctask_result_forget(p.handles[i].r);
        p.handles[i] = p.handles[--p.count];
    }
}

static void harvest_map(void)
{
    struct ctask_result *r;
    size_t index;
    while (p.items_open > 0 && ctask_map_next(p.map, 0, &index, &r) == 1) {
        note_end(p.items[index], r);
        p.items[index] = 0;
        p.items_open--;
    }
}

/* If the broker has confirmed everything, all that has not failed is accepted. */
static void ask_confirms(uint64_t last)
{
    long left = ctask_flush(p.client, ACCEPT_WAIT);
    harvest();
    if (left == 0) note((struct record){.id = last, .what = WHAT_ACCEPTED});
}

/* ---- Sending --------------------------------------------------------------------------------- */

static struct ctask_error send_plain(const struct record *r)
{
    char name[17];
    snprintf(name, sizeof name, "%016" PRIx64, r->id);
    struct ctask_result *sent = ctask_apply(
        p.client,
        TASK_OPTIONS(.id = name, .no_result = r->no_result, .countdown = (double)r->wait / 1000,
                     .queue = r->lane == LANE_LEASED ? "ctask.leased" : NULL),
        "gauntlet.run", (int64_t)r->id, (int64_t)r->kind, (int64_t)r->took);
    if (ctask_result_state(sent) != CTASK_FAILURE) {
        p.handles[p.count++] = (struct handle){sent, r->id};
        return (struct ctask_error){0};
    }
    struct ctask_error e = *ctask_result_error(sent);
    ctask_result_forget(sent);
    return e;
}

static struct ctask_error send_item(const struct record *r)
{
    if (p.item_count % MAP_WINDOW == 0) {
        p.items = realloc(p.items, (p.item_count + MAP_WINDOW) * sizeof *p.items);
        if (!p.items) abort();
    }
    if (ctask_map_put(p.map, (int64_t)r->id, (int64_t)r->kind, (int64_t)r->took) != CTASK_OK)
        return *ctask_error();
    p.items[p.item_count++] = r->id;
    p.items_open++;
    return (struct ctask_error){0};
}

/* False if it is to be tried again later. */
static bool send_one(uint64_t id)
{
    struct record r = task_of(id >> ID_NUMBER_SHIFT);
    r.id = id;
    r.what = WHAT_SEND;
    note(r);
    int64_t from = ledger_now();
    struct ctask_error e = r.lane == LANE_MAP ? send_item(&r) : send_plain(&r);
    bool again = e.flags & CTASK_RETRIABLE;
    r.took = (uint32_t)((ledger_now() - from) / 1000);
    r.what = e.code ? WHAT_REFUSED : WHAT_SENT;
    r.code = e.code;
    note(r);
    if (e.code && !again) fprintf(stderr, "send %" PRIx64 ": %s\n", id, e.text);
    return !again;
}

/* The id to be sent next; 0 if none is left. */
static uint64_t next_id(void)
{
    if (p.again_count > 0) return p.again[--p.again_count] + 1;
    return p.next < p.end ? p.next++ << ID_NUMBER_SHIFT : 0;
}

static bool all_sent(void)
{
    return p.next == p.end && p.again_count == 0;
}

static void send_all(void)
{
    double due = seconds(), asked = 0, harvested = 0, mapped = 0;
    uint64_t last = 0;
    while (!all_sent()) {
        double now = seconds();
        if (due < now - BURST) due = now - BURST;
        if (now < due || p.count == WINDOW) {
            double wait = due - now < HARVEST && p.count < WINDOW ? due - now : HARVEST;
            (void)ctask_poll(p.client, wait > 0 ? wait : 0);
        } else if (send_one(last = next_id())) {
            due += 1 / p.rate;
        } else {
            again_later(last);
            due = now + RETRY;
        }
        if (seconds() - harvested >= HARVEST) {
            harvest();
            harvested = seconds();
        }
        if (seconds() - mapped >= MAP_HARVEST) {
            harvest_map();
            mapped = seconds();
        }
        if (seconds() - asked >= ACCEPT) {
            ask_confirms(last);
            asked = seconds();
        }
    }
    ask_confirms(last);
}

static bool patient(void)
{
    return (double)(ledger_now() - p.heard) / 1e9 < p.give_up;
}

/* What fails to be confirmed now is sent again, as before. */
static void wait_for_all(void)
{
    p.heard = ledger_now();
    while (p.count + p.items_open > 0 && patient()) {
        (void)ctask_poll(p.client, HARVEST);
        harvest();
        harvest_map();
        if (!all_sent()) send_all();
    }
    ask_confirms(0);
    for (size_t i = 0; i < p.count; i++)
        note((struct record){.id = p.handles[i].id, .what = WHAT_UNANSWERED});
    for (size_t i = 0; i < p.item_count; i++)
        if (p.items[i]) note((struct record){.id = p.items[i], .what = WHAT_UNANSWERED});
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

/* Goes on where the one before me was killed. */
static void resume(void)
{
    struct record r;
    for (off_t at = 0; pread(p.ledger, &r, sizeof r, at) == sizeof r; at += (off_t)sizeof r)
        if (r.what == WHAT_SEND && r.id >> ID_NUMBER_SHIFT >= p.next)
            p.next = (r.id >> ID_NUMBER_SHIFT) + 1;
}

static void open_client(void)
{
    struct ctask_error e;
    const struct timespec pause = {0, (long)(RETRY * 1e9)};
    while (!(p.client = ctask_open(NULL, &e))) {
        if (!(e.flags & CTASK_RETRIABLE)) {
            fprintf(stderr, "producer: %s\n", e.text);
            exit(1);
        }
        nanosleep(&pause, NULL);
    }
    p.map = ctask_map_open(p.client, NULL, "gauntlet.run", MAP_WINDOW);
    if (!p.map) abort();
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fprintf(stderr, "usage: %s LEDGER NUMBER FIRST COUNT RATE SEED POISON GIVE_UP LONGER\n",
                argv[0]);
        return 2;
    }
    p.ledger = ledger_open(argv[1]);
    p.number = (uint32_t)strtoul(argv[2], NULL, 10);
    p.next = strtoull(argv[3], NULL, 10);
    p.end = p.next + strtoull(argv[4], NULL, 10);
    p.rate = strtod(argv[5], NULL);
    p.seed = strtoull(argv[6], NULL, 10);
    p.poison = strtoull(argv[7], NULL, 10);
    p.give_up = strtod(argv[8], NULL);
    p.longer = strtod(argv[9], NULL);
    resume();
    open_client();
    send_all();
    wait_for_all();
    for (size_t i = 0; i < p.count; i++) ctask_result_forget(p.handles[i].r);
    ctask_map_close(p.map);
    ctask_close(p.client);
    free(p.items);
    return 0;
}
