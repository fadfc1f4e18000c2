/* hostile.c - LD_PRELOAD: calls that fail when a test wants it, made by our own code.
 *
 * Ours is what the main program or libctask calls itself, by return address; libraries are left in
 * peace, and so are forked children: calls are counted in the process that was started.
 *
 *     CTASK_HOSTILE=KIND:N       the Nth call of that kind fails
 *     CTASK_HOSTILE=KIND:%N      one in N does, at random from CTASK_HOSTILE_SEED
 *     CTASK_HOSTILE_COUNT=FILE   at exit: how many calls of each kind there were
 *
 * Several are separated by commas. Kinds: alloc (malloc, calloc, realloc), fork, poll, send and
 * recv (a reset connection), send-short and recv-short (half of the bytes, at least one),
 * send-again and recv-again (EAGAIN), send-eintr and recv-eintr. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { ALLOC, FORK, POLL, SEND, RECV, KINDS };
static const char *const kind_names[KINDS] = {"alloc", "fork", "poll", "send", "recv"};

enum way { WAY_FAIL, WAY_SHORT, WAY_AGAIN, WAY_EINTR, WAYS };
static const char *const way_names[WAYS] = {"", "-short", "-again", "-eintr"};

struct plan {
    unsigned long nth, one_in; /* 0: never */
};

static struct plan plans[KINDS][WAYS];
static unsigned long calls[KINDS];
static struct {
    uintptr_t from, to;
} ours[4];
static unsigned ours_count;
static uint32_t dice = 1;
static pid_t started;
static pid_t (*real_fork)(void);

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags);
int __poll_chk(struct pollfd *fds, nfds_t n, int ms, size_t room);

/* ---- Start ----------------------------------------------------------------------------------- */

static int object_look(struct dl_phdr_info *info, size_t size, void *first)
{
    (void)size;
    bool main_program = *(bool *)first;
    *(bool *)first = false;
    if (!main_program && !strstr(info->dlpi_name, "/libctask.so")) return 0;
    for (int i = 0; i < info->dlpi_phnum && ours_count < 4; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        ours[ours_count].from = info->dlpi_addr + p->p_vaddr;
        ours[ours_count++].to = info->dlpi_addr + p->p_vaddr + p->p_memsz;
    }
    return 0;
}

static void plan_read(char *text)
{
    char name[32], *colon = strchr(text, ':');
    if (!colon) return;
    *colon = '\0';
    for (int k = 0; k < KINDS; k++)
        for (int way = 0; way < WAYS; way++) {
            snprintf(name, sizeof name, "%s%s", kind_names[k], way_names[way]);
            if (strcmp(name, text) != 0) continue;
            if (colon[1] == '%')
                plans[k][way].one_in = strtoul(colon + 2, NULL, 10);
            else
                plans[k][way].nth = strtoul(colon + 1, NULL, 10);
        }
}

__attribute__((constructor)) static void plans_read(void)
{
    const char *text = getenv("CTASK_HOSTILE"), *seed = getenv("CTASK_HOSTILE_SEED");
    char copy[256], *rest = copy, *word;
    bool first = true;
    *(void **)&real_fork = dlsym(RTLD_NEXT, "fork");
    dl_iterate_phdr(object_look, &first);
    if (seed) dice = (uint32_t)strtoul(seed, NULL, 10) * 2654435761u | 1;
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    while ((word = strsep(&rest, ","))) plan_read(word);
    memset(calls, 0, sizeof calls);
    started = getpid();
}

__attribute__((destructor)) static void calls_tell(void)
{
    const char *path = getenv("CTASK_HOSTILE_COUNT");
    FILE *f = path && getpid() == started ? fopen(path, "w") : NULL;
    if (!f) return;
    for (int k = 0; k < KINDS; k++) fprintf(f, "%s %lu\n", kind_names[k], calls[k]);
    fclose(f);
}

/* ---- Which calls fail ------------------------------------------------------------------------ */

static bool chance(unsigned long one_in)
{
    uint32_t x = dice;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    dice = x;
    return one_in && x % one_in == 0;
}

/* Counts this call; WAYS: it is left alone. */
static enum way fate(enum kind k, const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    bool our = false;
    for (unsigned i = 0; i < ours_count; i++) our = our || (at >= ours[i].from && at < ours[i].to);
    if (!our || getpid() != started) return WAYS;
    unsigned long n = ++calls[k];
    for (int way = 0; way < WAYS; way++)
        if (plans[k][way].nth == n || chance(plans[k][way].one_in)) return (enum way)way;
    return WAYS;
}

#define CALLER __builtin_return_address(0)

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t n)
{
    return fate(ALLOC, CALLER) == WAY_FAIL ? no_memory() : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    return fate(ALLOC, CALLER) == WAY_FAIL ? no_memory() : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    return fate(ALLOC, CALLER) == WAY_FAIL ? no_memory() : __libc_realloc(p, n);
}

pid_t fork(void)
{
    if (fate(FORK, CALLER) != WAY_FAIL) return real_fork();
    errno = EAGAIN;
    return -1;
}

static int poll_as(enum way way, struct pollfd *fds, nfds_t n, int ms)
{
    if (way != WAY_FAIL) return (int)syscall(SYS_poll, fds, n, ms);
    errno = EINTR;
    return -1;
}

int poll(struct pollfd *fds, nfds_t n, int ms)
{
    return poll_as(fate(POLL, CALLER), fds, n, ms);
}

int __poll_chk(struct pollfd *fds, nfds_t n, int ms, size_t room)
{
    (void)room;
    return poll_as(fate(POLL, CALLER), fds, n, ms);
}

/* True if the call is over; else *n is how much of it is done. */
static bool transfer_fails(enum way way, size_t *n)
{
    if (way == WAY_SHORT && *n > 1) *n /= 2;
    if (way == WAY_SHORT || way == WAYS) return false;
    errno = way == WAY_AGAIN ? EAGAIN : way == WAY_EINTR ? EINTR : ECONNRESET;
    return true;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    if (transfer_fails(fate(SEND, CALLER), &n)) return -1;
    return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

static ssize_t recv_as(enum way way, int fd, void *p, size_t n, int flags)
{
    if (transfer_fails(way, &n)) return -1;
    return syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    return recv_as(fate(RECV, CALLER), fd, p, n, flags);
}

ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags)
{
    (void)room;
    return recv_as(fate(RECV, CALLER), fd, p, n, flags);
}
