/* map.c - see map.h. The hash is SipHash-1-3 (https://www.aumasson.jp/siphash/): one round per
 * word, three to finish, which is what scripting languages settled on for tables of foreign keys.
 */
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_MIN 16

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) == sizeof seed) return;
    /* Early in a boot: guessable, but better than waiting for a pool of randomness. */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    seed[0] = (uint64_t)t.tv_nsec << 32 ^ (uint64_t)t.tv_sec;
    seed[1] = (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&t;
}

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t key_hash(struct bytes key)
{
    pthread_once(&seed_once, seed_make);
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                     seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    uint64_t last = (uint64_t)key.n << 56;
    for (; key.n >= 8; key.p += 8, key.n -= 8) {
        uint64_t word;
        memcpy(&word, key.p, 8);
        sip_word(v, word);
    }
    for (size_t i = 0; i < key.n; i++) last |= (uint64_t)key.p[i] << 8 * i;
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static size_t slot_of(const struct map *m, uint64_t hash)
{
    return hash & (m->slot_count - 1);
}

static void node_link(struct map *m, struct map_node *n)
{
    size_t slot = slot_of(m, n->hash);
    n->next = m->slots[slot];
    m->slots[slot] = n;
    if (slot < m->first) m->first = slot;
}

static bool grow(struct map *m)
{
    size_t old_count = m->slot_count;
    size_t count = old_count ? 2 * old_count : SLOTS_MIN;
    struct map_node **slots = calloc(count, sizeof *slots);
    if (!slots) return false;
    struct map_node **old = m->slots;
    m->slots = slots;
    m->slot_count = m->first = count;
    for (size_t i = 0; i < old_count; i++)
        for (struct map_node *n = old[i], *next; n; n = next) {
            next = n->next;
            node_link(m, n);
        }
    free(old);
    return true;
}

struct map_node *map_find(const struct map *m, struct bytes key)
{
    if (m->count == 0) return NULL;
    uint64_t hash = key_hash(key);
    struct map_node *n = m->slots[slot_of(m, hash)];
    while (n && !(n->hash == hash && bytes_equal(n->key, key))) n = n->next;
    return n;
}

bool map_add(struct map *m, struct map_node *n)
{
    /* A table that cannot grow gets slower, no more; only the first one must be had. */
    if (m->count >= m->slot_count && !grow(m) && m->slot_count == 0) return false;
    n->hash = key_hash(n->key);
    node_link(m, n);
    m->count++;
    return true;
}

void map_remove(struct map *m, struct map_node *n)
{
    struct map_node **at = &m->slots[slot_of(m, n->hash)];
    while (*at != n) at = &(*at)->next;
    *at = n->next;
    n->next = NULL;
    m->count--;
}

struct map_node *map_any(struct map *m)
{
    if (m->count == 0) return NULL;
    while (!m->slots[m->first]) m->first++;
    return m->slots[m->first];
}

void map_done(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}
