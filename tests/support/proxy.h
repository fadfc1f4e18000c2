/* proxy.h - a TCP relay between a client and the broker that can be cut, stopped and closed, so
 * that a test makes the network fail at the moment it wants. */
#ifndef SUPPORT_PROXY_H
#define SUPPORT_PROXY_H

#include <stdbool.h>
#include <stdint.h>

struct proxy;

/* Listens on 127.0.0.1 and relays to the broker of that URL, on a thread of its own. */
struct proxy *proxy_start(const char *url);
/* The broker's URL through the proxy; valid until proxy_stop. */
const char *proxy_url(const struct proxy *p);
/* Resets all connections there are. */
void proxy_cut(struct proxy *p);
/* While closed, new connections are reset as soon as they are made. */
void proxy_close(struct proxy *p, bool closed);
/* While frozen, bytes from the broker stay here. */
void proxy_freeze(struct proxy *p, bool frozen);
/* While it is a black hole, nothing that clients send on the connections there are is seen here,
 * not even by the kernel: no acknowledgement, no reset, as when a machine is gone. */
void proxy_swallow(struct proxy *p, bool swallow);
/* How many connections were made. */
unsigned proxy_connections(struct proxy *p);
void proxy_stop(struct proxy *p);

#endif
