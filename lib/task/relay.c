/* relay.c - see relay.h. One client serves all tasks of the process, since the default client is
 * the process's own already; it is made at the first task and never freed. */
#include "task/relay.h"

#include "client/client.h"
#include "transport/transport.h"

static struct {
    struct line *line;
    struct transport *transport;
    struct ctask_client *client;
} relay;

static bool relay_open(struct line *line)
{
    struct transport *x = transport_relay(line);
    struct ctask_client *c = x ? client_over(x) : NULL; /* takes x over, also when it fails */
    if (!c) return false;
    ctask_close(relay.client); /* another line: only tests have two */
    relay.line = line;
    relay.transport = x;
    relay.client = c;
    return true;
}

bool relay_enter(const struct ctask_call *t)
{
    if ((!relay.client || relay.line != t->line) && !relay_open(t->line)) return false;
    ctask_set_default(relay.client); /* the task before may have set another */
    relay.transport->task_id = t->id;
    relay.transport->root_id = t->root_id;
    return true;
}

void relay_leave(void)
{
    ctask_flush(relay.client, 0); /* what it corked; the relay writes before it returns */
    relay.transport->task_id = relay.transport->root_id = NULL;
}
