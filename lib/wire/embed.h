/* embed.h - the third element of a task's body: what its sender wants done after it. Carrying that
 * out is canvas, which is not there yet; until then it is seen, so that it is never lost unnoticed.
 */
#ifndef WIRE_EMBED_H
#define WIRE_EMBED_H

#include "wire/message.h"

#include <jansson.h>

/* What embed (an object or null) asks for after a success: "callbacks", "chain" or "chord"; NULL
 * for nothing. */
const char *embed_after_success(const json_t *embed);
/* The same after a failure: "errbacks". */
const char *embed_after_failure(const json_t *embed);
/* Step number i of the chain, with its id and reply address only; borrows from embed. False behind
 * the last one. */
bool embed_step(const json_t *embed, size_t i, struct message *step);

#endif
