/* sample.c - the captured messages, and copies of them with other ids. */
#include "sample.h"

#include "base/props.h"

#include <stdio.h>
#include <stdlib.h>

#define DIGITS (ID_SIZE - ID_PREFIX)

/* ---- The file: four times a length and so many bytes ----------------------------------------- */

static void part_write(FILE *f, const struct buf *b)
{
    uint64_t n = b->len;
    if (fwrite(&n, sizeof n, 1, f) != 1 || fwrite(buf_head(b), 1, b->len, f) != b->len)
        die("the bytes could not be kept");
}

static void part_read(FILE *f, struct buf *b)
{
    uint64_t n;
    uint8_t *p = NULL;
    if (fread(&n, sizeof n, 1, f) == 1) p = buf_room(b, n);
    if (!p || fread(p, 1, n, f) != n) die("the captured bytes are cut short");
    buf_added(b, n);
}

void sample_write(const struct sample *s, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) die("%s cannot be written", path);
    part_write(f, &s->task.props);
    part_write(f, &s->task.body);
    part_write(f, &s->result.props);
    part_write(f, &s->result.body);
    if (fclose(f) != 0) die("%s cannot be written", path);
}

void sample_read(struct sample *s, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) die("%s cannot be read", path);
    part_read(f, &s->task.props);
    part_read(f, &s->task.body);
    part_read(f, &s->result.props);
    part_read(f, &s->result.body);
    fclose(f);
    sample_look(s);
}

static size_t offset(struct bytes inner, const struct buf *outer)
{
    return (size_t)(inner.p - buf_head(outer));
}

void sample_look(struct sample *s)
{
    struct props p;
    const char *wrong = props_read(buf_bytes(&s->task.props), &p);
    if (wrong) die("the task's properties: %s", wrong);
    if (p.correlation_id.n != ID_SIZE || p.reply_to.n == 0)
        die("the task has no id of %d bytes or no reply address", ID_SIZE);
    memcpy(s->id, p.correlation_id.p, ID_SIZE);
    memcpy(s->reply_to, p.reply_to.p, p.reply_to.n);
    s->task_id_at = offset(p.correlation_id, &s->task.props);
    if (s->result.props.len == 0) return;
    wrong = props_read(buf_bytes(&s->result.props), &p);
    if (wrong) die("the result's properties: %s", wrong);
    if (p.correlation_id.n != ID_SIZE || memcmp(p.correlation_id.p, s->id, ID_SIZE) != 0)
        die("the result is another task's");
    s->result_id_at = offset(p.correlation_id, &s->result.props);
}

/* The delivery mode is the byte that makes a difference of one when it is left out; it is found by
 * writing the properties again, which gives the same bytes but for it. */
void message_transient(struct message *m)
{
    struct props p;
    struct buf out = {0};
    if (props_read(buf_bytes(&m->props), &p)) die("unsound properties");
    p.delivery_mode = 1;
    if (!props_write(&out, &p) || out.len != m->props.len) die("other properties than expected");
    buf_done(&m->props);
    m->props = out;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static void places_find(struct template *t, const char *id)
{
    const uint8_t *at = t->bytes, *end = t->bytes + t->size;
    while ((at = memmem(at, (size_t)(end - at), id, ID_SIZE))) {
        if (t->places == PLACES_MAX) die("the id is in too many places");
        t->place[t->places++] = (size_t)(at - t->bytes) + ID_PREFIX;
        at += ID_SIZE;
    }
    if (t->places == 0) die("the id is nowhere");
}

void template_make(struct template *t, const char *routing_key, bool mandatory,
                   const struct message *m, const char *id)
{
    struct buf b = {0};
    amqp_basic_publish_t publish = {.routing_key = amqp_text(routing_key), .mandatory = mandatory};
    bool ok = frame_method(&b, CHANNEL_OUT, AMQP_BASIC_PUBLISH_METHOD, &publish) &&
              frame_header(&b, CHANNEL_OUT, m->body.len, buf_bytes(&m->props));
    for (size_t at = 0; ok && at < m->body.len;) {
        size_t n = m->body.len - at;
        if (n > FRAME_MAX - FRAME_OVERHEAD) n = FRAME_MAX - FRAME_OVERHEAD;
        uint8_t *p = frame_room(&b, n);
        if (!p) die("out of memory");
        memcpy(p, buf_head(&m->body) + at, n);
        frame_seal(&b, AMQP_FRAME_BODY, CHANNEL_OUT, n);
        at += n;
    }
    *t = (struct template){.bytes = malloc(b.len), .size = b.len};
    if (!ok || !t->bytes) die("out of memory");
    memcpy(t->bytes, buf_head(&b), b.len);
    buf_done(&b);
    places_find(t, id);
}

void template_put(const struct template *t, struct wire *w, uint64_t number)
{
    char text[DIGITS];
    for (int i = DIGITS - 1; i >= 0; i--, number >>= 4) text[i] = "0123456789abcdef"[number & 15];
    uint8_t *p = wire_room(w, t->size);
    memcpy(p, t->bytes, t->size);
    for (size_t i = 0; i < t->places; i++) memcpy(p + t->place[i], text, DIGITS);
    wire_added(w, t->size);
}
