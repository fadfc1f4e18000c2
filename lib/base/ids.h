/* ids.h - fresh ids. */
#ifndef BASE_IDS_H
#define BASE_IDS_H

#define ID_SIZE 37 /* a uuid4 in lower case with dashes, and its NUL */

/* Never fails, never waits and never repeats, in forked children too. For any thread. */
void id_new(char out[ID_SIZE]);

#endif
