/* fuzz_args.c - a task's body, as anybody can send it, to functions with parameters of every type:
 * the child answers with one DONE frame whatever it is. The first byte chooses the task. */
#include "fuzz.h"

#include "task/run.h"
#include "wire/message.h"

#include <ctask/task.h>
#include <stdio.h>
#include <string.h>

static int64_t whole(int64_t a, int32_t b, uint64_t c, uint8_t d)
{
    return a ^ b ^ (int64_t)c ^ d;
}
CTASK_FN(int64_t, whole, (int64_t, a), (int32_t, b), (uint64_t, c), (uint8_t, d));

static double half(double a, float b, bool c)
{
    return c ? a : (double)b;
}
CTASK_FN(double, half, (double, a), (float, b), (bool, c));

static const char *said(const char *a)
{
    return a;
}
CTASK_FN(const char *, said, (const char *, a));

static json_t *same(json_t *a)
{
    return a; /* the reference that it was given */
}
CTASK_FN(json_t *, same, (json_t *, a));

static ctask_outcome optional(struct ctask_call *t)
{
    const char *path = "none";
    int64_t width = 640;
    bool crop = false;
    if (!task_args(t, &path, &width, &crop)) return ctask_failed(t);
    if (width < 0) return task_fail(t, "ValueError", "%s is %" PRId64 " wide", path, width);
    if (crop) return task_retry(t, (double)width);
    return task_return(t, path);
}

CTASK_APP(fuzz, {TASK(whole)}, {TASK(half)}, {TASK(said)}, {TASK(same)},
          {TASK_CALL(optional), .params = "path, width=640, crop=false"});

/* The properties of a message for task number n that wants a result. */
static struct bytes props_for(const struct ctask_app *app, unsigned n)
{
    static struct buf props;
    buf_clear(&props);
    must(message_write(&(struct send){.task = app->tasks[n].name,
                                      .id = "e5d4c2a0-0000-4000-8000-000000000001",
                                      .reply_to = "ctask.reply.fuzz",
                                      .origin = "gen1@fuzz"},
                       &props));
    return buf_bytes(&props);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct registry registry;
    static struct line up; /* its tasks send nothing */
    const struct ctask_app *app = ctask_app_fuzz();
    struct buf out = {0};
    struct bytes payload;
    enum child_frame_type type;
    struct done d;
    const struct ctask_task *task;
    if (size == 0) return 0;
    if (registry.count == 0) must(registry_add(&registry, app, NULL) == CTASK_OK);
    struct job j = {.queue = bytes_text("ctask"),
                    .props = props_for(app, data[0] % app->count),
                    .body = bytes_of(data + 1, size - 1)};
    must(task_run(&registry, &up, &j, &out, &task));
    must(child_frame_next(buf_bytes(&out), 0, &type, &payload) == 1 && type == CHILD_DONE);
    must(done_read(payload, 0, &d));
    must(d.state == DONE_SUCCESS || d.state == DONE_RETRY || d.fault.type[0]);
    must(d.posted.n > 0); /* its caller hears of it */
    buf_done(&out);
    return 0;
}
