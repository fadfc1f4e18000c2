/* embed.c - see embed.h. */
#include "wire/embed.h"

#include "wire/text.h"

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

/* Empty if it is no plain text. */
static struct bytes option(const json_t *step, const char *key)
{
    const json_t *j = json_object_get(json_object_get(step, "options"), key);
    struct bytes text = bytes_of(json_string_value(j), json_string_length(j));
    return text_plain(text) ? text : bytes_of(NULL, 0);
}

bool embed_step(const json_t *embed, size_t i, struct message *step)
{
    const json_t *chain = json_object_get(embed, "chain");
    if (i >= json_array_size(chain)) return false;
    *step = (struct message){0};
    step->id = step->correlation_id = option(json_array_get(chain, i), "task_id");
    step->reply_to = option(json_array_get(chain, i), "reply_to");
    return true;
}
