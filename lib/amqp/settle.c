/* settle.c - see settle.h. Marks are a queue sorted by tag, since tags only grow: a long task at
 * the front keeps its mark, those behind it go as they settle and are squeezed out in time, so what
 * is held is at most twice what is unsettled. */
#include "amqp/settle.h"
#include "amqp/frame.h"

#include <stdlib.h>

void settle_done(struct settle *s)
{
    free(s->marks);
    *s = (struct settle){.generation = s->generation};
}

void settle_begin(struct settle *s, uint32_t generation)
{
    s->first = s->end = s->acked = s->gone = 0;
    s->generation = generation;
}

static struct mark *mark_find(const struct settle *s, struct delivery d)
{
    if (d.generation != s->generation || s->first == s->end) return NULL;
    size_t low = s->first, high = s->end;
    uint64_t ahead = d.tag - s->marks[low].tag; /* its place if none is missing before it */
    if (ahead < high - low && s->marks[low + ahead].tag == d.tag) return &s->marks[low + ahead];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->marks[middle].tag < d.tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->end && s->marks[low].tag == d.tag ? &s->marks[low] : NULL;
}

/* Drops the marks that are gone: always at the front, in the middle when they are the most. */
static void marks_squeeze(struct settle *s)
{
    while (s->first < s->end && s->marks[s->first].state == MARK_GONE) {
        s->first++;
        s->gone--;
    }
    if (s->first > 0 && s->first == s->end) s->first = s->end = 0;
    if (s->gone <= (s->end - s->first) / 2) return;
    size_t to = 0;
    for (size_t i = s->first; i < s->end; i++)
        if (s->marks[i].state != MARK_GONE) s->marks[to++] = s->marks[i];
    s->first = s->gone = 0;
    s->end = to;
}

static bool marks_room(struct settle *s)
{
    if (s->end < s->cap) return true;
    if (s->first > s->cap / 2) {
        memmove(s->marks, s->marks + s->first, (s->end - s->first) * sizeof *s->marks);
        s->end -= s->first;
        s->first = 0;
        return true;
    }
    size_t cap = s->cap ? 2 * s->cap : 64;
    struct mark *marks = realloc(s->marks, cap * sizeof *marks);
    if (!marks) return false;
    s->marks = marks;
    s->cap = cap;
    return true;
}

const char *settle_add(struct settle *s, uint64_t tag)
{
    if (tag == 0 || (s->end > s->first && tag <= s->marks[s->end - 1].tag))
        return "delivery tags do not grow";
    if (!marks_room(s)) return "out of memory for a delivery";
    s->marks[s->end++] = (struct mark){tag, MARK_OPEN};
    return NULL;
}

bool settle_is_open(const struct settle *s, struct delivery d)
{
    const struct mark *m = mark_find(s, d);
    return m && m->state == MARK_OPEN;
}

bool settle_ack(struct settle *s, struct delivery d)
{
    struct mark *m = mark_find(s, d);
    if (!m || m->state != MARK_OPEN) return false;
    m->state = MARK_ACKED;
    s->acked++;
    return true;
}

bool settle_give_back(struct settle *s, struct delivery d, struct buf *out, uint16_t channel)
{
    struct mark *m = mark_find(s, d);
    if (!m || m->state != MARK_OPEN) return true;
    m->state = MARK_GONE;
    s->gone++;
    amqp_basic_nack_t nack = {.delivery_tag = d.tag, .requeue = 1};
    bool ok = frame_method(out, channel, AMQP_BASIC_NACK_METHOD, &nack);
    marks_squeeze(s);
    return ok;
}

static bool ack_write(struct buf *out, uint16_t channel, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
    return frame_method(out, channel, AMQP_BASIC_ACK_METHOD, &ack);
}

bool settle_flush(struct settle *s, struct buf *out, uint16_t channel)
{
    if (s->acked == 0) return true;
    bool ok = true;
    uint64_t last = 0;
    size_t prefix = 0, i = s->first;
    for (; i < s->end && s->marks[i].state != MARK_OPEN; i++) {
        if (s->marks[i].state != MARK_ACKED) continue;
        s->marks[i].state = MARK_GONE;
        last = s->marks[i].tag;
        prefix++;
    }
    if (prefix) ok = ack_write(out, channel, last, prefix > 1);
    for (size_t rest = s->acked - prefix; rest > 0 && ok; i++) {
        if (s->marks[i].state != MARK_ACKED) continue;
        s->marks[i].state = MARK_GONE;
        ok = ack_write(out, channel, s->marks[i].tag, false);
        rest--;
    }
    s->gone += s->acked;
    s->acked = 0;
    marks_squeeze(s);
    return ok;
}

size_t settle_count(const struct settle *s)
{
    return s->end - s->first - s->gone;
}

size_t settle_open(const struct settle *s)
{
    return settle_count(s) - s->acked;
}
