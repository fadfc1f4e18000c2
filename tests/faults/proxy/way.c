/* way.c - see way.h. */
#include "way.h"

#include "amqp/frame.h"
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IN_MAX ((size_t)1 << 20)
#define READ_SIZE ((size_t)64 << 10)
#define PROTOCOL_SIZE 8 /* "AMQP\0\0\9\1" */

const char *const act_names[ACT_ACTS] = {"none", "hold", "drop", "double", "late", "reset-after"};

struct chunk {
    struct list link;
    int64_t due;
    bool reset_after;
    size_t n, sent;
    uint8_t bytes[];
};

void way_init(struct way *w, const char *name, unsigned connection, int from, int to)
{
    *w = (struct way){.name = name, .connection = connection, .from = from, .to = to};
    list_init(&w->chunks);
}

void way_free(struct way *w)
{
    struct chunk *c;
    list_each(c, &w->chunks, struct chunk, link) free(c);
    list_init(&w->chunks);
    free(w->late);
    buf_done(&w->in);
}

bool way_rule(struct way *w, enum act act, const char *kind, unsigned nth)
{
    for (struct rule *r = w->rules; r < w->rules + WAY_RULES; r++) {
        if (r->act != ACT_NONE) continue;
        *r = (struct rule){.act = act, .nth = nth};
        snprintf(r->kind, sizeof r->kind, "%s", kind);
        return true;
    }
    return false;
}

static void late_append(struct way *w)
{
    if (w->late) list_append(&w->chunks, &w->late->link);
    w->late = NULL;
}

