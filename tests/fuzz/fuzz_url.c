/* fuzz_url.c - broker URLs: each is refused with a sentence or read, and is never shown with its
 * password. */
#include "fuzz.h"

#include "base/url.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url u = {0};
    struct ctask_error e = {0};
    char shown[2048], without[2048];
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (url_parse(text, &u, &e) == CTASK_OK) {
        must(u.host[0] && u.port != 0 && u.vhost[0]);
        url_show(&u, shown, sizeof shown);
        must(strlen(shown) < sizeof shown);
        /* What it says does not depend on the password. */
        memset(u.password, 0, sizeof u.password);
        url_show(&u, without, sizeof without);
        must(strcmp(shown, without) == 0);
    } else {
        must(e.code == CTASK_EINVAL && e.text[0]);
    }
    free(text);
    return 0;
}
