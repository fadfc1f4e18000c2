/* proxy.c - see proxy.h. */
#include "support/proxy.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/url.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PAIRS_MAX 16

/* Not an assertion of check: programs that are no test of its use a proxy too. */
#define must(condition)         \
    do {                        \
        if (!(condition)) {     \
            perror(#condition); \
            abort();            \
        }                       \
    } while (0)

struct pair {
    int client, broker;
};

struct proxy {
    struct url to;
    char url[1024];
    int listener, bell;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool cut, closed, frozen, stop;
    unsigned connections;
    struct pair pairs[PAIRS_MAX]; /* client -1: free */
};

static void reset(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

static void pair_end(struct pair *k)
{
    if (k->client < 0) return;
    reset(k->client);
    reset(k->broker);
    k->client = k->broker = -1;
}

static void accept_one(struct proxy *p)
{
    int client = accept(p->listener, NULL, NULL);
    if (client < 0) return;
    p->connections++;
    struct pair *k = p->pairs;
    while (k < p->pairs + PAIRS_MAX && k->client >= 0) k++;
    struct addrs to;
    if (p->closed || k == p->pairs + PAIRS_MAX || !addrs_literal(p->to.host, p->to.port, &to)) {
        reset(client);
        return;
    }
    for (unsigned i = 0; i < to.count; i++) {
        int broker = socket(to.at[i].sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(broker, (struct sockaddr *)&to.at[i].sa, to.at[i].len) == 0) {
            *k = (struct pair){client, broker};
            return;
        }
        close(broker);
    }
    reset(client);
}

/* False at the end of the stream. */
static bool relay(int from, int to)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0) return true;
    return n > 0 && fd_write_all(to, bytes, (size_t)n) == 0;
}

static void *run(void *ctx)
{
    struct proxy *p = ctx;
    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = p->bell, .events = POLLIN},
                                                {.fd = p->listener, .events = POLLIN}};
        pthread_mutex_lock(&p->lock);
        bool stop = p->stop;
        for (struct pair *k = p->pairs; k < p->pairs + PAIRS_MAX; k++) {
            if (p->cut) pair_end(k);
            struct pollfd *f = &fds[2 + 2 * (k - p->pairs)];
            f[0] = (struct pollfd){.fd = k->client, .events = POLLIN};
            f[1] = (struct pollfd){.fd = p->frozen ? -1 : k->broker, .events = POLLIN};
        }
        p->cut = false;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        if (stop) return NULL;
        poll(fds, sizeof fds / sizeof fds[0], -1);
        uint64_t rings;
        if (fds[0].revents) must(read(p->bell, &rings, sizeof rings) > 0);
        pthread_mutex_lock(&p->lock);
        for (struct pair *k = p->pairs; k < p->pairs + PAIRS_MAX; k++) {
            struct pollfd *f = &fds[2 + 2 * (k - p->pairs)];
            bool alive = (!f[0].revents || relay(k->client, k->broker)) &&
                         (!f[1].revents || relay(k->broker, k->client));
            if (!alive) pair_end(k);
        }
        if (fds[1].revents) accept_one(p);
        pthread_mutex_unlock(&p->lock);
    }
}

struct proxy *proxy_start(const char *url)
{
    struct proxy *p = calloc(1, sizeof *p);
    struct ctask_error e;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    must(url_parse(url, &p->to, &e) == CTASK_OK);
    for (int i = 0; i < PAIRS_MAX; i++) p->pairs[i] = (struct pair){-1, -1};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(p->listener, (struct sockaddr *)&at, sizeof at) == 0);
    must(listen(p->listener, 64) == 0);
    must(getsockname(p->listener, (struct sockaddr *)&at, &n) == 0);
    const char *vhost = strrchr(strstr(url, "//") + 2, '/');
    snprintf(p->url, sizeof p->url, "amqp%s://%s:%s@127.0.0.1:%d%s", p->to.tls ? "s" : "",
             p->to.user, p->to.password, ntohs(at.sin_port), vhost ? vhost : "");
    p->bell = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    must(pthread_create(&p->thread, NULL, run, p) == 0);
    return p;
}

const char *proxy_url(const struct proxy *p)
{
    return p->url;
}

static void ring(struct proxy *p)
{
    uint64_t one = 1;
    must(write(p->bell, &one, sizeof one) == sizeof one);
}

void proxy_cut(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->cut = true;
    ring(p);
    while (p->cut) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void proxy_close(struct proxy *p, bool closed)
{
    pthread_mutex_lock(&p->lock);
    p->closed = closed;
    pthread_mutex_unlock(&p->lock);
}

void proxy_freeze(struct proxy *p, bool frozen)
{
    pthread_mutex_lock(&p->lock);
    p->frozen = frozen;
    ring(p);
    pthread_mutex_unlock(&p->lock);
}

/* A filter that lets nothing pass is asked before TCP sees a segment. */
void proxy_swallow(struct proxy *p, bool swallow)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog filter = {.len = 1, .filter = &nothing};
    int option = swallow ? SO_ATTACH_FILTER : SO_DETACH_FILTER;
    pthread_mutex_lock(&p->lock);
    for (struct pair *k = p->pairs; k < p->pairs + PAIRS_MAX; k++)
        if (k->client >= 0)
            must(setsockopt(k->client, SOL_SOCKET, option, &filter, sizeof filter) == 0 ||
                 !swallow);
    pthread_mutex_unlock(&p->lock);
}

unsigned proxy_connections(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned n = p->connections;
    pthread_mutex_unlock(&p->lock);
    return n;
}

void proxy_stop(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    ring(p);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    for (int i = 0; i < PAIRS_MAX; i++) pair_end(&p->pairs[i]);
    close(p->listener);
    close(p->bell);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
