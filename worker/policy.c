/* policy.c - says at the start when the broker lacks the policy of broker-config/ for delayed
 * tasks.
 *
 * Celery's workers bind their queues to celery_delayed_delivery itself, not to ctask.due. What
 * comes due for such a queue after it was deleted cannot be routed, and 32 such messages stop a
 * delay queue for all. Only an alternate exchange of celery_delayed_delivery helps, which only a
 * policy can give it. No client can read a policy, so a message that no queue takes is published
 * there: it comes back if there is none. Celery delays in the broker with quorum queues only, so no
 * one else is warned. */
#include "worker/worker.h"

#include "base/props.h"

#include <string.h>

#define DELIVERY "celery_delayed_delivery"
#define KEY "ctask-policy" /* one word: no binding matches it */

void policy_look(struct worker *w)
{
    uint8_t room[64];
    struct buf props = buf_over(room, sizeof room, sizeof room);
    if (w->policy_asked || w->options->queue_type != QUEUE_QUORUM) return;
    w->policy_asked = true;
    /* It does not stay where the policy leads it. */
    if (!props_write(&props, &(struct props){.expiration = bytes_text("0")})) return;
    broker_publish(w->out, &(struct publish){.exchange = DELIVERY,
                                             .routing_key = KEY,
                                             .props = buf_bytes(&props),
                                             .spool = -1,
                                             .cookie = &w->policy_asked});
}

bool policy_asks(const struct envelope *m)
{
    return m->body_size == 0 && strcmp(m->exchange, DELIVERY) == 0 &&
           strcmp(m->routing_key, KEY) == 0;
}

bool policy_seen(const struct worker *w, const struct broker_event *ev)
{
    if (ev->cookie != &w->policy_asked) return false;
    if (ev->error.code == CTASK_EROUTE)
        log_warn("the broker has no policy \"ctask-undelivered\": when a queue of Celery's workers "
                 "is deleted, the tasks delayed for it can stop those of other queues "
                 "(broker-config/README.md has the command, see \"Delays\")");
    return true;
}
