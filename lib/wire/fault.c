/* fault.c - see fault.h. */
#include "wire/fault.h"

#include "wire/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where Python has an exception, for those it can make from one text. Types that ask for more (such
 * as UnicodeDecodeError) and those that would end the asker's process (such as SystemExit) are left
 * out on purpose: without a module the asker makes an ordinary exception of that name. */
static const char *const builtin[] = {"ArithmeticError",
                                      "AssertionError",
                                      "AttributeError",
                                      "BlockingIOError",
                                      "BrokenPipeError",
                                      "BufferError",
                                      "ChildProcessError",
                                      "ConnectionAbortedError",
                                      "ConnectionError",
                                      "ConnectionRefusedError",
                                      "ConnectionResetError",
                                      "EOFError",
                                      "Exception",
                                      "FileExistsError",
                                      "FileNotFoundError",
                                      "FloatingPointError",
                                      "IOError",
                                      "ImportError",
                                      "IndexError",
                                      "InterruptedError",
                                      "IsADirectoryError",
                                      "KeyError",
                                      "LookupError",
                                      "MemoryError",
                                      "ModuleNotFoundError",
                                      "NameError",
                                      "NotADirectoryError",
                                      "NotImplementedError",
                                      "OSError",
                                      "OverflowError",
                                      "PermissionError",
                                      "ProcessLookupError",
                                      "RecursionError",
                                      "ReferenceError",
                                      "RuntimeError",
                                      "SyntaxError",
                                      "SystemError",
                                      "TimeoutError",
                                      "TypeError",
                                      "UnicodeError",
                                      "ValueError",
                                      "ZeroDivisionError",
                                      NULL};
static const char *const celery[] = {
    "BackendError",         "CeleryError",      "ChordError",       "Ignore",
    "ImproperlyConfigured", "IncompleteStream", "InvalidTaskError", "MaxRetriesExceededError",
    "NotRegistered",        "QueueNotFound",    "Reject",           "Retry",
    "SecurityError",        "TaskError",        "TaskRevokedError", NULL};
static const char *const kombu[] = {
    "ContentDisallowed", "DecodeError",      "EncodeError",        "KombuError",
    "LimitExceeded",     "OperationalError", "SerializationError", NULL};
static const char *const billiard[] = {"SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded",
                                       "WorkerLostError", NULL};

static const struct {
    const char *name;
    const char *const *types;
} modules[] = {
    {"builtins", builtin},
    {"celery.exceptions", celery},
    {"kombu.exceptions", kombu},
    {"billiard.exceptions", billiard},
};

static const char *module_of(const char *type)
{
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        for (const char *const *t = modules[i].types; *t; t++)
            if (strcmp(*t, type) == 0) return modules[i].name;
    return NULL;
}

bool fault_set(struct fault *f, const char *type, const char *fmt, ...)
{
    struct fault set; /* apart: type and arguments may point into *f */
    char text[sizeof set.text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_copy(set.type, sizeof set.type, bytes_text(type));
    text_copy(set.text, sizeof set.text, bytes_text(text));
    *f = set;
    return false;
}

json_t *fault_to_json(const struct fault *f)
{
    return json_pack("{s:s, s:[s], s:s?}", "exc_type", f->type, "exc_message", f->text,
                     "exc_module", module_of(f->type));
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* What fits of a text; more is of no interest. */
struct excerpt {
    size_t n;
    char text[sizeof((struct fault *)0)->text];
};

static int excerpt_add(const char *p, size_t n, void *ctx)
{
    struct excerpt *e = ctx;
    size_t room = sizeof e->text - e->n;
    size_t taken = n < room ? n : room;
    memcpy(e->text + e->n, p, taken);
    e->n += taken;
    return taken < n ? -1 : 0; /* -1 ends a dump early */
}

static void excerpt_value(struct excerpt *e, const json_t *j)
{
    if (json_is_string(j))
        excerpt_add(json_string_value(j), json_string_length(j), e);
    else
        json_dump_callback(j, excerpt_add, e, JSON_COMPACT | JSON_ENCODE_ANY);
}

void fault_from_json(const json_t *j, struct fault *f)
{
    const json_t *type = json_object_get(j, "exc_type");
    const json_t *message = json_object_get(j, "exc_message");
    struct excerpt e = {0};
    if (json_is_array(message)) {
        size_t i;
        json_t *argument;
        json_array_foreach(message, i, argument)
        {
            if (i > 0) excerpt_add(", ", 2, &e);
            excerpt_value(&e, argument);
        }
    } else if (message) {
        excerpt_value(&e, message);
    } else if (j && !json_is_null(j)) {
        excerpt_value(&e, j);
    }
    const char *name = json_string_length(type) ? json_string_value(type) : "Exception";
    text_copy(f->type, sizeof f->type, bytes_text(name));
    text_copy(f->text, sizeof f->text, bytes_of(e.text, e.n));
}
