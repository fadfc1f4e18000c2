/* confirms.h - which messages the broker has confirmed, in whatever order it does that. */
#ifndef BARE_CONFIRMS_H
#define BARE_CONFIRMS_H

#include "wire.h"

#define CONFIRMS_MAX ((uint64_t)1 << 21) /* under way at a time */

struct confirms {
    uint64_t sent, confirmed; /* all up to the second; both count from 1 */
    uint8_t early[CONFIRMS_MAX];
};

static inline void confirms_sent(struct confirms *c)
{
    c->sent++;
    if (c->sent - c->confirmed >= CONFIRMS_MAX) die("too many unconfirmed messages");
}

static inline void confirms_take(struct confirms *c, uint64_t tag, bool multiple)
{
    if (tag > c->sent) die("a message was confirmed that was never sent");
    if (multiple) {
        while (c->confirmed < tag) c->early[++c->confirmed % CONFIRMS_MAX] = 0;
    } else if (tag > c->confirmed) {
        c->early[tag % CONFIRMS_MAX] = 1;
    }
    while (c->early[(c->confirmed + 1) % CONFIRMS_MAX]) c->early[++c->confirmed % CONFIRMS_MAX] = 0;
}

#endif