void way_pass(struct way *w)
{
    memset(w->rules, 0, sizeof w->rules);
    w->pace = (struct pace){0};
    w->corrupt_at = 0;
    w->held = false;
    late_append(w);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

/* AMQP_CONNECTION_START_OK_METHOD becomes connection.start-ok. */
static void method_kind(uint32_t id, char kind[KIND_SIZE])
{
    const char *name = amqp_method_name(id);
    if (!name || strlen(name) <= strlen("AMQP__METHOD")) {
        snprintf(kind, KIND_SIZE, "%u.%u", id >> 16, id & 0xffff);
        return;
    }
    snprintf(kind, KIND_SIZE, "%.*s", (int)(strlen(name) - strlen("AMQP__METHOD")),
             name + strlen("AMQP_"));
    char *dot = strchr(kind, '_');
    for (char *at = kind; *at; at++) *at = (char)(*at == '_' ? '-' : tolower((unsigned char)*at));
    if (dot) *dot = '.';
}

static void frame_kind(const struct frame *f, char kind[KIND_SIZE])
{
    const uint8_t *p = f->payload.p;
    switch (f->type) {
    case AMQP_FRAME_METHOD:
        if (f->payload.n < 4) break;
        method_kind((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3], kind);
        return;
    case AMQP_FRAME_HEADER: snprintf(kind, KIND_SIZE, "header"); return;
    case AMQP_FRAME_BODY: snprintf(kind, KIND_SIZE, "body"); return;
    case AMQP_FRAME_HEARTBEAT: snprintf(kind, KIND_SIZE, "heartbeat"); return;
    default: break;
    }
    snprintf(kind, KIND_SIZE, "unknown");
}

/* What stands in front of in: its size, 0 if more must come. */
static size_t piece_next(struct way *w, char kind[KIND_SIZE], struct frame *f)
{
    static const char protocol[] = "AMQP";
    struct bytes in = buf_bytes(&w->in);
    size_t compared = in.n < 4 ? in.n : 4;
    *f = (struct frame){0};
    if (w->raw) {
        snprintf(kind, KIND_SIZE, "bytes");
        return in.n;
    }
    if (w->passed == 0 && compared > 0 && memcmp(in.p, protocol, compared) == 0) {
        snprintf(kind, KIND_SIZE, "protocol");
        return in.n < PROTOCOL_SIZE ? 0 : PROTOCOL_SIZE;
    }
    long n = frame_next(in, FRAME_MAX + FRAME_OVERHEAD, f);
    if (n < 0) {
        w->raw = true;
        return piece_next(w, kind, f);
    }
    if (n > 0) frame_kind(f, kind);
    return (size_t)n;
}

/* Clients tell their connection's name in start-ok's table: a short string key, 'S', a long one. */
static void name_find(struct way *w, struct bytes payload)
{
    static const char key[] = "connection_name"
                              "S";
    const uint8_t *at = memmem(payload.p, payload.n, key, sizeof key - 1);
    if (!at || at + sizeof key + 3 > payload.p + payload.n) return;
    at += sizeof key - 1;
    size_t n = (size_t)at[2] << 8 | at[3], left = (size_t)(payload.p + payload.n - at) - 4;
    if (n > left || n >= sizeof w->peer) return;
    memcpy(w->peer, at + 4, n);
    w->peer[n] = '\0';
    printf("%u name %s\n", w->connection, w->peer);
}

/* ---- Through the rules ----------------------------------------------------------------------- */

static enum act act_for(struct way *w, const char *kind)
{
    enum act act = ACT_NONE;
    for (struct rule *r = w->rules; r < w->rules + WAY_RULES; r++) {
        if (r->act == ACT_NONE || (strcmp(r->kind, kind) != 0 && strcmp(r->kind, "any") != 0))
            continue;
        r->seen++;
        if (act == ACT_NONE && (r->nth == 0 || r->nth == r->seen)) act = r->act;
    }
    if (act != ACT_NONE) printf("%u %s %s %s\n", w->connection, w->name, act_names[act], kind);
    return act;
}

static struct chunk *chunk_new(struct way *w, size_t n, int64_t now)
{
    struct chunk *c = malloc(sizeof *c + n);
    if (!c) abort();
    *c = (struct chunk){.n = n, .due = now + w->pace.delay_ms * CLOCK_MS};
    memcpy(c->bytes, buf_head(&w->in), n);
    if (w->corrupt_at > w->passed && w->corrupt_at <= w->passed + n) {
        c->bytes[w->corrupt_at - w->passed - 1] ^= 0xff;
        printf("%u %s corrupt %llu\n", w->connection, w->name, (unsigned long long)w->corrupt_at);
    }
    return c;
}

/* False: nothing more may pass now. */
static bool piece_pass(struct way *w, size_t n, const char *kind, const struct frame *f,
                       int64_t now)
{
    enum act act = act_for(w, kind);
    if (act == ACT_HOLD) {
        w->held = true;
        return false;
    }
    if (w->trace) printf("%u %s frame %s %zu\n", w->connection, w->name, kind, n);
    if (strcmp(kind, "connection.start-ok") == 0) name_find(w, f->payload);
    for (int copies = act == ACT_DROP ? 0 : act == ACT_DOUBLE ? 2 : 1; copies > 0; copies--) {
        struct chunk *c = chunk_new(w, n, now);
        c->reset_after = act == ACT_RESET_AFTER;
        if (act == ACT_LATE && !w->late) {
            w->late = c;
            break;
        }
        list_append(&w->chunks, &c->link);
        late_append(w);
    }
    w->passed += n;
    buf_consume(&w->in, n);
    w->held = act == ACT_RESET_AFTER;
    return !w->held;
}

bool way_takes(const struct way *w)
{
    return !w->eof && !w->pace.black && w->in.len < IN_MAX;
}

enum way_end way_read(struct way *w, int64_t now)
{
    char kind[KIND_SIZE];
    struct frame f;
    if (way_takes(w)) {
        uint8_t *at = buf_room(&w->in, READ_SIZE);
        if (!at) abort();
        ssize_t n = recv(w->from, at, READ_SIZE, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return WAY_BROKEN;
        if (n == 0) w->eof = true;
        if (n > 0) buf_added(&w->in, (size_t)n);
    }
    size_t n;
    while (!w->held && !w->pace.black && w->in.len > 0 && (n = piece_next(w, kind, &f)) > 0)
        if (!piece_pass(w, n, kind, &f, now)) break;
    return WAY_GOES_ON;
}

/* ---- Out ------------------------------------------------------------------------------------- */

static int64_t due_at(const struct way *w)
{
    const struct chunk *c = list_first(&w->chunks, struct chunk, link);
    return c->due > w->next_at ? c->due : w->next_at;
}

bool way_sends(const struct way *w, int64_t now, int64_t *wake)
{
    if (w->done || w->pace.black) return false;
    if (list_empty(&w->chunks)) return w->eof && !w->held;
    int64_t at = due_at(w);
    if (at <= now) return true;
    if (at < *wake) *wake = at;
    return false;
}

/* What was slept too long, in a poll of whole milliseconds, is made good. */
static void rate_pay(struct way *w, int64_t n, int64_t now)
{
    if (!w->pace.rate) return;
    int64_t since = now - 20 * CLOCK_MS;
    if (w->next_at < since) w->next_at = since;
    w->next_at += n * CLOCK_SECOND / (int64_t)w->pace.rate;
}

enum way_end way_write(struct way *w, int64_t now)
{
    int64_t never = CLOCK_NEVER;
    while (way_sends(w, now, &never)) {
        if (list_empty(&w->chunks)) { /* the peer sees the end as we did */
            shutdown(w->to, SHUT_WR);
            w->done = true;
            break;
        }
        struct chunk *c = list_first(&w->chunks, struct chunk, link);
        size_t n = c->n - c->sent, most = n;
        if (w->pace.split && most > w->pace.split) most = w->pace.split;
        if (w->pace.rate && most > 1 + w->pace.rate / 50) most = 1 + w->pace.rate / 50;
        ssize_t put = send(w->to, c->bytes + c->sent, most, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (put < 0) return WAY_BROKEN;
        c->sent += (size_t)put;
        rate_pay(w, (int64_t)put, now);
        if (c->sent < c->n) continue;
        bool reset = c->reset_after;
        list_remove(&c->link);
        free(c);
        if (reset) return WAY_RESET;
    }
    return WAY_GOES_ON;
}
