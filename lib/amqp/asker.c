/* asker.c - see asker.h. */
#include "amqp/asker.h"
#include "base/clock.h"

#include <stdlib.h>

#define SLOW_AFTER CLOCK_SECOND

struct question *question_new(enum ask what, const char *name, struct queue *q)
{
    size_t n = strlen(name);
    struct question *k = calloc(1, sizeof *k + n + 1);
    if (!k) return NULL;
    memcpy(k->name, name, n + 1);
    k->what = what;
    k->queue = q;
    list_init(&k->link);
    return k;
}

void question_free(struct question *k)
{
    list_remove(&k->link);
    free(k);
}

struct asker *asker_new(uint16_t channel)
{
    struct asker *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->channel = channel;
    list_init(&a->link);
    list_init(&a->asked);
    return a;
}

void asker_free(struct asker *a)
{
    struct question *k;
    list_each(k, &a->asked, struct question, link) question_free(k);
    list_remove(&a->link);
    free(a);
}

struct question *asker_first(const struct asker *a)
{
    return list_empty(&a->asked) ? NULL : list_first(&a->asked, struct question, link);
}

bool asker_holds_up(const struct asker *a)
{
    const struct question *first = asker_first(a), *k;
    list_each(k, &a->asked, struct question, link)
        if (k->queue && k->queue != first->queue) return true;
    return false;
}

int64_t asker_slow_at(const struct asker *a)
{
    const struct question *k = asker_first(a);
    return k ? k->asked_at + SLOW_AFTER : CLOCK_NEVER;
}

bool asker_slow(const struct asker *a, int64_t now)
{
    return now >= asker_slow_at(a);
}

static bool asker_open(struct asker *a, struct buf *out)
{
    amqp_channel_open_t open = {0};
    if (!a->open) a->open = frame_method(out, a->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
    return a->open;
}

bool asker_ask(struct asker *a, struct question *k, amqp_method_number_t id, void *method,
               struct buf *out, int64_t now)
{
    if (!k) return false;
    if (!asker_open(a, out) || !frame_method(out, a->channel, id, method)) {
        question_free(k);
        return false;
    }
    k->asked_at = now;
    list_remove(&k->link);
    list_append(&a->asked, &k->link);
    return true;
}

bool asker_close(struct asker *a, struct buf *out)
{
    struct question *k;
    amqp_channel_close_t close = {.reply_code = AMQP_REPLY_SUCCESS};
    list_each(k, &a->asked, struct question, link) question_free(k);
    a->closing = true;
    return frame_method(out, a->channel, AMQP_CHANNEL_CLOSE_METHOD, &close);
}
