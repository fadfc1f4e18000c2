/* client.h - what other rooms may know of a client. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "transport/transport.h"

/* A client over x, which it takes over: what a running task sends with, once ctask_set_default has
 * made it the default. It sends at once, with the ids of x->task_id and x->root_id as parent and
 * root and without a reply address; waiting for a result on it is CTASK_EINTASK. NULL when out of
 * memory, and then x is freed. */
struct ctask_client *client_over(struct transport *x);

#endif
