/* work.c - the worker's half: tasks in over one connection, each answered over a second one; a task
 * is acknowledged when the broker has confirmed its result.
 *
 * Results leave in the order of the tasks, so the confirm of number n is the leave to acknowledge
 * delivery n, and one ack covers all up to it. It says READY when it consumes, and ends with its
 * stdin, saying DONE and how many tasks it answered. */
#include "bare.h"

#include "confirms.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

struct worker {
    const struct options *o;
    struct sample sample;
    struct template result;
    struct wire in, out;
    struct confirms confirms; /* of results */
    uint64_t taken, acked;    /* the last delivery */
};

static void tasks_take(struct worker *k)
{
    struct event ev;
    while (wire_next(&k->in, &ev) == EVENT_DELIVERY) {
        if (ev.tag != k->taken + 1) die("a delivery is missing");
        k->taken = ev.tag;
        if (k->o->no_results) continue;
        if (ev.size != k->sample.task.body.len) die("a task of another size");
        template_put(&k->result, &k->out, ev.number);
        if (!k->o->no_confirms_results) confirms_sent(&k->confirms);
    }
}

static void confirms_read(struct worker *k)
{
    struct event ev;
    while (wire_next(&k->out, &ev) == EVENT_CONFIRM)
        confirms_take(&k->confirms, ev.tag, ev.multiple);
}

/* The delivery up to which all may be acknowledged. */
static uint64_t settled(const struct worker *k)
{
    if (k->o->early_ack || k->o->no_results) return k->taken;
    if (k->o->no_confirms_results) return wire_unsent(&k->out) ? k->acked : k->taken;
    return k->confirms.confirmed;
}

static void acks_put(struct worker *k)
{
    uint64_t upto = settled(k);
    if (upto > k->acked) wire_ack(&k->in, upto);
    k->acked = upto;
}

/* False at the end of stdin. */
static bool sleep_until_something(struct worker *k)
{
    struct pollfd p[3] = {{.fd = k->in.fd, .events = POLLIN},
                          {.fd = k->out.fd, .events = POLLIN},
                          {.fd = 0, .events = POLLIN}};
    if (wire_unsent(&k->in) > 0) p[0].events |= POLLOUT;
    if (wire_unsent(&k->out) > 0) p[1].events |= POLLOUT;
    poll(p, 3, -1);
    return !p[2].revents;
}

static void run(struct worker *k)
{
    bool go = true;
    tasks_take(k); /* what came right behind the answer to consume */
    while (go) {
        if (k->o->early_ack) acks_put(k);
        wire_flush(&k->out);
        acks_put(k);
        wire_flush(&k->in);
        if (k->o->pause_us && k->taken - k->acked > LOAD) pause_us(k->o->pause_us);
        bool tasks = wire_read(&k->in), confirms = wire_read(&k->out);
        if (!tasks && !confirms) {
            go = sleep_until_something(k);
            continue;
        }
        tasks_take(k);
        confirms_read(k);
    }
}

void bare_work(const struct options *o)
{
    static struct worker it;
    struct worker *k = &it;
    k->o = o;
    sample_read(&k->sample, o->bytes);
    if (o->transient_results) message_transient(&k->sample.result);
    template_make(&k->result, k->sample.reply_to, !o->not_mandatory, &k->sample.result,
                  k->sample.id);
    wire_open(&k->out, o->url);
    if (!o->no_confirms_results) wire_confirm_select(&k->out);
    wire_open(&k->in, o->url);
    wire_declare(&k->in, o->queue, false);
    wire_consume(&k->in, o->queue, (uint16_t)o->prefetch, false, k->sample.id,
                 o->no_results ? 0 : k->sample.task_id_at);
    puts("READY");
    fflush(stdout);
    run(k);
    wire_close(&k->in);
    wire_close(&k->out);
    printf("DONE {\"answered\": %lu, \"acked\": %lu}\n", k->taken, k->acked);
}
