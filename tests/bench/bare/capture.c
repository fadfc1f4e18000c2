/* capture.c - what ctask itself sends, byte by byte: a producer left one task in a queue where no
 * worker is; that task goes on to one where there is a worker, and its result is waited for in the
 * producer's stead. The producer must have ended, or it would take the result. */
#include "bare.h"

#include <stdio.h>

static uint64_t take(struct wire *w, struct message *m)
{
    struct event ev;
    w->keep_props = &m->props;
    w->keep_body = &m->body;
    do wire_await(w, &ev);
    while (ev.kind != EVENT_DELIVERY);
    wire_ack(w, ev.tag);
    return ev.tag;
}

void bare_capture(const struct options *o)
{
    static struct sample s;
    static struct template task;
    struct wire first, second;
    static const char any[ID_SIZE] = {0};
    wire_open(&first, o->url);
    wire_declare(&first, o->from, false);
    wire_consume(&first, o->from, 1, false, any, 0);
    take(&first, &s.task);
    wire_flush(&first);
    sample_look(&s);
    wire_close(&first);

    wire_open(&second, o->url);
    wire_declare(&second, s.reply_to, true);
    wire_consume(&second, s.reply_to, 1, false, any, 0);
    template_make(&task, o->queue, true, &s.task, s.id);
    memcpy(wire_room(&second, task.size), task.bytes, task.size);
    wire_added(&second, task.size);
    take(&second, &s.result);
    wire_delete(&second, s.reply_to);
    wire_close(&second);
    sample_look(&s);
    sample_write(&s, o->bytes);
    printf("DONE {\"task_props\": %zu, \"task_body\": %zu, \"result_props\": %zu, "
           "\"result_body\": %zu}\n",
           s.task.props.len, s.task.body.len, s.result.props.len, s.result.body.len);
}
