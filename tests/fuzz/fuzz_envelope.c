/* fuzz_envelope.c - a task message's head: whatever the properties are, there is a verdict, and its
 * copies can be read again, keep what flags them and lose what would drop them. */
#include "fuzz.h"

#include "wire/message.h"
#include "wire/outcome.h"

static void copy_check(struct bytes props, const struct message *m, const struct copy *how)
{
    struct buf out = {0};
    struct message again;
    struct fault f;
    struct field field;
    must(message_copy(props, how, &out));
    bool read = message_read(buf_bytes(&out), &again, &f);
    must(!read || !how->again || again.again);
    must(!read || how->attempt == 0 || again.attempt == how->attempt);
    must(!table_find(again.props.headers, "x-death", &field));
    must(!again.props.user_id.n && !again.props.expiration.n);
    must(!message_started(m, false) || !read || message_started(&again, false) ||
         m->delivery_count > 0);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fault why = {"ValueError", "because"};
    const struct copy copies[] = {
        {.again = true},
        {.again = true, .attempt = 3},
        {.unknown = 2},
        {.retry = true, .eta = 1800000000},
        {.dead = &why, .dead_by = "ctask1@host", .dead_queue = "ctask"},
    };
    struct bytes props = bytes_of(data, size);
    struct message m, peek = message_peek(props);
    struct fault f = {0};
    bool ok = message_read(props, &m, &f);
    must(ok || f.type[0]);
    must(!ok || (m.task.n > 0 && m.task.n <= 255 && m.id.n > 0 && m.id.n <= 255));
    must(!ok || bytes_equal(m.id, peek.id));
    (void)outcome_wanted(&m);
    (void)message_reply_sane(m.reply_to);
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) copy_check(props, &m, &copies[i]);
    return 0;
}
