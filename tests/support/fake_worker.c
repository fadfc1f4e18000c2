/* fake_worker.c - see fake_worker.h. A thread that owns a struct broker, and an eventfd to reach it
 * by. */
#include "support/fake_worker.h"

#include "base/clock.h"
#include "transport/broker.h"
#include "wire/starmap.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HELD_MAX 100000

struct fake_worker {
    struct broker *broker;
    char queue[256];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int bell;
    bool ready, stop, release;
    size_t seen, held_count;
    struct envelope *held[HELD_MAX];
};

/* ---- Answers --------------------------------------------------------------------------------- */

static void answer(struct fake_worker *w, const struct message *m, const struct outcome *o)
{
    struct buf props = {0}, body = {0};
    char to[256];
    if (!outcome_wanted(m)) return;
    ck_assert(outcome_write(m, o, &props, &body));
    snprintf(to, sizeof to, "%.*s", BYTES_ARG(m->reply_to));
    struct publish p = {.exchange = "",
                        .routing_key = to,
                        .props = buf_bytes(&props),
                        .body = buf_bytes(&body),
                        .spool = -1};
    ck_assert_int_eq(broker_publish(w->broker, &p), CTASK_OK);
    buf_done(&props);
    buf_done(&body);
}

static void succeed(struct fake_worker *w, const struct message *m, json_t *value)
{
    answer(w, m, &(struct outcome){.state = STATE_SUCCESS, .result = value});
    json_decref(value);
}

static void end_badly(struct fake_worker *w, const struct message *m, const char *state)
{
    struct outcome o = {.state = state};
    fault_set(&o.fault, "ValueError", "no good");
    answer(w, m, &o);
}

static void report(struct fake_worker *w, const struct message *m, const char *state, int value)
{
    struct outcome o = {.state = state, .result = json_integer(value)};
    answer(w, m, &o);
    json_decref(o.result);
}

static json_t *text(struct bytes s)
{
    return s.n ? json_stringn((const char *)s.p, s.n) : json_null();
}

static json_t *head(const struct message *m)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:f, s:f, s:b}", "origin", text(m->origin), "reply_to",
                     text(m->reply_to), "root_id", text(m->root_id), "parent_id",
                     text(m->parent_id), "eta", m->eta, "expires", m->expires, "ignore_result",
                     m->ignore_result);
}

static void junk(struct fake_worker *w, const struct message *m)
{
    struct buf props = {0};
    char to[256];
    struct props p = {.correlation_id = m->correlation_id};
    snprintf(to, sizeof to, "%.*s", BYTES_ARG(m->reply_to));
    ck_assert(props_write(&props, &p));
    struct publish out = {.exchange = "",
                          .routing_key = to,
                          .props = buf_bytes(&props),
                          .body = bytes_text("no JSON"),
                          .spool = -1};
    ck_assert_int_eq(broker_publish(w->broker, &out), CTASK_OK);
    buf_done(&props);
}

/* ---- Many items ------------------------------------------------------------------------------ */

/* The values of items [from, to) with these notes. */
static void answer_items(struct fake_worker *w, const struct message *m, const json_t *items,
                         size_t from, size_t to, const char *notes)
{
    struct buf values = {0}, props = {0}, body = {0};
    char address[256];
    for (size_t i = from; i < to; i++) {
        const json_t *first = json_array_get(json_array_get(items, i), 0);
        char *value = first ? json_dumps(first, JSON_ENCODE_ANY) : strdup("null");
        ck_assert(i == from || buf_append(&values, ",", 1));
        ck_assert(buf_append(&values, value, strlen(value)));
        free(value);
    }
    ck_assert(starmap_reply_write(m, to - from, buf_bytes(&values), bytes_text(notes),
                                  1e-6 * (double)(to - from), false, &props, &body));
    snprintf(address, sizeof address, "%.*s", BYTES_ARG(m->reply_to));
    struct publish p = {.exchange = "",
                        .routing_key = address,
                        .props = buf_bytes(&props),
                        .body = buf_bytes(&body),
                        .spool = -1};
    ck_assert_int_eq(broker_publish(w->broker, &p), CTASK_OK);
    buf_done(&values);
    buf_done(&props);
    buf_done(&body);
}

