/* later.c - sends N tasks to QUEUE that are to run in SECONDS, whose results nobody wants, and ends
 * when the broker has all of them. With SECONDS and N "-" it sends a task for each line that it
 * reads, in as many seconds as the line says, and answers each with "sent". Used by test_delay.py.
 */
#include <ctask.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool send(struct ctask_client *c, struct ctask_options *o, long n)
{
    struct ctask_result *r = ctask_apply(c, o, "is_prime", n);
    bool sent = result_state(r) != CTASK_FAILURE;
    if (!sent) fprintf(stderr, "later: %s\n", result_error(r)->text);
    result_forget(r);
    return sent;
}

/* True if the broker has all. */
static bool flush(struct ctask_client *c)
{
    long left = ctask_flush(c, 120);
    if (left != 0) fprintf(stderr, "later: %ld: %s\n", left, ctask_error()->text);
    return left == 0;
}

static bool answer_lines(struct ctask_client *c, struct ctask_options *o)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        o->countdown = atof(line);
        if (!send(c, o, 97) || !flush(c)) return false;
        puts("sent");
        fflush(stdout);
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    struct ctask_client *c = ctask_open(NULL, NULL);
    struct ctask_options *o =
        TASK_OPTIONS(.queue = argv[1], .countdown = atof(argv[2]), .no_result = true);
    bool sound = true;
    if (strcmp(argv[3], "-") == 0)
        sound = answer_lines(c, o);
    else
        for (long i = 0, n = atol(argv[3]); i < n && sound; i++) sound = send(c, o, i);
    sound = sound && flush(c);
    ctask_close(c);
    return !sound;
}
