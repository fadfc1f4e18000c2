/* addr.c - see addr.h. */
#include "base/addr.h"
#include "base/err.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* Appends what getaddrinfo says. 0 or its code; finding nothing is a code too. */
static int addrs_add(const char *host, uint16_t port, int flags, struct addrs *out)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *found;
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0) return rc;
    for (struct addrinfo *a = found; a && out->count < ADDRS_MAX; a = a->ai_next) {
        out->at[out->count].len = a->ai_addrlen;
        memcpy(&out->at[out->count++].sa, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(found);
    return 0;
}

bool addrs_literal(const char *host, uint16_t port, struct addrs *out)
{
    *out = (struct addrs){0};
    if (strcmp(host, "localhost") == 0)
        return addrs_add("::1", port, AI_NUMERICHOST, out) == 0 &&
               addrs_add("127.0.0.1", port, AI_NUMERICHOST, out) == 0;
    return addrs_add(host, port, AI_NUMERICHOST, out) == 0;
}

int addrs_resolve(const char *host, uint16_t port, struct addrs *out, struct ctask_error *e)
{
    if (addrs_literal(host, port, out)) return CTASK_OK;
    int rc = addrs_add(host, port, AI_ADDRCONFIG, out);
    if (rc == 0) return CTASK_OK;
    return error_set(e, CTASK_ECONN, "the host %s was not found: %s", host,
                     rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
}
