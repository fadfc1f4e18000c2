/* options.c - a keyword argument, a delay, a deadline and another client than the default one. */
#include <ctask.h>
#include <stdio.h>

int main(void)
{
    struct ctask_error error;
    struct ctask_client *c = ctask_open(NULL, &error); /* $CTASK_BROKER_URL */
    if (!c) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    const struct ctask_options *soon = TASK_OPTIONS(.countdown = 0.5, .expires = 30);
    struct ctask_result *r = ctask_apply(c, soon, "is_prime", ctask_kw("n", 97));
    printf("task %s starts in half a second\n", ctask_result_id(r));

    bool prime = false;
    int rc = ctask_result_get(r, 10.0, CTASK_OUT(&prime));
    if (rc == CTASK_OK)
        printf("97 is %s\n", prime ? "prime" : "composite");
    else
        fprintf(stderr, "%s\n", ctask_error()->text);
    ctask_result_forget(r);
    ctask_close(c);
    return rc != CTASK_OK;
}
