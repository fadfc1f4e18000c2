/* main.c - faultproxy: a TCP proxy between clients and a broker that does to their bytes what the
 * lines on its stdin say, and tells on its stdout what it did.
 *
 *     faultproxy HOST PORT      HOST is a number; the first line out is "listen PORT"
 *
 * A line is [NUMBER] COMMAND ARG...; with a number it is for that connection, without for those
 * there are and those to come. WAY is c2s, s2c or both. Each is answered by "ok" or "error".
 *
 *     pass                      forget everything that was asked for; what was held goes on
 *     reset | fin               both ends see a reset, or an orderly end (never for those to come)
 *     blackhole WAY|none        nothing passes any more that way; nobody is told
 *     delay MS [WAY]  rate BYTES [WAY]  split BYTES [WAY]
 *     corrupt OFFSET WAY        turns around the bits of that byte of the stream, the first is 1
 *     hold|drop|double|late|reset-after KIND NTH WAY
 *                               see way.h; NTH 0: each
 *     trace on|off              tells each frame: "1 c2s frame basic.publish 58"
 *     accept yes|no|reset       no: connections are left in the kernel's queue
 *
 * Told: "N open", "N name CONNECTION_NAME", "N WAY RULE KIND", "N WAY corrupt OFFSET", "N closed".
 * It ends with its stdin. */
#include "way.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64

enum { C2S, S2C, WAYS };
enum accept_mode { ACCEPT_YES, ACCEPT_NO, ACCEPT_RESET };
static const char *const way_names[WAYS] = {"c2s", "s2c"};

struct connection {
    unsigned number; /* 0: free */
    int client, broker;
    struct way ways[WAYS];
};

static struct sockaddr_in target;
static struct connection connections[CONNECTIONS_MAX];
static struct way model[WAYS]; /* what new connections start with */
static unsigned last_number;
static enum accept_mode accept_mode;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void socket_end(int fd, bool reset)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    if (reset) setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

/* For the client with a reset, and for the broker as well. */
static void connection_end(struct connection *c, bool client, bool broker)
{
    printf("%u closed\n", c->number);
    socket_end(c->client, client);
    socket_end(c->broker, broker);
    for (int i = 0; i < WAYS; i++) way_free(&c->ways[i]);
    c->number = 0;
}

/* ---- Connections ----------------------------------------------------------------------------- */

static int listen_anywhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, n) || listen(fd, 64)) fail("listen");
    getsockname(fd, (struct sockaddr *)&at, &n);
    printf("listen %d\n", ntohs(at.sin_port));
    return fd;
}

static struct connection *connection_free(void)
{
    struct connection *c = connections;
    while (c < connections + CONNECTIONS_MAX && c->number) c++;
    return c < connections + CONNECTIONS_MAX ? c : NULL;
}

static void accept_one(int listener)
{
    int one = 1, client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) return;
    struct connection *c = connection_free();
    int broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool wanted = accept_mode == ACCEPT_YES && c;
    if (!wanted || connect(broker, (struct sockaddr *)&target, sizeof target) != 0) {
        socket_end(client, true);
        close(broker);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(broker, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *c = (struct connection){.number = ++last_number, .client = client, .broker = broker};
    printf("%u open\n", c->number);
    for (int i = 0; i < WAYS; i++) {
        struct way *w = &c->ways[i];
        way_init(w, way_names[i], c->number, i == C2S ? client : broker,
                 i == C2S ? broker : client);
        w->pace = model[i].pace;
        w->trace = model[i].trace;
        w->corrupt_at = model[i].corrupt_at;
        memcpy(w->rules, model[i].rules, sizeof w->rules);
    }
}

static void connection_turn(struct connection *c, int64_t now)
{
    bool done = true;
    for (int i = 0; i < WAYS; i++) {
        struct way *w = &c->ways[i];
        enum way_end end = way_read(w, now);
        if (end == WAY_GOES_ON) end = way_write(w, now);
        if (end != WAY_GOES_ON) {
            /* What is to arrive at the broker has to be read, and a reset may discard it. */
            connection_end(c, true, end != WAY_RESET || i != C2S);
            return;
        }
        done = done && w->done;
    }
    if (done) connection_end(c, false, false);
}

/* ---- Commands -------------------------------------------------------------------------------- */

struct command {
    unsigned number; /* of the connection; 0: all */
    char *words[5];
    int count;
};

static bool for_way(const struct command *k, int index, int i)
{
    const char *word = index < k->count ? k->words[index] : "both";
    return strcmp(word, "both") == 0 || strcmp(word, way_names[i]) == 0;
}

static bool way_command(struct way *w, const struct command *k, int i)
{
    const char *verb = k->words[0];
    unsigned long n = k->count > 1 ? strtoul(k->words[1], NULL, 10) : 0;
    if (strcmp(verb, "pass") == 0) {
        way_pass(w);
    } else if (strcmp(verb, "trace") == 0 && k->count == 2) {
        w->trace = strcmp(k->words[1], "on") == 0;
    } else if (strcmp(verb, "blackhole") == 0 && k->count == 2) {
        w->pace.black = for_way(k, 1, i);
    } else if (strcmp(verb, "delay") == 0 && k->count >= 2) {
        if (for_way(k, 2, i)) w->pace.delay_ms = (unsigned)n;
    } else if (strcmp(verb, "rate") == 0 && k->count >= 2) {
        if (for_way(k, 2, i)) w->pace.rate = n;
    } else if (strcmp(verb, "split") == 0 && k->count >= 2) {
        if (for_way(k, 2, i)) w->pace.split = (unsigned)n;
    } else if (strcmp(verb, "corrupt") == 0 && k->count == 3) {
        if (for_way(k, 2, i)) w->corrupt_at = n;
    } else {
        enum act act = ACT_HOLD;
        while (act < ACT_ACTS && strcmp(verb, act_names[act]) != 0) act++;
        if (act == ACT_ACTS || k->count != 4) return false;
        unsigned nth = (unsigned)strtoul(k->words[2], NULL, 10);
        return !for_way(k, 3, i) || way_rule(w, act, k->words[1], nth);
    }
    return true;
}

static bool ways_command(const struct command *k)
{
    bool good = true;
    for (struct connection *c = connections; c < connections + CONNECTIONS_MAX; c++)
        for (int i = 0; i < WAYS; i++)
            if (c->number && (!k->number || k->number == c->number))
                good = way_command(&c->ways[i], k, i) && good;
    for (int i = 0; i < WAYS && !k->number; i++) good = way_command(&model[i], k, i) && good;
    return good;
}

static void end_command(const struct command *k, bool reset)
{
    for (struct connection *c = connections; c < connections + CONNECTIONS_MAX; c++) {
        if (!c->number || (k->number && k->number != c->number)) continue;
        if (reset) {
            connection_end(c, true, true);
            continue;
        }
        for (int i = 0; i < WAYS; i++) c->ways[i].eof = true; /* what came before still leaves */
    }
}

static bool accept_command(const char *mode)
{
    static const char *const names[] = {"yes", "no", "reset"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(mode, names[i]) != 0) continue;
        accept_mode = (enum accept_mode)i;
        return true;
    }
    return false;
}