static void answer_parts(struct fake_worker *w, const struct message *m, const json_t *items)
{
    size_t n = json_array_size(items), middle = n / 2;
    struct message part = *m;
    char id[PART_SIZE];
    for (int twice = 0; twice < 2; twice++) {
        answer_items(w, m, items, 0, middle, "{\"item\":0,\"status\":\"RETRY\"}");
        part_write(id, m->id, 0, 0);
        part.id = part.correlation_id = bytes_text(id);
        end_badly(w, &part, STATE_RETRY);
        succeed(w, &part, json_incref(json_array_get(json_array_get(items, 0), 0)));
        part_write(id, m->id, middle, n - middle);
        part.correlation_id = bytes_text(id);
        answer_items(w, &part, items, middle, n, "");
    }
}

static void perform_items(struct fake_worker *w, const struct message *m,
                          const struct message_body *b)
{
    struct starmap s;
    struct fault f;
    ck_assert(starmap_read(b, &s, &f) && bytes_equal(s.task, m->item_task));
    size_t n = json_array_size(s.items);
    if (bytes_is(m->item_task, "fail")) {
        end_badly(w, m, STATE_FAILURE);
    } else if (bytes_is(m->item_task, "again")) {
        end_badly(w, m, STATE_RETRY);
    } else if (bytes_is(m->item_task, "parts")) {
        answer_parts(w, m, s.items);
    } else if (bytes_is(m->item_task, "python") || bytes_is(m->item_task, "short")) {
        json_t *values = json_array();
        for (size_t i = bytes_is(m->item_task, "short"); i < n; i++)
            json_array_append(values, json_array_get(json_array_get(s.items, i), 0));
        succeed(w, m, values);
    } else if (!bytes_is(m->item_task, "drop")) {
        answer_items(w, m, s.items, 0, n, "");
    }
}

