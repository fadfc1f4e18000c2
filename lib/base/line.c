/* line.c - see line.h. Each ring has one writer and one reader. A side that finds nothing says that
 * it waits and looks again before it sleeps; the other side changes the ring and looks then whether
 * somebody waits. The two full fences make one of them see the other. */
#include "base/line.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_SIZE LINE_SIZE /* all of it is touched in time, for each child */
#define CACHE_LINE 64
#define HALT (UINT64_C(1) << 32) /* each of them adds one: the first resume ends the first */
#define BELL 0x07
#define RING_TRIES 100

/* No bool: a wild task may write any byte here, and a bool that is neither 0 nor 1 is undefined. */
typedef _Atomic uint8_t shared_flag;

struct ring {
    _Alignas(CACHE_LINE) _Atomic uint32_t written;
    shared_flag reader_waits;
    _Alignas(CACHE_LINE) _Atomic uint32_t read;
    shared_flag writer_waits;
    _Alignas(CACHE_LINE) uint8_t bytes[RING_SIZE];
};

struct line_shared {
    struct ring down, up;
    _Atomic uint64_t begun; /* and, above 32 bits, the halts that are not resumed */
    _Atomic int64_t begun_at;
};

/* ---- Making ---------------------------------------------------------------------------------- */

bool line_pair(struct line *parents, struct line *childs)
{
    int bells[2];
    *parents = *childs = (struct line){.bell = -1};
    void *m = mmap(NULL, sizeof(struct line_shared), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) return false;
    if (fd_pair(bells) != 0) {
        munmap(m, sizeof(struct line_shared));
        return false;
    }
    struct line_shared *s = m;
    *parents =
        (struct line){.shared = s, .owner = true, .in = &s->up, .out = &s->down, .bell = bells[0]};
    *childs = (struct line){.shared = s, .in = &s->down, .out = &s->up, .bell = bells[1]};
    return true;
}

void line_keep(struct line *l)
{
    madvise(l->shared, sizeof *l->shared, MADV_DONTFORK);
}

void line_close(struct line *l)
{
    if (l->owner) munmap(l->shared, sizeof *l->shared);
    if (l->bell >= 0) close(l->bell);
    *l = (struct line){.bell = -1};
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* Tried again, as when the kernel has no memory: the other may sleep for ever. One that is closed
 * has nobody to wake, and a full one, after these tries, has rung already. */
static void ring_bell(const struct line *l)
{
    const uint8_t bell = BELL;
    for (int i = 0; i < RING_TRIES; i++)
        if (send(l->bell, &bell, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EPIPE) return;
}

static void wake(const struct line *l, shared_flag *waits)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(waits, memory_order_relaxed) && atomic_exchange(waits, 0))
        ring_bell(l);
}

static uint32_t least(size_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

static uint32_t room_of(const struct line *l)
{
    uint32_t held = l->written - atomic_load_explicit(&l->out->read, memory_order_acquire);
    return held > RING_SIZE ? 0 : RING_SIZE - held;
}

size_t line_put(struct line *l, const void *p, size_t n)
{
    uint32_t some = least(n, room_of(l)), at = l->written % RING_SIZE;
    uint32_t first = least(some, RING_SIZE - at);
    if (some == 0) return 0;
    memcpy(l->out->bytes + at, p, first);
    memcpy(l->out->bytes, (const uint8_t *)p + first, some - first);
    l->written += some;
    atomic_store_explicit(&l->out->written, l->written, memory_order_release);
    wake(l, &l->out->reader_waits);
    return some;
}

long line_get(struct line *l, void *p, size_t n)
{
    uint32_t held = atomic_load_explicit(&l->in->written, memory_order_acquire) - l->read;
    if (held > RING_SIZE) return -1;
    uint32_t some = least(n, held), at = l->read % RING_SIZE, first = least(some, RING_SIZE - at);
    if (some == 0) return 0;
    memcpy(p, l->in->bytes + at, first);
    memcpy((uint8_t *)p + first, l->in->bytes, some - first);
    l->read += some;
    atomic_store_explicit(&l->in->read, l->read, memory_order_release);
    wake(l, &l->in->writer_waits);
    return (long)some;
}

bool line_has(const struct line *l)
{
    return atomic_load_explicit(&l->in->written, memory_order_acquire) != l->read;
}

/* ---- Sleeping -------------------------------------------------------------------------------- */

bool line_listen(struct line *l, bool data, bool room)
{
    if (data) atomic_store_explicit(&l->in->reader_waits, 1, memory_order_relaxed);
    if (room) atomic_store_explicit(&l->out->writer_waits, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return (data && line_has(l)) || (room && room_of(l) > 0);
}

void line_awake(struct line *l)
{
    atomic_store_explicit(&l->in->reader_waits, 0, memory_order_relaxed);
    atomic_store_explicit(&l->out->writer_waits, 0, memory_order_relaxed);
}

int line_hush(struct line *l, bool wait)
{
    uint8_t rung[64];
    ssize_t n;
    do n = recv(l->bell, rung, sizeof rung, wait ? 0 : MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 1 : -1;
    for (ssize_t i = 0; i < n; i++)
        if (rung[i] != BELL) {
            errno = EPROTO;
            return -1;
        }
    return n > 0;
}

bool line_wait(struct line *l, bool data, bool room)
{
    int rc = line_listen(l, data, room) ? 1 : line_hush(l, true);
    line_awake(l);
    return rc == 1;
}

/* ---- Beginning ------------------------------------------------------------------------------- */

bool line_begin(struct line *l)
{
    uint64_t now = atomic_load(&l->shared->begun);
    atomic_store_explicit(&l->shared->begun_at, clock_now(), memory_order_relaxed);
    while (now < HALT)
        if (atomic_compare_exchange_weak(&l->shared->begun, &now, (uint32_t)(now + 1))) return true;
    return false;
}

void line_resume(struct line *l)
{
    atomic_fetch_sub(&l->shared->begun, HALT);
}

uint32_t line_begun(const struct line *l)
{
    return (uint32_t)atomic_load(&l->shared->begun);
}

int64_t line_begun_at(const struct line *l)
{
    return atomic_load_explicit(&l->shared->begun_at, memory_order_relaxed);
}

uint32_t line_halt(struct line *l)
{
    return (uint32_t)atomic_fetch_add(&l->shared->begun, HALT);
}
