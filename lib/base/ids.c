/* ids.c - see ids.h. Random bytes come from the kernel a page at a time, in memory that a forked
 * child finds empty, so that no two processes share any. Whoever comes while another thread is at
 * the page asks the kernel for its own few instead of waiting. */
#include "base/ids.h"

#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>

#define PAGE 4096

struct store {
    atomic_bool taken; /* by a thread */
    unsigned left;     /* ids at the front of random */
    uuid_t random[PAGE / sizeof(uuid_t) - 1];
};

static struct store *store;
static pthread_once_t store_once = PTHREAD_ONCE_INIT;

static void store_make(void)
{
    store = process_memory(sizeof *store);
}

/* False before the kernel has randomness, early in a boot. */
static bool store_take(struct store *s, uuid_t id)
{
    if (s->left == 0) {
        ssize_t n = getrandom(s->random, sizeof s->random, GRND_NONBLOCK);
        s->left = n > 0 ? (unsigned)((size_t)n / sizeof(uuid_t)) : 0;
    }
    if (s->left == 0) return false;
    memcpy(id, s->random[--s->left], sizeof(uuid_t));
    return true;
}

static bool random_take(uuid_t id)
{
    pthread_once(&store_once, store_make);
    if (!store || atomic_exchange_explicit(&store->taken, true, memory_order_acquire))
        return getrandom(id, sizeof(uuid_t), GRND_NONBLOCK) == sizeof(uuid_t);
    bool ok = store_take(store, id);
    atomic_store_explicit(&store->taken, false, memory_order_release);
    return ok;
}

/* libuuid does the same, much slower. */
static void id_print(const uuid_t id, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof(uuid_t); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
        *out++ = digits[id[i] >> 4];
        *out++ = digits[id[i] & 15];
    }
    *out = '\0';
}

void id_new(char out[ID_SIZE])
{
    uuid_t id;
    if (random_take(id)) {
        id[6] = (id[6] & 0x0f) | 0x40; /* version 4 of the variant of RFC 4122 */
        id[8] = (id[8] & 0x3f) | 0x80;
    } else {
        uuid_generate_random(id);
    }
    id_print(id, out);
}
