/* stream.c - counts the primes below a million in bounded memory: at most a thousand calls are
 * under way, results are taken as they come. */
#include <ctask.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long limit = argc > 1 ? atol(argv[1]) : 1000000, next = 0, primes = 0;
    struct ctask_map *m = ctask_map_open(NULL, NULL, "is_prime", 0);
    int rc = m ? 1 : ctask_error()->code;

    while (rc == 1) {
        int put = CTASK_OK;
        while (next < limit && (put = ctask_map_put(m, next)) == CTASK_OK) next++;
        if (put != CTASK_OK && put != CTASK_EAGAIN) break; /* CTASK_EAGAIN: the window is full */
        if (next == limit) ctask_map_end(m);

        struct ctask_result *r;
        bool prime = false;
        rc = ctask_map_next(m, 60.0, NULL, &r);
        if (rc == 1 && ctask_result_get(r, 0, CTASK_OUT(&prime)) != CTASK_OK) break;
        primes += prime;
    }
    if (rc == CTASK_OK)
        printf("%ld primes below %ld\n", primes, limit);
    else
        fprintf(stderr, "%s\n", ctask_error()->text);
    ctask_map_close(m);
    return rc != CTASK_OK;
}
