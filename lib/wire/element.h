/* element.h - a JSON array as text, element by element: a list of thousands is neither parsed as a
 * whole nor kept as values, and the numbers and short texts that most elements are take no detour.
 * Total; a text that is no array is found to be none when its end is reached. */
#ifndef WIRE_ELEMENT_H
#define WIRE_ELEMENT_H

#include "wire/fault.h"

#include "base/bytes.h"

/* Takes the next element off the front of *rest, which is what stands between the brackets: 1 with
 * *one, which has no spaces around it; 0 at the end; -1: this is no list. */
int element_next(struct bytes *rest, struct bytes *one);
/* How many there are; false if this is no list. */
bool element_count(struct bytes list, size_t *n);
/* The value of an element, as wire_json reads it; new reference, NULL with *f set. */
json_t *element_value(struct bytes one, struct fault *f);
/* The elements of an element that is an array, into *array: emptied and used again if nobody else
 * holds it, else a new one; *array may be NULL. False with *f set. */
bool element_array(struct bytes one, json_t **array, struct fault *f);

#endif