static bool command_do(char *line)
{
    struct command k = {0};
    char *rest = line, *word;
    while (k.count < 5 && (word = strsep(&rest, " "))) k.words[k.count++] = word;
    if (k.count > 1 && (k.number = (unsigned)strtoul(k.words[0], NULL, 10)) > 0)
        memmove(k.words, k.words + 1, (size_t)--k.count * sizeof k.words[0]);
    if (strcmp(k.words[0], "accept") == 0) return k.count == 2 && accept_command(k.words[1]);
    bool reset = strcmp(k.words[0], "reset") == 0;
    if (!reset && strcmp(k.words[0], "fin") != 0) return ways_command(&k);
    end_command(&k, reset);
    return true;
}

/* Ends the program with its stdin. */
static void commands_read(void)
{
    static struct buf in;
    uint8_t *at = buf_room(&in, 4096), *end;
    ssize_t n = at ? read(STDIN_FILENO, at, 4096) : 0;
    if (n <= 0) exit(0);
    buf_added(&in, (size_t)n);
    while ((end = memchr(buf_head(&in), '\n', in.len))) {
        char *line = (char *)buf_head(&in);
        size_t used = (size_t)(end - buf_head(&in)) + 1;
        *end = '\0';
        puts(command_do(line) ? "ok" : "error");
        buf_consume(&in, used);
    }
}

/* ---- The loop -------------------------------------------------------------------------------- */

static void events_wanted(const struct connection *c, struct pollfd fds[2], int64_t now,
                          int64_t *wake)
{
    fds[0] = (struct pollfd){.fd = c->number ? c->client : -1};
    fds[1] = (struct pollfd){.fd = c->number ? c->broker : -1};
    for (int i = 0; i < WAYS && c->number; i++) {
        if (way_takes(&c->ways[i])) fds[i].events |= POLLIN;
        if (way_sends(&c->ways[i], now, wake)) fds[!i].events |= POLLOUT;
    }
    for (int i = 0; i < 2; i++) /* an error that nobody may hear of is not to wake us for ever */
        if (!fds[i].events) fds[i].fd = -1;
}

int main(int argc, char **argv)
{
    enum { STDIN, LISTENER, FIRST };
    struct pollfd fds[FIRST + 2 * CONNECTIONS_MAX];
    target.sin_family = AF_INET;
    if (argc != 3 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "usage: faultproxy ADDRESS PORT\n");
        return 2;
    }
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < WAYS; i++) way_init(&model[i], way_names[i], 0, -1, -1);
    int listener = listen_anywhere();
    for (;;) {
        int64_t now = clock_now(), wake = CLOCK_NEVER;
        fds[STDIN] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        fds[LISTENER] =
            (struct pollfd){.fd = accept_mode == ACCEPT_NO ? -1 : listener, .events = POLLIN};
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            events_wanted(&connections[i], fds + FIRST + 2 * i, now, &wake);
        poll(fds, FIRST + 2 * CONNECTIONS_MAX, clock_poll_ms(wake, now));
        now = clock_now();
        if (fds[STDIN].revents) commands_read();
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            if (connections[i].number) connection_turn(&connections[i], now);
        if (fds[LISTENER].revents) accept_one(listener);
    }
}
