"""Who runs first where there are more to run than processors: children leave it to others, their parent
while it has many short tasks; and a policy that somebody has chosen stays."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main, until  # noqa: E402

MANY = 100


class Batch(BrokerTest):
    reports = 0

    def start(self, policy):
        """A worker under that policy (an option of chrt), whose children have run short tasks."""
        worker = self.worker("-c", "2", "-l", "trace", "--prefetch=%d" % (2 * MANY),
                             under=("chrt", policy, "0"))
        self.bus.results(*[self.bus.send(self.queue) for _ in range(400)])
        return worker

    def children(self, worker):
        return {os.sched_getscheduler(pid) for pid in worker.children()}

    def with_many(self, worker):
        """The parent's policy while it has many short tasks."""
        children = worker.children()
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        before = worker.log().count("new -> ready")
        tasks = [self.bus.send(self.queue) for _ in range(MANY)]
        worker.expect("new -> ready", before + MANY)
        self.reports += 1
        worker.signal(signal.SIGUSR1)  # which it reads in a later turn
        worker.expect("INFO .* received", self.reports)
        policy = os.sched_getscheduler(worker.pid)
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        self.bus.results(*tasks)
        return policy

    def test_children_are_batch_and_their_parent_while_it_has_many_short_tasks(self):
        worker = self.start("-o")
        self.assertEqual(self.children(worker), {os.SCHED_BATCH})
        until("tasks are short, on a busy machine too", lambda:
              self.with_many(worker) == os.SCHED_BATCH)
        until("it is not any more", lambda:
              os.sched_getscheduler(worker.pid) == os.SCHED_OTHER)
        self.assertEqual(worker.stop(), 0)

    def test_a_policy_that_was_chosen_stays(self):
        worker = self.start("-i")
        self.assertEqual(self.children(worker), {os.SCHED_IDLE})
        self.assertEqual(self.with_many(worker), os.SCHED_IDLE)
        self.assertEqual(os.sched_getscheduler(worker.pid), os.SCHED_IDLE)
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
