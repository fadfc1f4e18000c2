/* jobs.c - see jobs.h. Check forks for each test, so the state here is one test's. */
#include "support/jobs.h"

#include "wire/starmap.h"

#include <stdio.h>
#include <stdlib.h>

struct job job;
struct heard heard;

static const struct ctask_app *const *apps;
static struct registry registry;
static struct line up, parents;
static struct buf props, body, frame;

static void setup(void)
{
    struct ctask_error e;
    for (const struct ctask_app *const *app = apps; *app; app++)
        ck_assert_msg(registry_add(&registry, *app, &e) == CTASK_OK, "%s", e.text);
    ck_assert(line_pair(&parents, &up));
}

static void teardown(void)
{
    reply_done(&heard.reply);
    buf_done(&props);
    buf_done(&body);
    buf_done(&frame);
    registry_done(&registry);
    line_close(&up);
    line_close(&parents);
}

TCase *job_case(Suite *suite, const char *name, const struct ctask_app *const *these)
{
    apps = these;
    TCase *t = tcase_create(name);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    suite_add_tcase(suite, t);
    return t;
}

void job_set(const struct send *s, const char *text)
{
    buf_clear(&props);
    buf_clear(&body);
    ck_assert(message_write(s, &props) && buf_append(&body, text, strlen(text)));
    job = (struct job){
        .queue = bytes_text("q"), .props = buf_bytes(&props), .body = buf_bytes(&body)};
}

void job_for(const char *task, const char *text)
{
    job_set(&(struct send){.task = task, .id = "id-1", .reply_to = REPLY_TO}, text);
}

void hear(const struct posted *p)
{
    struct fault f;
    ck_assert_uint_eq(p->exchange.n, 0);
    if (p->kind == POSTED_COPY) {
        heard.copies++;
        heard.copy = *p;
        ck_assert(bytes_is(p->routing_key, "q"));
        ck_assert_uint_eq(p->body.n, 0);
        return;
    }
    if (p->kind == POSTED_PART) {
        ck_assert(bytes_is(p->routing_key, "q") && bytes_is(p->ensure, "q"));
        ck_assert_uint_lt(heard.parts, PARTS_HEARD);
        heard.part[heard.parts++] = *p;
        return;
    }
    ck_assert_int_eq(p->kind, POSTED_RESULT);
    ck_assert(bytes_is(p->routing_key, REPLY_TO));
    reply_done(&heard.reply);
    ck_assert_msg(reply_read(p->body, &heard.reply, &f), "%s", f.text);
    struct message answer;
    ck_assert(!message_read(p->props, &answer, &f)); /* no task */
    bool step = bytes_is(answer.correlation_id, STEP_ID);
    ck_assert(step || bytes_is(part_read(answer.correlation_id).whole, "id-1"));
    ++*(step ? &heard.steps : &heard.results);
}

static void decode(void)
{
    enum child_frame_type type;
    struct bytes payload;
    struct posted p;
    ck_assert_int_eq(child_frame_next(buf_bytes(&frame), 0, &type, &payload), 1);
    ck_assert_int_eq(type, CHILD_DONE);
    ck_assert(done_read(payload, job.body.n, &heard.done));
    heard.results = heard.copies = heard.parts = heard.steps = 0;
    struct bytes rest = heard.done.posted;
    int rc;
    while ((rc = posted_next(&rest, &p)) == 1) hear(&p);
    ck_assert_int_eq(rc, 0);
}

void run_job(void)
{
    buf_clear(&frame);
    const struct ctask_task *task;
    ck_assert(task_run(&registry, &up, &job, &frame, &task));
    decode();
}

void run(const char *task, const char *args, const char *kwargs)
{
    char text[1024];
    snprintf(text, sizeof text, "[%s, %s, {\"callbacks\": null, \"chain\": []}]", args, kwargs);
    job_for(task, text);
    run_job();
}

void run_copy(void)
{
    struct buf next = {0};
    ck_assert(buf_bytes_append(&next, heard.copy.props));
    buf_done(&props);
    props = next;
    job.props = buf_bytes(&props);
    run_job();
}

void bury(const char *state)
{
    job.state = state;
    fault_set(&job.fault, "WorkerLostError", "signal 9");
    buf_clear(&frame);
    ck_assert(task_bury(&job, &frame));
    decode();
}

void succeeds(const char *value)
{
    ck_assert_int_eq(heard.done.state, DONE_SUCCESS);
    ck_assert_uint_eq(heard.results, 1);
    ck_assert_str_eq(heard.reply.state, STATE_SUCCESS);
    char *text = json_dumps(heard.reply.result, JSON_ENCODE_ANY | JSON_COMPACT);
    ck_assert_str_eq(text, value);
    free(text);
}

void fails(enum done_state state, const char *type, const char *text)
{
    ck_assert_int_eq(heard.done.state, state);
    ck_assert_uint_eq(heard.results, 1);
    ck_assert_uint_eq(heard.copies, 0);
    ck_assert_str_eq(heard.reply.state, STATE_FAILURE);
    ck_assert_str_eq(heard.reply.fault.type, type);
    ck_assert_msg(strstr(heard.reply.fault.text, text) != NULL, "%s", heard.reply.fault.text);
    ck_assert_str_eq(heard.done.fault.type, type);
    ck_assert_str_eq(heard.done.fault.text, heard.reply.fault.text);
}

/* n more bytes of what went up. */
static void line_read(struct buf *in, size_t n)
{
    uint8_t *at = buf_room(in, n);
    while (n > 0) {
        long some = line_get(&parents, at, n);
        ck_assert_int_ge(some, 0);
        if (some == 0) ck_assert(line_wait(&parents, true, false));
        buf_added(in, (size_t)some);
        at += some;
        n -= (size_t)some;
    }
}

struct posted published(struct buf *in)
{
    enum child_frame_type type;
    struct bytes payload;
    struct posted p;
    line_read(in, CHILD_HEADER);
    line_read(in, child_frame_size(buf_head(in)) - CHILD_HEADER);
    ck_assert_int_eq(child_frame_next(buf_bytes(in), 0, &type, &payload), 1);
    ck_assert_int_eq(type, CHILD_PUBLISH);
    ck_assert(publish_read(payload, &p));
    return p;
}
