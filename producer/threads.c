/* threads.c - four threads share the default client; each waits for its own results. */
#include <ctask.h>
#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, EACH = 250 };

static void *count_primes(void *arg)
{
    long *found = arg, first = *found;
    AsyncResult *r[EACH];
    for (int i = 0; i < EACH; i++) r[i] = task_delay("is_prime", first + i);
    *found = 0;
    for (int i = 0; i < EACH; i++) {
        bool prime = false;
        if (result_get(r[i], 30.0, &prime) != CTASK_OK)
            fprintf(stderr, "%ld: %s\n", first + i, ctask_error()->text);
        *found += prime;
        result_forget(r[i]);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    long found[THREADS], total = 0;
    for (int i = 0; i < THREADS; i++) {
        found[i] = (long)i * EACH;
        if (pthread_create(&thread[i], NULL, count_primes, &found[i]) != 0) return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        total += found[i];
    }
    printf("%ld primes below %d\n", total, THREADS * EACH);
    return total != 168;
}
