/* producer.c - one of the gauntlet's producers: sends its share of the tasks at an even rate, and
 * writes down what it knows of each: that it sends it, that the broker has it, how its handle
 * ended.
 *
 *     gauntlet-producer LEDGER NUMBER FIRST COUNT RATE SEED POISON GIVE_UP
 *
 * Sends tasks FIRST to FIRST + COUNT - 1 to $CTASK_QUEUE, RATE a second; each POISON-th crashes. A
 * second one with the same ledger goes on after the last task that the first has tried. What could
 * not be sent is sent again under a new id, since the first may be on its way nevertheless. Time
 * in which nothing can be sent is not made up for. At the end it waits for its handles until none
 * has ended for GIVE_UP seconds. It judges nothing: its exit status only says that it is done. */
#include "ledger.h"

#include <ctask.h>

#define WINDOW 4096 /* handles under way */
#define HARVEST 0.005
#define ACCEPT 0.1 /* how often the broker's confirms are asked for */
#define ACCEPT_WAIT 0.05
#define RETRY 0.1
#define BURST 0.1 /* seconds of the rate that may leave at once */

struct handle {
    struct ctask_result *r;
    uint64_t id;
};

static struct {
    int ledger;
    uint32_t number; /* which producer */
    uint64_t next, end, seed, poison;
    double rate, give_up;
    struct ctask_client *client;
    struct handle handles[WINDOW];
    size_t count;
    uint64_t again[WINDOW + 1]; /* ids whose tasks are to be sent anew */
    size_t again_count;
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

/* Even, and the same for the same seed (splitmix64). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* 2,000 of them a second must fit into 8 children on two cores, so most are short. */
static struct record task_of(uint64_t number)
{
    uint64_t draw = mix(p.seed * 1000003 + number);
    uint32_t share = (uint32_t)(draw % 1000000), length = (uint32_t)(draw >> 32);
    struct record r = {.kind = KIND_SLEEP, .no_result = (draw >> 24) % 8 == 0};
    if (number % p.poison == p.poison / 2)
        r.kind = number / p.poison % 2 ? KIND_SEGV : KIND_ABORT;
    else if (share < 50)
        r.took = 2000000;
    else if (share < 5000)
        r.took = length % 200000;
    else if (share < 100000)
        r.took = length % 10000;
    else if (share < 500000)
        r.kind = KIND_NOOP;
    else
        r.took = length % 2000;
    return r;
}

/* ---- Handles --------------------------------------------------------------------------------- */

static void note_end(uint64_t id, const struct ctask_result *r)
{
    const struct ctask_error *e = ctask_result_error(r);
    bool good = ctask_result_state(r) == CTASK_SUCCESS;
    struct record end = {
        .id = id, .what = good ? WHAT_SUCCESS : WHAT_FAILURE, .code = good ? 0 : e->code};
    if (!good) snprintf(end.type, sizeof end.type, "%.27s", e->type[0] ? e->type : "");
    note(end);
    /* A task that failed has run; everything else is a message that did not get there, perhaps. */
    if (!good && e->flags & CTASK_RETRIABLE && p.again_count < WINDOW)
        p.again[p.again_count++] = id;
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
        p.heard = ledger_now();
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

/* False if it is to be tried again later. */
static bool send_one(uint64_t id)
{
    struct record r = task_of(id >> 16);
    char name[17];
    snprintf(name, sizeof name, "%016" PRIx64, id);
    r.id = id;
    r.what = WHAT_SEND;
    note(r);
    int64_t from = ledger_now();
    struct ctask_result *sent =
        ctask_apply(p.client, TASK_OPTIONS(.id = name, .no_result = r.no_result), "gauntlet.run",
                    (int64_t)r.kind, (int64_t)r.took);
    const struct ctask_error *e = ctask_result_error(sent);
    r.took = (uint32_t)((ledger_now() - from) / 1000);
    r.what = WHAT_SENT;
    if (ctask_result_state(sent) != CTASK_FAILURE) {
        note(r);
        p.handles[p.count++] = (struct handle){sent, id};
        return true;
    }
    r.what = WHAT_REFUSED;
    r.code = e->code;
    note(r);
    bool again = e->flags & CTASK_RETRIABLE;
    if (!again) fprintf(stderr, "send %s: %s\n", name, e->text);
    ctask_result_forget(sent);
    return !again;
}

/* The id to be sent next; 0 if none is left. */
static uint64_t next_id(void)
{
    if (p.again_count > 0) return p.again[--p.again_count] + 1;
    return p.next < p.end ? p.next++ << 16 : 0;
}

static bool all_sent(void)
{
    return p.next == p.end && p.again_count == 0;
}

static void send_all(void)
{
    double due = seconds(), asked = 0, harvested = 0;
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
            p.again[p.again_count++] = last;
            due = now + RETRY;
        }
        if (seconds() - harvested >= HARVEST) {
            harvest();
            harvested = seconds();
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
    while (p.count > 0 && patient()) {
        (void)ctask_poll(p.client, HARVEST);
        harvest();
        if (!all_sent()) send_all();
    }
    ask_confirms(0);
    for (size_t i = 0; i < p.count; i++)
        note((struct record){.id = p.handles[i].id, .what = WHAT_UNANSWERED});
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

/* Goes on where the one before me was killed. */
static void resume(void)
{
    struct record r;
    for (off_t at = 0; pread(p.ledger, &r, sizeof r, at) == sizeof r; at += (off_t)sizeof r)
        if (r.what == WHAT_SEND && r.id >> 16 >= p.next) p.next = (r.id >> 16) + 1;
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
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        fprintf(stderr, "usage: %s LEDGER NUMBER FIRST COUNT RATE SEED POISON GIVE_UP\n", argv[0]);
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
    resume();
    open_client();
    send_all();
    wait_for_all();
    for (size_t i = 0; i < p.count; i++) ctask_result_forget(p.handles[i].r);
    ctask_close(p.client);
    return 0;
}
