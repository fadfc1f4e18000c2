/* ctask/worker.h - a worker binary of one's own, with its apps linked in.
 *
 *     #include <ctask/worker.h>
 *     const struct ctask_app *ctask_app_primes(void);
 *     int main(int argc, char **argv)
 *     {
 *         return ctask_worker_main(argc, argv, ctask_app_primes(), NULL);
 *     }
 *
 *     cc mine.c primes.c $(pkg-config --cflags --libs ctask-worker) -o mine */
#ifndef CTASK_WORKER_H
#define CTASK_WORKER_H

#include <ctask/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The whole of ctask-worker(1): reads the command line, runs until a signal, returns the exit
 * status; --help, --version and a wrong command line end the process here. The apps (borrowed, 32
 * at most) end with NULL; -A chooses among them by name and loads others; with exactly one linked
 * in, -A may be left out. Call it once, from the main thread, before any other thread runs. */
CTASK_API int ctask_worker_main(int argc, char **argv, const struct ctask_app *first, ...);

#ifdef __cplusplus
}
#endif

#endif
