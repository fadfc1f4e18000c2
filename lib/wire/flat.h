/* flat.h - JSON that is flat, read where it lies: what nearly all values, arguments and results of
 * small tasks are. Takers remove what they read from the front of *rest. They know a part of JSON
 * and do not err in it: whatever else they meet, sound or not, they refuse, and wire_json reads it.
 */
#ifndef WIRE_FLAT_H
#define WIRE_FLAT_H

#include "base/bytes.h"

#include <jansson.h>

static inline void flat_space_skip(struct bytes *rest)
{
    while (rest->n > 0 && (*rest->p == ' ' || *rest->p == '\n')) *rest = bytes_rest(*rest, 1);
}

/* A sign of JSON's, with space before it. */
static inline bool flat_char_take(struct bytes *rest, char c)
{
    flat_space_skip(rest);
    if (rest->n == 0 || *rest->p != (uint8_t)c) return false;
    *rest = bytes_rest(*rest, 1);
    return true;
}

static inline bool flat_word_take(struct bytes *rest, const char *word)
{
    size_t n = strlen(word);
    if (rest->n < n || memcmp(rest->p, word, n) != 0) return false;
    *rest = bytes_rest(*rest, n);
    return true;
}

/* A string of ASCII without escapes; *s is what it says. */
bool flat_string_take(struct bytes *rest, struct bytes *s);
/* A number, as a double of which the last bit may differ from the nearest one. */
bool flat_number_take(struct bytes *rest, double *x);
/* Whatever is flat, and an empty list or object. */
bool flat_skip(struct bytes *rest);
/* null, a boolean, such a string, or an integer of at most 18 digits. New reference; NULL if it is
 * something else, or out of memory. */
json_t *flat_value_take(struct bytes *rest);

#endif
