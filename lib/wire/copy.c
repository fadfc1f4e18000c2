/* copy.c - a message published again: retries, second tries, dead letters. See message.h. Entries
 * are kept as bytes, since decoding and encoding a table could change what it means to others. */
#include "wire/message.h"

#include "base/clock.h"
#include "wire/date.h"

#include <string.h>

static bool is_one_of(struct bytes key, const char *const *names)
{
    for (; *names; names++)
        if (bytes_is(key, *names)) return true;
    return false;
}

/* What the broker wrote or obeys: with it a copy would be dropped, doubled or refused. */
static bool is_brokers(struct bytes key)
{
    static const char *const names[] = {
        "x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC", NULL};
    return is_one_of(key, names) || bytes_begins(key, "x-first-death-") ||
           bytes_begins(key, "x-last-death-");
}

/* What makes it a task for any worker. */
static bool is_essential(struct bytes key)
{
    static const char *const names[] = {
        "lang",    "task",    "id",        "root_id",     "group",         "parent_id", "eta",
        "expires", "retries", "timelimit", "group_index", "ignore_result", NULL};
    return is_one_of(key, names) || bytes_begins(key, "x-ctask-");
}

static bool table_has(struct bytes table, struct bytes key)
{
    struct field f;
    while (table_next(&table, &f))
        if (bytes_equal(f.key, key)) return true;
    return false;
}

/* ---- What the copy says itself --------------------------------------------------------------- */

static void retry_append(const struct message *m, const struct copy *c, struct buf *out)
{
    char date[DATE_SIZE];
    table_put_int(out, "retries", (int32_t)m->retries + 1);
    if (c->eta != 0)
        table_put_text(out, "eta", bytes_text(date_write(c->eta, date)));
    else
        table_put_null(out, "eta");
    if (m->parent_id.n == 0 && m->id.n > 0) table_put_text(out, "parent_id", m->id);
}

static void death_append(const struct death *d, struct buf *out)
{
    if (d->signal)
        table_put_int(out, "x-ctask-dead-signal", d->signal);
    else
        table_put_int(out, "x-ctask-dead-exit", d->status);
    table_put_int(out, "x-ctask-dead-attempts", (int32_t)d->attempts);
    table_put_int(out, "x-ctask-dead-rss",
                  d->peak_kib < INT32_MAX ? (int32_t)d->peak_kib : INT32_MAX);
    if (d->output.n > 0) table_put_text(out, "x-ctask-dead-stderr", d->output);
}

static void dead_append(const struct copy *c, struct buf *out)
{
    char date[DATE_SIZE];
    table_put_text(out, "x-ctask-dead-type", bytes_text(c->dead->type));
    table_put_text(out, "x-ctask-dead-reason", bytes_text(c->dead->text));
    table_put_text(out, "x-ctask-dead-at", bytes_text(date_write(clock_wall(), date)));
    table_put_text(out, "x-ctask-dead-by", bytes_text(c->dead_by));
    table_put_text(out, "x-ctask-dead-queue", bytes_text(c->dead_queue));
    if (c->body_dropped) table_put_bool(out, "x-ctask-body-dropped", true);
    if (c->death) death_append(c->death, out);
}

static void changes_append(const struct message *m, const struct copy *c, struct buf *out)
{
    /* An attempt that ends in a retry did end: the count starts anew, the doubt stays. */
    bool counted = c->retry && m->attempt > 0;
    if (c->again || counted) table_put_bool(out, "x-ctask-again", true);
    if (c->attempt > 0 || counted) table_put_int(out, "x-ctask-attempt", (int32_t)c->attempt);
    bool crashed = c->retry && m->crashes > 0;
    if (c->crashes > 0 || crashed) table_put_int(out, "x-ctask-crashes", (int32_t)c->crashes);
    if (c->unknown > 0) table_put_int(out, "x-ctask-unknown", (int32_t)c->unknown);
    if (c->id) table_put_text(out, "id", bytes_text(c->id));
    if (c->task) table_put_text(out, "task", bytes_text(c->task));
    if (c->retry) retry_append(m, c, out);
    if (c->dead) dead_append(c, out);
    if (m->props.user_id.n > 0) table_put_text(out, "x-ctask-user", m->props.user_id);
}

/* ---- What it keeps --------------------------------------------------------------------------- */

/* Less of it each time: without a sender's own headers; without the output of what died; without
 * any old header; without most of the properties. */
enum keep { ALL, ESSENTIAL, SILENT, NONE, BARE };

/* Old entries, less what `changes` replaces, then changes. An item is no map any more. */
static void table_merge(struct bytes old, struct bytes changes, enum keep keep, bool item,
                        struct buf *out)
{
    struct field f;
    while (keep < NONE && table_next(&old, &f)) {
        if (is_brokers(f.key) || table_has(changes, f.key)) continue;
        if (item && bytes_is(f.key, "x-ctask-map")) continue;
        if (keep == ALL || is_essential(f.key)) buf_bytes_append(out, f.entry);
    }
    buf_bytes_append(out, changes);
}

/* The properties with these headers. */
static bool props_with(const struct props *old, const struct copy *c, struct bytes headers,
                       enum keep keep, struct buf *out)
{
    struct props p = *old;
    if (keep == BARE)
        p = (struct props){.content_type = old->content_type,
                           .content_encoding = old->content_encoding,
                           .correlation_id = old->correlation_id};
    p.has_headers = true;
    p.headers = headers;
    p.has_delivery_mode = true;
    p.delivery_mode = 2;
    p.expiration = p.user_id = bytes_of(NULL, 0);
    if (c->id) p.correlation_id = bytes_text(c->id);
    return props_write(out, &p);
}

/* The changes without the output of what died, which a dead letter needs least. */
static void silence(const struct message *m, const struct copy *c, struct buf *changes)
{
    struct copy slim = *c;
    struct death death;
    if (c->death) {
        death = *c->death;
        death.output = bytes_of(NULL, 0);
        slim.death = &death;
    }
    buf_clear(changes);
    changes_append(m, &slim, changes);
}

bool message_copy(struct bytes props, const struct copy *c, struct buf *out)
{
    struct message m = message_peek(props);
    struct buf changes = {0}, table = {0};
    struct props p;
    changes_append(&m, c, &changes);

    /* Within the limits of table.h the next worker can read it, and within `most` it fits one frame
     * of this broker. Headers that were beyond them already are not in p. */
    bool dropped = props_read(props, &p) && p.headers.n == 0, ok = true;
    size_t start = out->len, most = c->most ? c->most : SIZE_MAX;
    for (enum keep keep = ALL; keep <= BARE; keep++) {
        if (keep != ALL) dropped = true;
        if (keep == SILENT) silence(&m, c, &changes);
        buf_clear(&table);
        table_merge(p.headers, buf_bytes(&changes), keep, c->task != NULL, &table);
        if (dropped) table_put_bool(&table, "x-ctask-headers-dropped", true);
        if (keep < NONE && table_check(buf_bytes(&table))) continue;
        out->len = start;
        ok = !changes.failed && !table.failed && props_with(&p, c, buf_bytes(&table), keep, out);
        if (!ok || out->len - start <= most) break;
    }
    buf_done(&changes);
    buf_done(&table);
    return ok;
}
