/* fixture.h - what the tests of the client have in common: a queue of their own with a fake worker
 * on it, which is where tasks go that name none. */
#ifndef SUPPORT_FIXTURE_H
#define SUPPORT_FIXTURE_H

#include "support/fake_worker.h"

#include <check.h>
#include <ctask.h>

#define WAIT 20.0 /* for what must happen; nothing waits so long when all is well */

extern const char *broker_url; /* CTASK_TEST_BROKER */
extern char queue[64];
extern struct fake_worker *worker;

/* As a checked fixture of each test. */
void fixture_setup(void);
void fixture_teardown(void);

/* Deletes a queue of this broker over a connection of its own, as an operator would. */
void queue_delete(const char *name);
/* Waits for r and checks that it succeeded with this JSON value. */
void expect(struct ctask_result *r, const char *json);
/* Runs a suite; what main returns. 77, saying why, without a broker. */
int fixture_main(Suite *suite);

#endif
