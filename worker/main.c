/* main.c - ctask-worker: the worker with the apps that are always at hand. */
#include <ctask/worker.h>

const struct ctask_app *ctask_app_primes(void);
const struct ctask_app *ctask_app_demo(void);

int main(int argc, char **argv)
{
    return ctask_worker_main(argc, argv, ctask_app_primes(), ctask_app_demo(), NULL);
}
