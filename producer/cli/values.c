/* values.c - text from a person or a file as JSON. Bare words are strings, so that nobody has to
 * quote quotes; text that begins like JSON but is not, and numbers that do not fit, are refused
 * rather than sent as strings. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static json_t *refuse(char *why, size_t size, const char *sentence, const char *detail)
{
    snprintf(why, size, "%s%s", sentence, detail);
    return NULL;
}

static json_t *parse(const char *text, size_t length, char *why, size_t size)
{
    json_error_t e;
    json_t *j = json_loadb(text, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
    if (j) return j;
    if (json_error_code(&e) == json_error_numeric_overflow)
        return refuse(why, size, "the number does not fit 64 bits; in quotes it would be text", "");
    if (length > 0 && strchr("[{\"", text[strspn(text, " \t")]))
        return refuse(why, size, "it begins like JSON but is not: ", e.text);
    j = json_stringn(text, length);
    return j ? j : refuse(why, size, "it is not UTF-8 text", "");
}

json_t *value_parse(const char *text, char *why, size_t size)
{
    return parse(text, strlen(text), why, size);
}

json_t *value_parse_line(const char *text, size_t length, char *why, size_t size)
{
    if (length > 0 && text[length - 1] == '\r') length--;
    if (memchr(text, '\0', length)) return refuse(why, size, "it contains a NUL byte", "");
    if (strspn(text, " \t") >= length) return json_array();
    json_t *value = parse(text, length, why, size);
    if (!value || json_is_array(value)) return value;
    json_t *args = json_array();
    json_array_append_new(args, value);
    return args;
}

/* Reals with as many digits as it takes to read them back, so that 0.1 is shown as 0.1. */
char *value_text(const json_t *j)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits));
        if (!text || digits == 17) return text;
        json_t *again = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        bool same = json_equal(again, j);
        json_decref(again);
        if (same) return text;
        free(text);
    }
}
