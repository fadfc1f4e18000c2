/* err.h - the lowest function that knows the words sets the error, the others pass the code up. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <ctask.h>

/* Sets *e (which may be NULL) and returns code. The text may be built from what *e holds. */
int error_set(struct ctask_error *e, int code, const char *fmt, ...) CTASK_PRINTF(3, 4);

/* Notes *e as this thread's ctask_error() and returns its code. */
int error_raise(const struct ctask_error *e);

/* For what cannot happen: says where and aborts. */
_Noreturn void bug_at(const char *file, int line, const char *what);
#define bug(what) bug_at(__FILE__, __LINE__, what)

#endif
