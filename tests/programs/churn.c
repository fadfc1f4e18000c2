/* churn.c - N is_prime tasks from T threads that share one client, at most WINDOW under way in
 * each. Checks each result against its own arithmetic and prints what it saw as one line of JSON.
 * Used by test_churn.py, which lets workers come and go meanwhile. */
#include "../../tasks/is_prime.h"

#include <ctask.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 250
#define TRIES 1200

struct share {
    struct ctask_client *client;
    const char *queue;
    long first, count;
    long right, wrong, failed;
};

/* While the broker is known to be away a send fails at once, and it is for us to try again. */
static struct ctask_result *begin(const struct share *s, long i)
{
    for (int tries = 1;; tries++) {
        struct ctask_result *r =
            ctask_apply(s->client, TASK_OPTIONS(.queue = s->queue), "is_prime", s->first + i);
        bool refused = ctask_result_state(r) == CTASK_FAILURE &&
                       (ctask_result_error(r)->flags & CTASK_RETRIABLE);
        if (!refused || tries == TRIES) return r;
        ctask_result_forget(r);
        ctask_poll(s->client, 0.1);
    }
}

static void end(struct share *s, struct ctask_result *r, long i)
{
    bool prime = false;
    if (result_get(r, 120, &prime) != CTASK_OK) {
        if (s->failed++ == 0) fprintf(stderr, "churn: %s\n", result_error(r)->text);
    } else if (prime == is_prime(s->first + i)) {
        s->right++;
    } else {
        s->wrong++;
    }
    result_forget(r);
}

static void *produce(void *arg)
{
    struct share *s = arg;
    struct ctask_result *under_way[WINDOW];
    for (long i = 0; i < s->count + WINDOW; i++) {
        if (i >= WINDOW && i - WINDOW < s->count) end(s, under_way[i % WINDOW], i - WINDOW);
        if (i < s->count) under_way[i % WINDOW] = begin(s, i);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: churn QUEUE TASKS THREADS\n");
        return 2;
    }
    long tasks = atol(argv[2]), threads = atol(argv[3]);
    struct ctask_error e;
    struct ctask_client *c = ctask_open(NULL, &e);
    if (!c) {
        fprintf(stderr, "churn: %s\n", e.text);
        return 69;
    }
    struct share *shares = calloc((size_t)threads, sizeof *shares);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    if (!shares || !ids) return 1;
    for (long t = 0; t < threads; t++) {
        shares[t] = (struct share){c, argv[1], t * (tasks / threads), tasks / threads, 0, 0, 0};
        pthread_create(&ids[t], NULL, produce, &shares[t]);
    }
    long right = 0, wrong = 0, failed = 0;
    for (long t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        right += shares[t].right;
        wrong += shares[t].wrong;
        failed += shares[t].failed;
    }
    printf("{\"right\": %ld, \"wrong\": %ld, \"failed\": %ld}\n", right, wrong, failed);
    ctask_close(c);
    free(shares);
    free(ids);
    return right == threads * (tasks / threads) ? 0 : 1;
}
