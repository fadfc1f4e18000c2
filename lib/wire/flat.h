/* flat.h - JSON that is flat, read where it lies: what nearly all values, arguments and results of
 * small tasks are. Takers remove what they read from the front of *rest. They know a part of JSON
 * and do not err in it: whatever else they meet, sound or not, they refuse, and wire_json reads it.
 */
#ifndef WIRE_FLAT_H
#define WIRE_FLAT_H

#include "base/bytes.h"

#include <jansson.h>

/* Just these bytes. */
static inline bool flat_word_take(struct bytes *rest, const char *word)
{
    if (!bytes_begins(*rest, word)) return false;
    *rest = bytes_rest(*rest, strlen(word));
    return true;
}

/* A string of ASCII without escapes; *s is what it says. */
bool flat_string_take(struct bytes *rest, struct bytes *s);
/* A number, as a double of which the last bit may differ from the nearest one. */
bool flat_number_take(struct bytes *rest, double *x);
/* null, a boolean, such a string, or an integer of at most 18 digits. New reference; NULL if it is
 * something else, or out of memory. */
json_t *flat_value_take(struct bytes *rest);
/* A list of such values without spaces. */
json_t *flat_list_take(struct bytes *rest);

#endif
