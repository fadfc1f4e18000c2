/* later.c - sends N tasks to QUEUE that are to run in SECONDS, whose results nobody wants, and ends
 * when the broker has all of them. Used by test_delay.py. */
#include <ctask.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    struct ctask_client *c = ctask_open(NULL, NULL);
    struct ctask_options *o =
        TASK_OPTIONS(.queue = argv[1], .countdown = atof(argv[2]), .no_result = true);
    for (long i = 0, n = atol(argv[3]); i < n; i++) {
        struct ctask_result *r = ctask_apply(c, o, "is_prime", i);
        if (result_state(r) == CTASK_FAILURE) {
            fprintf(stderr, "later: %s\n", result_error(r)->text);
            return 1;
        }
        result_forget(r);
    }
    long left = ctask_flush(c, 120);
    if (left != 0) fprintf(stderr, "later: %ld: %s\n", left, ctask_error()->text);
    ctask_close(c);
    return left != 0;
}
