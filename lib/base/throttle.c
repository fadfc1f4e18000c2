/* throttle.c - see throttle.h. */
#include "base/throttle.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EACH (60 * CLOCK_SECOND)
#define TOPICS_MAX 100

struct topic {
    struct list link;
    int64_t passed; /* when its last line was written */
    unsigned left_out;
    char name[];
};

void throttle_init(struct throttle *t)
{
    list_init(&t->topics);
    t->count = 0;
}

static void topic_free(struct throttle *t, struct topic *k)
{
    list_remove(&k->link);
    free(k);
    t->count--;
}

void throttle_done(struct throttle *t)
{
    while (t->count > 0) topic_free(t, list_first(&t->topics, struct topic, link));
}

static struct topic *topic_find(const struct throttle *t, const char *name)
{
    struct topic *k;
    list_each(k, &t->topics, struct topic, link)
        if (strcmp(k->name, name) == 0) return k;
    return NULL;
}

/* NULL when out of memory. */
static struct topic *topic_add(struct throttle *t, const char *name, int64_t now)
{
    struct topic *k = t->count ? list_first(&t->topics, struct topic, link) : NULL;
    if (k && now - k->passed >= 2 * EACH) topic_free(t, k); /* it repeats no more */
    if (t->count >= TOPICS_MAX) name = "";
    if ((k = topic_find(t, name))) return k;
    size_t n = strlen(name) + 1;
    k = calloc(1, sizeof *k + n);
    if (!k) return NULL;
    memcpy(k->name, name, n);
    k->passed = now - EACH;
    list_append(&t->topics, &k->link);
    t->count++;
    return k;
}

bool throttle_pass(struct throttle *t, const char *topic, int64_t now, unsigned *left_out)
{
    struct topic *k = topic_find(t, topic);
    if (!k) k = topic_add(t, topic, now);
    *left_out = k ? k->left_out : 0;
    if (k && now - k->passed < EACH) {
        k->left_out++;
        return false;
    }
    if (!k) return true;
    k->passed = now;
    k->left_out = 0;
    list_remove(&k->link);
    list_append(&t->topics, &k->link);
    return true;
}

const char *throttle_others(unsigned left_out, char out[THROTTLE_OTHERS])
{
    snprintf(out, THROTTLE_OTHERS, ", and %u others", left_out);
    return left_out ? out : "";
}
