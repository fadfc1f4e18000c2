/* peer.c - see peer.h. */
#include "support/peer.h"

#include "base/clock.h"
#include "base/ids.h"
#include "base/props.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE (30 * CLOCK_SECOND)

struct peer *peer_new(const char *url, const struct broker_config *cfg)
{
    struct peer *p = calloc(1, sizeof *p);
    struct ctask_error e;
    struct broker_config c = cfg ? *cfg : (struct broker_config){.heartbeat = 10};
    ck_assert_msg(url_parse(url, &p->url, &e) == CTASK_OK, "%s", e.text);
    c.url = &p->url;
    if (!c.name) c.name = "test";
    p->b = broker_new(&c);
    ck_assert_ptr_nonnull(p->b);
    for (int i = 0; i < PEER_COOKIES; i++) p->outcome[i] = PEER_NO_OUTCOME;
    return p;
}

void peer_free(struct peer *p)
{
    while (p->count) peer_drop(p, p->count - 1);
    broker_free(p->b);
    free(p);
}

void peer_queue_name(char out[64])
{
    char id[ID_SIZE];
    id_new(id);
    snprintf(out, 64, "test.%s", id);
}

static void outcome_note(struct peer *p, const struct broker_event *ev)
{
    size_t i = (uintptr_t)ev->cookie - 1;
    ck_assert_uint_lt(i, PEER_COOKIES);
    p->outcomes++;
    if (p->outcome[i] != PEER_NO_OUTCOME) p->outcomes_twice++;
    p->outcome[i] = ev->error.code;
    if (ev->error.code) snprintf(p->why, sizeof p->why, "%s", ev->error.text);
}

static void message_note(struct peer *p, struct envelope *m)
{
    if (p->ack) {
        broker_ack(p->b, m->delivery);
        envelope_free(m);
        p->taken++;
        return;
    }
    ck_assert_uint_lt(p->count, PEER_MESSAGES);
    p->messages[p->count++] = m;
}

void peer_turn(struct peer *p, int ms)
{
    struct pollfd fd;
    struct broker_event ev;
    int64_t wake = clock_now() + ms * CLOCK_MS;
    broker_poll(p->b, &fd, &wake);
    poll(&fd, fd.fd >= 0, clock_poll_ms(wake, clock_now()));
    int64_t begun = clock_now();
    broker_turn(p->b, begun);
    int64_t took = clock_now() - begun;
    if (took > p->worst_turn) p->worst_turn = took;
    while (broker_next(p->b, &ev)) {
        p->seen[ev.kind]++;
        p->last[ev.kind] = ev;
        if (ev.kind == BROKER_MESSAGE) message_note(p, ev.message);
        if (ev.kind == BROKER_PUBLISHED) outcome_note(p, &ev);
    }
    broker_flush(p->b);
}

#define WAIT_UNTIL(p, fact)                                                                      \
    for (int64_t end_ = clock_now() + PATIENCE; !(fact); peer_turn(p, 100))                      \
    ck_assert_msg(clock_now() < end_, "waited in vain for " #fact "; last error: %s; queue: %s", \
                  broker_error((p)->b)->text, (p)->last[BROKER_QUEUE].error.text)

void peer_wait(struct peer *p, enum broker_event_kind kind, unsigned times)
{
    WAIT_UNTIL(p, p->seen[kind] >= times);
}

void peer_wait_outcomes(struct peer *p, unsigned n)
{
    WAIT_UNTIL(p, p->outcomes >= n);
}

void peer_wait_messages(struct peer *p, size_t n)
{
    WAIT_UNTIL(p, p->count >= n);
}

void peer_wait_taken(struct peer *p, size_t n)
{
    WAIT_UNTIL(p, p->taken >= n);
}

void peer_drop(struct peer *p, size_t i)
{
    envelope_free(p->messages[i]);
    p->messages[i] = p->messages[--p->count];
}

void peer_ready(struct peer *p, const char *queue)
{
    unsigned before = p->seen[BROKER_QUEUE];
    ck_assert_int_eq(broker_queue(p->b, queue, QUEUE_TASK), CTASK_OK);
    peer_wait(p, BROKER_QUEUE, before + 1);
    ck_assert_msg(p->last[BROKER_QUEUE].error.code == CTASK_OK, "%s",
                  p->last[BROKER_QUEUE].error.text);
}

int peer_publish_body(struct peer *p, const char *queue, int i, struct bytes body)
{
    char id[16];
    struct buf raw = {0};
    snprintf(id, sizeof id, "%d", i);
    struct props props = {
        .has_delivery_mode = true, .delivery_mode = 2, .correlation_id = bytes_text(id)};
    ck_assert(props_write(&raw, &props));
    int rc = broker_publish(p->b, &(struct publish){.exchange = "",
                                                    .routing_key = queue,
                                                    .props = buf_bytes(&raw),
                                                    .body = body,
                                                    .spool = -1,
                                                    .cookie = (void *)((uintptr_t)i + 1)});
    buf_done(&raw);
    return rc;
}

int peer_publish(struct peer *p, const char *queue, int i)
{
    return peer_publish_body(p, queue, i, bytes_text("[[],{},{}]"));
}

int peer_cookie(const struct envelope *m, bool *again)
{
    struct props props;
    struct field f;
    char id[16];
    ck_assert_ptr_null(props_read(m->props, &props));
    *again = table_find(props.headers, "x-ctask-again", &f) && f.i == 1;
    snprintf(id, sizeof id, "%.*s", BYTES_ARG(props.correlation_id));
    return atoi(id);
}

const char *peer_broker(void)
{
    const char *url = getenv("CTASK_TEST_BROKER");
    if (url && *url) return url;
    printf("skipped: needs a broker, set CTASK_TEST_BROKER or run ./dev test\n");
    exit(77);
}

const char *peer_plain(void)
{
    const char *url = getenv("CTASK_TEST_PLAIN");
    return url && *url ? url : peer_broker();
}

bool peer_ctl(const char *args)
{
    char command[1024];
    const char *ctl = getenv("CTASK_TEST_CTL");
    if (!ctl || !*ctl) {
        printf("left out: needs CTASK_TEST_CTL, a command that runs rabbitmqctl\n");
        return false;
    }
    snprintf(command, sizeof command, "%s %s >/dev/null", ctl, args);
    return system(command) == 0;
}
