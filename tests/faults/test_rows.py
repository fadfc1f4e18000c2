"""Short tasks stand in a row at a child, of which it has begun the first at most. Whatever becomes of
the row, each task runs once, and its child and its worker live."""
import collections
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BrokerTest, main, until  # noqa: E402

POISON = os.path.join(os.environ["CTASK_BUILD"], "tests/apps/poison.so")
LARGE = 3 << 20


class Rows(BrokerTest):
    def setUp(self):
        super().setUp()
        handle, self.ledger = tempfile.mkstemp(prefix="ctask-ledger-")
        os.close(handle)
        self.addCleanup(os.unlink, self.ledger)

    def worker(self, *args):
        return super().worker(*args, app="primes,demo," + POISON)

    def live(self, name):
        return self.bus.send(self.queue, "poison.live", [self.ledger, name, 0])

    def warm(self):
        """From here on tasks are known to be short."""
        self.bus.results(*[self.live("warm-%d" % i) for i in range(400)])

    def starts(self):
        with open(self.ledger) as f:
            return collections.Counter(line.split()[0] for line in f)

    def test_one_that_is_dissolved_twice_before_its_child_hears_of_it(self):
        """First since its first takes long, then at its soft limit: the child learns of both at once,
        and what is said of the one must not be taken for the other."""
        worker = self.worker("-c", "1", "--soft-time-limit", "0.3")
        self.warm()
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)
        tasks = [self.live("n%d" % i) for i in range(6)]
        worker.expect("its soft time limit")
        os.kill(child, signal.SIGCONT)
        results = self.bus.results(*tasks)
        self.assertEqual({r["status"] for r in results.values()}, {"SUCCESS"})
        self.assertEqual(set(self.starts().values()), {1})
        self.assertNotIn("it is killed", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_a_child_that_is_to_leave_ends_what_it_has_begun(self):
        worker = self.worker("-c", "2", "--max-memory-per-child", "30M")
        self.warm()
        tasks = [self.bus.send(self.queue, "demo.leak", [200000]) for _ in range(1500)]
        results = self.bus.results(*tasks)
        self.assertEqual({r["status"] for r in results.values()}, {"SUCCESS"})
        self.assertEqual([t for t, r in results.items() if r.get("redelivered")], [])
        self.assertNotIn("out of turn", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_bodies_that_are_large_do_not_gather_at_a_child(self):
        worker = self.worker("-c", "1", "--prefetch", "60")
        self.warm()
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)
        tasks = [self.live("n%d" % i) for i in range(2)]
        for _ in range(30):
            self.bus.send(self.queue, "demo.echo", ["x" * LARGE], reply_to=False)
        until("they are here", lambda: self.bus.depth(self.queue) == 0)
        os.kill(child, signal.SIGCONT)
        self.bus.results(*tasks, self.live("last"))
        self.assertEqual(set(self.starts().values()), {1})
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
