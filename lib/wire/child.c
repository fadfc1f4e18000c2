/* child.c - see child.h. Writers and readers stand side by side, in the same order of fields. */
#include "wire/child.h"

#include "wire/message.h"
#include "wire/outcome.h"
#include "wire/text.h"

#include <assert.h>
#include <math.h>

#define SHORT_MAX 255 /* AMQP short strings: names of queues, exchanges and keys */

/* ---- Frames ---------------------------------------------------------------------------------- */

size_t child_frame_size(const uint8_t header[CHILD_HEADER])
{
    size_t n = bytes_be32(header);
    return n > CHILD_FRAME_MAX - CHILD_HEADER ? 0 : CHILD_HEADER + n;
}

uint64_t child_frame_nonce(const uint8_t header[CHILD_HEADER])
{
    return bytes_be64(header + 5);
}

int child_frame_next(struct bytes stream, uint64_t nonce, enum child_frame_type *type,
                     struct bytes *payload)
{
    if (stream.n < CHILD_HEADER) return 0;
    size_t size = child_frame_size(stream.p);
    uint8_t t = stream.p[4];
    if (size == 0 || t < CHILD_JOB || t > CHILD_RESUME) return -1;
    if (child_frame_nonce(stream.p) != nonce) return -1;
    if (stream.n < size) return 0;
    *type = (enum child_frame_type)t;
    *payload = bytes_of(stream.p + CHILD_HEADER, size - CHILD_HEADER);
    return 1;
}

static void header_stamp(uint8_t header[CHILD_HEADER], uint64_t nonce)
{
    bytes_put_be64(header + 5, nonce);
}

void child_frames_stamp(struct buf *frames, uint64_t nonce)
{
    for (size_t at = 0; at < frames->len; at += child_frame_size(buf_head(frames) + at))
        header_stamp(buf_head(frames) + at, nonce);
}

/* Returns where the frame starts, for frame_end. */
static size_t frame_begin(struct buf *out, enum child_frame_type type)
{
    size_t start = out->len;
    buf_u32(out, 0);
    buf_u8(out, (uint8_t)type);
    buf_u64(out, 0);
    return start;
}

/* Sets the length; without memory for all of it, or over the limit, the frame is taken back. */
static bool frame_end(struct buf *out, size_t start)
{
    if (out->failed || out->len - start > CHILD_FRAME_MAX) {
        out->len = start;
        return false;
    }
    bytes_put_be32(buf_head(out) + start, (uint32_t)(out->len - start - CHILD_HEADER));
    return true;
}

/* ---- Fields ---------------------------------------------------------------------------------- */

/* What is left to read. The first field that does not fit fails all that follow. */
struct reader {
    struct bytes rest;
    bool failed;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    static const uint8_t nothing[8];
    if (r->failed || r->rest.n < n) {
        r->failed = true;
        return nothing;
    }
    const uint8_t *p = r->rest.p;
    r->rest = bytes_rest(r->rest, n);
    return p;
}

static uint8_t take_u8(struct reader *r)
{
    return *take(r, 1);
}

static void put_bytes(struct buf *out, struct bytes s)
{
    if (s.n > CHILD_FRAME_MAX)
        out->failed = true;
    else if (buf_u32(out, (uint32_t)s.n))
        buf_bytes_append(out, s);
}

static struct bytes take_bytes(struct reader *r, size_t max)
{
    size_t n = bytes_be32(take(r, 4));
    if (n > max) r->failed = true;
    const uint8_t *p = take(r, n);
    return r->failed ? bytes_of(NULL, 0) : bytes_of(p, n);
}

static void put_double(struct buf *out, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    buf_u64(out, bits);
}

