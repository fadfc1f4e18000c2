/* arguments.c - see arguments.h. */
#include "amqp/arguments.h"

#include <ctask.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REPLY_EXPIRES_MS (30 * 60 * 1000)
/* A lease queue that nobody looks after goes, and what it still holds goes with it. So it waits for
 * a week until its home is there. */
#define LEASE_EXPIRES_MS(ttl_ms) (2 * (ttl_ms) + INT64_C(7) * 24 * 3600 * 1000)

amqp_table_entry_t argument_number(const char *key, int64_t n)
{
    return (amqp_table_entry_t){amqp_text(key), {.kind = AMQP_FIELD_KIND_I64, .value.i64 = n}};
}

amqp_table_entry_t argument_text(const char *key, const char *text)
{
    return (amqp_table_entry_t){amqp_text(key),
                                {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_text(text)}};
}

bool queue_type_read(const char *text, enum queue_type *out)
{
    bool any = !text || !*text, quorum = text && strcmp(text, "quorum") == 0;
    *out = any ? QUEUE_AS_BROKER_LIKES : quorum ? QUEUE_QUORUM : QUEUE_CLASSIC;
    return any || quorum || strcmp(text, "classic") == 0;
}

/* ---- What a user asks for -------------------------------------------------------------------- */

#define NUMBER_DIGITS 18 /* so that it fits */

static amqp_bytes_t borrow(struct bytes b)
{
    return (amqp_bytes_t){b.n, (void *)(uintptr_t)b.p};
}

/* Up to the comma. */
static struct bytes word_of(const char *text)
{
    return bytes_of(text, strcspn(text, ","));
}

static bool all_of(struct bytes s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(set, s.p[i])) return false;
    return s.n > 0;
}

static amqp_field_value_t value_read(struct bytes text)
{
    bool minus = bytes_begins(text, "-"), yes = bytes_is(text, "true");
    struct bytes digits = bytes_rest(text, minus);
    if (all_of(digits, "0123456789") && digits.n <= NUMBER_DIGITS)
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64,
                                    .value.i64 = strtoll((const char *)text.p, NULL, 10)};
    if (yes || bytes_is(text, "false"))
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = yes};
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = borrow(text)};
}

/* x-NAME=VALUE. It borrows. */
static bool argument_read(struct bytes word, amqp_table_entry_t *out)
{
    const uint8_t *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
    if (!equals || !bytes_begins(word, "x-")) return false;
    struct bytes key = bytes_of(word.p, (size_t)(equals - word.p));
    out->key = borrow(key);
    out->value = value_read(bytes_rest(word, key.n + 1));
    return key.n <= NAME_MAX_BYTES &&
           all_of(bytes_rest(key, 2), "abcdefghijklmnopqrstuvwxyz0123456789-");
}

static bool key_is(const amqp_table_entry_t *e, const char *key)
{
    return bytes_is(bytes_amqp(e->key), key);
}

static CTASK_PRINTF(3, 4) bool no(char *why, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, size, fmt, ap);
    va_end(ap);
    return false;
}

/* An x-queue-type among the arguments is what --queue-type says too. */
static bool type_agree(struct bytes text, enum queue_type *type, char *why, size_t size)
{
    char word[16];
    enum queue_type asked;
    snprintf(word, sizeof word, "%.*s", BYTES_ARG(text));
    if (!*word || !queue_type_read(word, &asked))
        return no(why, size, "takes x-queue-type=classic or quorum, not \"%s\"", word);
    if (*type != QUEUE_AS_BROKER_LIKES && *type != asked)
        return no(why, size,
                  "says x-queue-type=%s, and --queue-type or CTASK_QUEUE_TYPE says otherwise: "
                  "leave one of them out",
                  word);
    *type = asked;
    return true;
}