static void perform(struct fake_worker *w, const struct envelope *env)
{
    struct message m;
    struct message_body b;
    struct fault f;
    ck_assert(message_read(env->props, &m, &f));
    ck_assert(message_body_read(env->body, &b, &f));
    json_t *first = json_array_get(b.args, 0);
    if (starmap_itemized(&m)) {
        perform_items(w, &m, &b);
    } else if (bytes_is(m.task, "fail")) {
        end_badly(w, &m, STATE_FAILURE);
    } else if (bytes_is(m.task, "kwargs")) {
        succeed(w, &m, json_incref(b.kwargs));
    } else if (bytes_is(m.task, "head")) {
        succeed(w, &m, head(&m));
    } else if (bytes_is(m.task, "retry")) {
        end_badly(w, &m, STATE_RETRY);
        succeed(w, &m, json_true());
    } else if (bytes_is(m.task, "again")) {
        end_badly(w, &m, STATE_RETRY);
    } else if (bytes_is(m.task, "progress")) {
        report(w, &m, STATE_STARTED, 0);
        report(w, &m, STATE_PROGRESS, 1);
        report(w, &m, STATE_PROGRESS, 2);
        succeed(w, &m, json_true());
    } else if (bytes_is(m.task, "twice")) {
        succeed(w, &m, json_integer(1));
        end_badly(w, &m, STATE_FAILURE);
        succeed(w, &m, json_integer(2));
    } else if (bytes_is(m.task, "timed")) {
        answer(w, &m, &(struct outcome){.state = STATE_SUCCESS, .runtime = 1.5});
    } else if (bytes_is(m.task, "junk")) {
        junk(w, &m);
    } else if (bytes_is(m.task, "stray")) {
        struct message other = m;
        other.id = other.correlation_id = bytes_text("nobody's");
        succeed(w, &other, json_integer(1));
        succeed(w, &m, json_integer(2));
    } else if (!bytes_is(m.task, "drop")) {
        succeed(w, &m, first ? json_incref(first) : json_null());
    }
    message_body_done(&b);
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void message(struct fake_worker *w, struct envelope *m)
{
    struct message head_of;
    struct fault f;
    broker_ack(w->broker, m->delivery);
    ck_assert(message_read(m->props, &head_of, &f));
    w->seen++;
    struct bytes name = starmap_itemized(&head_of) ? head_of.item_task : head_of.task;
    if (bytes_is(name, "hold") && w->held_count < HELD_MAX) {
        w->held[w->held_count++] = m;
        return;
    }
    perform(w, m);
    envelope_free(m);
}

static bool turn(struct fake_worker *w, struct pollfd *p, int64_t *wake)
{
    struct broker_event ev;
    pthread_mutex_lock(&w->lock);
    broker_turn(w->broker, clock_now());
    while (broker_next(w->broker, &ev)) {
        if (ev.kind == BROKER_MESSAGE) message(w, ev.message);
        if (ev.kind == BROKER_CONSUMING) w->ready = true;
    }
    while (w->release && w->held_count > 0) {
        struct envelope *m = w->held[--w->held_count];
        perform(w, m);
        envelope_free(m);
    }
    broker_turn(w->broker, clock_now());
    broker_poll(w->broker, p, wake);
    pthread_cond_broadcast(&w->changed);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return !stop;
}

static void *run(void *ctx)
{
    struct fake_worker *w = ctx;
    struct pollfd p[2] = {{.fd = w->bell, .events = POLLIN}};
    for (;;) {
        int64_t wake = CLOCK_NEVER;
        uint64_t rings;
        p[1] = (struct pollfd){.fd = -1};
        if (!turn(w, &p[1], &wake)) return NULL;
        poll(p, 2, clock_poll_ms(wake, clock_now()));
        if (p[0].revents & POLLIN) ck_assert(read(w->bell, &rings, sizeof rings) > 0);
    }
}

struct fake_worker *fake_worker_start(const char *url, const char *queue)
{
    struct fake_worker *w = calloc(1, sizeof *w);
    struct url u;
    struct ctask_error e;
    ck_assert_int_eq(url_parse(url, &u, &e), CTASK_OK);
    struct broker_config cfg = {.url = &u,
                                .name = "fake worker",
                                .window = 1000000,
                                .window_bytes = (size_t)1 << 30,
                                .body_max = 16u << 20};
    snprintf(w->queue, sizeof w->queue, "%s", queue);
    w->broker = broker_new(&cfg);
    w->bell = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    ck_assert_int_eq(broker_queue(w->broker, queue, QUEUE_TASK), CTASK_OK);
    ck_assert_int_eq(broker_consume(w->broker, queue, 1000), CTASK_OK);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, run, w), 0);
    pthread_mutex_lock(&w->lock);
    while (!w->ready) pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return w;
}

static void ring(struct fake_worker *w)
{
    uint64_t one = 1;
    ck_assert(write(w->bell, &one, sizeof one) == sizeof one);
}

void fake_worker_release(struct fake_worker *w, size_t n)
{
    pthread_mutex_lock(&w->lock);
    while (w->held_count < n) pthread_cond_wait(&w->changed, &w->lock);
    w->release = true;
    ring(w);
    while (w->held_count > 0) pthread_cond_wait(&w->changed, &w->lock);
    w->release = false;
    pthread_mutex_unlock(&w->lock);
}

size_t fake_worker_seen(struct fake_worker *w)
{
    pthread_mutex_lock(&w->lock);
    size_t seen = w->seen;
    pthread_mutex_unlock(&w->lock);
    return seen;
}

static void drop_queue(struct fake_worker *w)
{
    int64_t deadline = clock_now() + 5 * CLOCK_SECOND;
    struct broker_event ev;
    broker_delete_queue(w->broker, w->queue);
    broker_close(w->broker);
    while (broker_state(w->broker) == BROKER_IS_UP && clock_now() < deadline) {
        struct pollfd p = {.fd = -1};
        int64_t wake = deadline;
        broker_turn(w->broker, clock_now());
        while (broker_next(w->broker, &ev))
            if (ev.kind == BROKER_MESSAGE) envelope_free(ev.message);
        broker_poll(w->broker, &p, &wake);
        if (broker_state(w->broker) == BROKER_IS_UP) poll(&p, 1, 100);
    }
}

void fake_worker_stop(struct fake_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    ring(w);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    drop_queue(w);
    broker_free(w->broker);
    while (w->held_count > 0) envelope_free(w->held[--w->held_count]);
    close(w->bell);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
