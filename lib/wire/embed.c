/* embed.c - see embed.h. */
#include "wire/embed.h"

#include <stdbool.h>
#include <stddef.h>

/* Celery writes null, and [] behind the last step of a chain. */
static bool asks(const json_t *embed, const char *key)
{
    const json_t *j = json_object_get(embed, key);
    if (!j || json_is_null(j)) return false;
    if (json_is_array(j)) return json_array_size(j) > 0;
    if (json_is_object(j)) return json_object_size(j) > 0;
    return true;
}

const char *embed_after_success(const json_t *embed)
{
    static const char *const keys[] = {"callbacks", "chain", "chord"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (asks(embed, keys[i])) return keys[i];
    return NULL;
}

const char *embed_after_failure(const json_t *embed)
{
    return asks(embed, "errbacks") ? "errbacks" : NULL;
}