bool queue_arguments_read(const char *text, enum queue_type *type, char *why, size_t size)
{
    amqp_table_entry_t e[ASKED_MAX];
    if (!text || !*text) return true;
    if (strlen(text) > QUEUE_ARGUMENTS_MAX)
        return no(why, size, "takes at most %d bytes", QUEUE_ARGUMENTS_MAX);
    for (int n = 0;; n++, text++) {
        struct bytes word = word_of(text);
        if (n == ASKED_MAX) return no(why, size, "takes at most %d arguments", ASKED_MAX);
        if (!argument_read(word, &e[n]))
            return no(why, size,
                      "takes x-NAME=VALUE with commas between, as x-max-priority=9, not \"%.*s\"",
                      BYTES_ARG(word));
        for (int i = 0; i < n; i++)
            if (bytes_equal(bytes_amqp(e[i].key), bytes_amqp(e[n].key)))
                return no(why, size, "names %.*s twice", BYTES_ARG(bytes_amqp(e[i].key)));
        if (key_is(&e[n], "x-expires"))
            return no(why, size,
                      "takes no x-expires, which deletes a queue together with its tasks: declare "
                      "such a queue by other means, and it is used as it is");
        if (key_is(&e[n], "x-queue-type") &&
            !type_agree(bytes_rest(word, strlen("x-queue-type=")), type, why, size))
            return false;
        text += word.n;
        if (!*text) return true;
    }
}

/* What queue_arguments_read found sound, without the type. */
static int asked_arguments(const char *text, amqp_table_entry_t entries[ASKED_MAX])
{
    int n = 0;
    while (*text && n < ASKED_MAX) {
        struct bytes word = word_of(text);
        if (argument_read(word, &entries[n]) && !key_is(&entries[n], "x-queue-type")) n++;
        text += word.n;
        text += *text == ',';
    }
    return n;
}

/* ---- What is declared ------------------------------------------------------------------------ */

/* A quorum queue whatever the type of its home: only these dead-letter at least once. A classic one
 * drops a message whose home is not there yet when the broker starts. */
static amqp_table_t lease_arguments(const struct queue *q, amqp_table_entry_t *entries)
{
    int n = 0;
    int64_t ttl = (int64_t)q->ttl * 1000;
    entries[n++] = argument_text("x-queue-type", "quorum");
    entries[n++] = argument_number("x-message-ttl", ttl);
    entries[n++] = argument_number("x-expires", LEASE_EXPIRES_MS(ttl));
    entries[n++] = argument_text("x-dead-letter-exchange", q->home_exchange);
    entries[n++] = argument_text("x-dead-letter-routing-key", q->home_key);
    entries[n++] = argument_text("x-dead-letter-strategy", "at-least-once");
    entries[n++] = argument_text("x-overflow", "reject-publish"); /* at-least-once needs it */
    return (amqp_table_t){n, entries};
}

amqp_table_t queue_arguments(const struct queue *q, amqp_table_entry_t entries[ARGUMENTS_MAX])
{
    int n = 0;
    bool quorum = q->type == QUEUE_QUORUM;
    if (q->kind == QUEUE_LEASE) return lease_arguments(q, entries);
    if (q->type != QUEUE_AS_BROKER_LIKES)
        entries[n++] = argument_text("x-queue-type", quorum ? "quorum" : "classic");
    if (q->kind == QUEUE_TASK && q->arguments) n += asked_arguments(q->arguments, entries + n);
    if (quorum && (q->kind == QUEUE_DEAD || q->kind == QUEUE_REPLY))
        entries[n++] = argument_number("x-delivery-limit", DELIVERY_LIMIT);
    if (q->kind == QUEUE_REPLY) entries[n++] = argument_number("x-expires", REPLY_EXPIRES_MS);
    return (amqp_table_t){n, entries};
}

/* ---- Asking ---------------------------------------------------------------------------------- */

bool asker_queue(struct asker *a, enum ask what, struct queue *q, struct buf *out, int64_t now)
{
    amqp_table_entry_t entries[ARGUMENTS_MAX];
    amqp_bytes_t name = amqp_text(q->name);
    amqp_queue_declare_t look = {.queue = name, .passive = 1};
    amqp_queue_declare_t declare = {
        .queue = name, .durable = 1, .arguments = queue_arguments(q, entries)};
    amqp_queue_bind_t bind = {.queue = name, .exchange = name, .routing_key = name};
    return asker_ask(a, question_new(what, q->name, q), AMQP_QUEUE_DECLARE_METHOD,
                     what == ASK_LOOK ? &look : &declare, out, now) &&
           (what != ASK_QUEUE || q->kind != QUEUE_TASK ||
            asker_ask(a, question_new(ASK_BIND, q->name, q), AMQP_QUEUE_BIND_METHOD, &bind, out,
                      now));
}

bool queue_to_compare(const struct queue *q)
{
    return q->kind == QUEUE_TASK && q->arguments && *q->arguments && !q->declared;
}
