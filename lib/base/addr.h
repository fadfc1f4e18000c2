/* addr.h - where a host can be reached. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <ctask.h>
#include <sys/socket.h>

#define ADDRS_MAX 8

struct addrs {
    unsigned count;
    struct {
        socklen_t len;
        struct sockaddr_storage sa;
    } at[ADDRS_MAX];
};

/* Numbers and "localhost" (::1, then 127.0.0.1), without any resolver. False if host is a name. */
bool addrs_literal(const char *host, uint16_t port, struct addrs *out);
/* Asks the resolver and may block as long as it does. CTASK_OK, or CTASK_ECONN with a sentence. */
int addrs_resolve(const char *host, uint16_t port, struct addrs *out, struct ctask_error *e);

#endif
