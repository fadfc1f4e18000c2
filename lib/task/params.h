/* params.h - a task's parameter list, "path, width=640", and arguments matched to it.
 *
 * The list holds names, separated by commas. One with `=` is optional; what follows, up to the next
 * comma, is for people: the default is the value that the task's variable has. A NULL list names
 * nothing: then all arguments are positional and required. Sentences are Python's where it has one,
 * because its users know them. */
#ifndef TASK_PARAMS_H
#define TASK_PARAMS_H

#include "base/bytes.h"
#include "wire/fault.h"

#define PARAMS_MAX 64

/* NULL if the list is sound, else what is wrong with it; static. */
const char *params_check(const char *params);

/* Matches arguments (an array and an object) to the list of task `name` and stores them in out[0]
 * to out[n - 1], one for each parameter; of an absent optional one the variable keeps its value.
 * False with *f set (TypeError) when they do not fit; then no JSON reference was handed out. */
bool params_store(const char *name, const char *params, const json_t *args, const json_t *kwargs,
                  size_t n, const struct ctask_out *out, struct fault *f);

#endif
