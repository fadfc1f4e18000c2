/* fake_worker.h - answers tasks without running any, so that a client is tested against the broker
 * alone. The task's name says what happens:
 *   echo       SUCCESS with the first argument       kwargs    SUCCESS with the keyword arguments
 *   fail       FAILURE, ValueError "no good"          head      SUCCESS with what the head said
 *   retry      RETRY, then SUCCESS                    progress  STARTED, two reports, SUCCESS
 *   again      RETRY and nothing more
 *   twice      SUCCESS 1, FAILURE, SUCCESS 2          timed     SUCCESS, ran for 1.5 s
 *   junk       a reply that is no result              stray     a reply for nobody, then SUCCESS
 *   hold       nothing until fake_worker_release, then SUCCESS in reverse order
 *   drop       nothing at all
 * A message of many items (wire/starmap.h) is one of theirs; echo, fail, hold and drop as above,
 * and python     SUCCESS with a list of the first arguments and no notes short      the same
 * without the last one parts      what a worker says that was cut short, all of it twice: values of
 * the items before the middle but for the first, which goes alone; the others in a message of
 * theirs */
#ifndef SUPPORT_FAKE_WORKER_H
#define SUPPORT_FAKE_WORKER_H

#include <stddef.h>

struct fake_worker;

/* On a thread and a connection of its own; the queue is made if it is missing. */
struct fake_worker *fake_worker_start(const char *url, const char *queue);
/* Answers the held ones. Waits until `n` are held first. */
void fake_worker_release(struct fake_worker *w, size_t n);
/* How many tasks it has seen. */
size_t fake_worker_seen(struct fake_worker *w);
/* Deletes the queue too. */
void fake_worker_stop(struct fake_worker *w);

#endif
