/* arguments.c - see arguments.h. */
#include "amqp/arguments.h"

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
    if (quorum && (q->kind == QUEUE_DEAD || q->kind == QUEUE_REPLY))
        entries[n++] = argument_number("x-delivery-limit", DELIVERY_LIMIT);
    if (q->kind == QUEUE_REPLY) entries[n++] = argument_number("x-expires", REPLY_EXPIRES_MS);
    return (amqp_table_t){n, entries};
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static bool plain_declare(struct asker *a, struct queue *q, struct buf *out, int64_t now)
{
    amqp_table_entry_t entries[ARGUMENTS_MAX];
    amqp_queue_declare_t declare = {
        .queue = amqp_text(q->name), .durable = 1, .arguments = queue_arguments(q, entries)};
    return asker_ask(a, question_new(ASK_QUEUE, q->name, q), AMQP_QUEUE_DECLARE_METHOD, &declare,
                     out, now);
}

/* With an exchange of its name, as Celery declares its queues. */
static bool task_queue_declare(struct asker *a, struct queue *q, struct buf *out, int64_t now)
{
    amqp_bytes_t name = amqp_text(q->name);
    amqp_exchange_declare_t exchange = {
        .exchange = name, .type = amqp_text("direct"), .durable = 1};
    amqp_queue_bind_t bind = {.queue = name, .exchange = name, .routing_key = name};
    return asker_ask(a, question_new(ASK_EXCHANGE, q->name, q), AMQP_EXCHANGE_DECLARE_METHOD,
                     &exchange, out, now) &&
           plain_declare(a, q, out, now) &&
           asker_ask(a, question_new(ASK_BIND, q->name, q), AMQP_QUEUE_BIND_METHOD, &bind, out,
                     now);
}

bool asker_declare(struct asker *a, struct queue *q, struct buf *out, int64_t now)
{
    return q->kind == QUEUE_TASK ? task_queue_declare(a, q, out, now)
                                 : plain_declare(a, q, out, now);
}

bool asker_look(struct asker *a, struct queue *q, struct buf *out, int64_t now)
{
    amqp_queue_declare_t look = {.queue = amqp_text(q->name), .passive = 1};
    return asker_ask(a, question_new(ASK_LOOK, q->name, q), AMQP_QUEUE_DECLARE_METHOD, &look, out,
                     now);
}
