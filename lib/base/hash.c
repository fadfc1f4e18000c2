/* hash.c - see hash.h. */
#include "base/hash.h"

#include "base/process.h"

#include <pthread.h>
#include <sys/random.h>
#include <time.h>

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) == sizeof seed) return;
    /* Early in a boot: guessable, but better than waiting for a pool of randomness. */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    seed[0] = (uint64_t)t.tv_nsec << 32 ^ (uint64_t)t.tv_sec;
    seed[1] = (uint64_t)process_id() << 32 ^ (uint64_t)(uintptr_t)&t;
}

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

struct sip {
    uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *v)
{
    v->a += v->b;
    v->c += v->d;
    v->b = rotate(v->b, 13) ^ v->a;
    v->d = rotate(v->d, 16) ^ v->c;
    v->a = rotate(v->a, 32);
    v->c += v->b;
    v->a += v->d;
    v->b = rotate(v->b, 17) ^ v->c;
    v->d = rotate(v->d, 21) ^ v->a;
    v->c = rotate(v->c, 32);
}

static inline void sip_word(struct sip *v, uint64_t word)
{
    v->d ^= word;
    sip_round(v);
    v->a ^= word;
}

uint64_t bytes_hash(struct bytes key)
{
    pthread_once(&seed_once, seed_make);
    struct sip v = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                    seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    uint64_t last = (uint64_t)key.n << 56;
    for (; key.n >= 8; key.p += 8, key.n -= 8) {
        uint64_t word;
        memcpy(&word, key.p, 8);
        sip_word(&v, word);
    }
    for (size_t i = 0; i < key.n; i++) last |= (uint64_t)key.p[i] << 8 * i;
    sip_word(&v, last);
    v.c ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(&v);
    return v.a ^ v.b ^ v.c ^ v.d;
}
