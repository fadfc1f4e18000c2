/* hash.h - SipHash-1-3 (https://www.aumasson.jp/siphash/) under a key of this process's own, since
 * what is hashed comes from the network: one round per word, three to finish, which is what
 * scripting languages settled on for tables of foreign keys. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

uint64_t bytes_hash(struct bytes key);

#endif