static double take_double(struct reader *r)
{
    const uint8_t *p = take(r, 8);
    uint64_t bits = bytes_be64(p);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void put_fault(struct buf *out, const struct fault *f)
{
    put_bytes(out, bytes_text(f->type));
    put_bytes(out, bytes_text(f->text));
}

static void take_fault(struct reader *r, struct fault *f)
{
    text_copy(f->type, sizeof f->type, take_bytes(r, sizeof f->type - 1));
    text_copy(f->text, sizeof f->text, take_bytes(r, sizeof f->text - 1));
}

/* All was read, and nothing is left. */
static bool reader_end(const struct reader *r)
{
    return !r->failed && r->rest.n == 0;
}

/* ---- JOB and BURY ---------------------------------------------------------------------------- */

bool job_write(struct buf *out, enum child_frame_type type, const struct job *j)
{
    assert(type == CHILD_JOB || type == CHILD_BURY);
    size_t start = frame_begin(out, type);
    buf_u8(out, j->redelivered);
    put_bytes(out, j->queue);
    put_bytes(out, j->props);
    put_bytes(out, j->body);
    put_bytes(out, bytes_text(j->state));
    put_fault(out, &j->fault);
    if (!frame_end(out, start)) return false;
    header_stamp(buf_head(out) + start, j->nonce);
    return true;
}

/* The constant that says the same, NULL for "". */
static const char *take_state(struct reader *r)
{
    static const char *const states[] = {STATE_STARTED, STATE_RETRY,   STATE_SUCCESS,
                                         STATE_FAILURE, STATE_REVOKED, STATE_PROGRESS};
    struct bytes s = take_bytes(r, SHORT_MAX);
    if (s.n == 0) return NULL;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (bytes_is(s, states[i])) return states[i];
    r->failed = true;
    return NULL;
}

bool job_read(struct bytes payload, struct job *j)
{
    struct reader r = {.rest = payload};
    *j = (struct job){0};
    j->redelivered = take_u8(&r) != 0;
    j->queue = take_bytes(&r, SHORT_MAX);
    j->props = take_bytes(&r, CHILD_FRAME_MAX);
    j->body = take_bytes(&r, CHILD_FRAME_MAX);
    j->state = take_state(&r);
    take_fault(&r, &j->fault);
    return reader_end(&r);
}

/* ---- Messages to publish --------------------------------------------------------------------- */

static void put_posted(struct buf *out, const struct posted *p)
{
    buf_u8(out, (uint8_t)p->kind);
    put_bytes(out, p->exchange);
    put_bytes(out, p->routing_key);
    put_bytes(out, p->ensure);
    put_bytes(out, p->props);
    put_bytes(out, p->body);
    buf_u32(out, p->delay);
}

static void take_posted(struct reader *r, struct posted *p)
{
    uint8_t kind = take_u8(r);
    if (kind < POSTED_RESULT || kind > POSTED_PART) r->failed = true;
    p->kind = (enum posted_kind)kind;
    p->exchange = take_bytes(r, SHORT_MAX);
    p->routing_key = take_bytes(r, SHORT_MAX);
    p->ensure = take_bytes(r, SHORT_MAX);
    p->props = take_bytes(r, CHILD_FRAME_MAX);
    p->body = take_bytes(r, CHILD_FRAME_MAX);
    p->delay = bytes_be32(take(r, 4));
    if (p->delay > (kind == POSTED_RESULT ? 0 : MESSAGE_DELAY_MAX)) r->failed = true;
}

bool publish_write(struct buf *out, const struct posted *p)
{
    size_t start = frame_begin(out, CHILD_PUBLISH);
    put_posted(out, p);
    return frame_end(out, start);
}

bool publish_read(struct bytes payload, struct posted *p)
{
    struct reader r = {.rest = payload};
    take_posted(&r, p);
    return reader_end(&r);
}

bool leave_write(struct buf *out, const char *why)
{
    size_t start = frame_begin(out, CHILD_LEAVE);
    buf_bytes_append(out, bytes_text(why));
    return frame_end(out, start);
}

bool bare_frame_write(struct buf *out, enum child_frame_type type)
{
    return frame_end(out, frame_begin(out, type));
}

bool posted_append(struct buf *posted, const struct posted *p)
{
    size_t start = posted->len;
    put_posted(posted, p);
    if (posted->failed) posted->len = start;
    return !posted->failed;
}

int posted_next(struct bytes *rest, struct posted *p)
{
    if (rest->n == 0) return 0;
    struct reader r = {.rest = *rest};
    take_posted(&r, p);
    if (r.failed) return -1;
    *rest = r.rest;
    return 1;
}

/* ---- DONE ------------------------------------------------------------------------------------ */

bool done_write(struct buf *out, const struct done *d)
{
    size_t start = frame_begin(out, CHILD_DONE);
    buf_u8(out, (uint8_t)d->state);
    put_double(out, d->runtime);
    put_double(out, d->cost);
    put_fault(out, &d->fault);
    buf_bytes_append(out, d->posted);
    return frame_end(out, start);
}

bool done_read(struct bytes payload, size_t body, struct done *d)
{
    struct reader r = {.rest = payload};
    *d = (struct done){0};
    uint8_t state = take_u8(&r);
    d->state = (enum done_state)state;
    d->runtime = take_double(&r);
    d->cost = take_double(&r);
    take_fault(&r, &d->fault);
    if (r.failed || state < DONE_SUCCESS || state > DONE_DEAD) return false;
    if (!isfinite(d->runtime) || d->runtime < 0 || !isfinite(d->cost) || d->cost < 0) return false;
    /* Nothing of it is published before all of it is known to be sound. */
    d->posted = r.rest;
    struct bytes rest = d->posted;
    struct posted p;
    unsigned n = 0;
    int more;
    while ((more = posted_next(&rest, &p)) > 0) n++;
    return more == 0 && n <= DONE_MESSAGES_MAX && d->posted.n <= DONE_BYTES_MAX + body;
}
