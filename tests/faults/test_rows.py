"""Short tasks stand in a row at a child, of which it has begun the first at most. Whatever becomes of
the row, each task runs once, and its child and its worker live."""
import os
import re
import signal

from bench import Clock
from poison import PoisonTest
from harness import main, stands, until

LARGE = 3 << 20
MILLISECONDS = 3000  # in microseconds


class Rows(PoisonTest):
    def warm(self, us=0):
        """From here on tasks are known to be short."""
        self.bus.results(*[self.live("warm-%d" % i, us) for i in range(400)])

    def test_one_that_is_dissolved_twice_before_its_child_hears_of_it(self):
        """First since its first takes long, then at its soft limit: the child learns of both at once,
        and what is said of the one must not be taken for the other."""
        worker = self.worker("-c", "1", "--soft-time-limit", "0.3")
        self.warm()
        worker.signal(signal.SIGSTOP)
        tasks = [self.live("n%d" % i, 0 if i else 600000) for i in range(6)]
        worker.signal(signal.SIGCONT)
        worker.expect("its soft time limit")
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
        with Clock() as clock:
            worker = self.worker("-c", "1", "--prefetch", "60", env=clock.env)
            self.warm()
            clock.stop()  # a child that takes no jobs for some seconds is killed
            child, = worker.children()
            os.kill(child, signal.SIGSTOP)
            tasks = [self.live("n%d" % i) for i in range(2)]
            for _ in range(30):
                self.bus.send(self.queue, "demo.echo", ["x" * LARGE], reply_to=False)
            until("they are here", lambda: self.bus.depth(self.queue) == 0)
            os.kill(child, signal.SIGCONT)
            clock.goes_on(worker.pid)
            self.bus.results(*tasks, self.live("last"))
            self.assertEqual(set(self.starts().values()), {1})
            self.assertEqual(worker.stop(), 0)

    def test_no_other_runs_after_one_of_some_milliseconds_that_changed_its_process(self):
        """Of tiny ones not each is worth the look; these are."""
        worker = self.worker("-c", "1", "--prefetch", "1000")
        self.warm(MILLISECONDS)
        tasks = []
        for i in range(10):
            tasks.append(self.bus.send(self.queue, "poison.misbehave", ["directory"]))
            tasks += [self.live("n%d-%d" % (i, k), MILLISECONDS) for k in range(4)]
        self.bus.results(*tasks)
        self.assertEqual(worker.log().count("is replaced"), 10)
        self.assertNotIn("it, or one of", worker.log())
        self.assertEqual(worker.stop(), 0)

    def behind_a_long_one(self, clock, tasks):
        """A worker with two children that stand, as does the clock. One of so many short tasks is behind
        another that ends when we let it; returns the worker, that one and the short ones."""
        worker = self.worker("-c", "2", "--prefetch", "1000", "-l", "trace", env=clock.env)
        self.warm(MILLISECONDS)
        clock.stop()
        for child in worker.children():
            os.kill(child, signal.SIGSTOP)
        before = worker.log().count("new -> ready")
        long = self.bus.send(self.queue, "demo.stop", [])
        short = [self.live("n%d" % i, MILLISECONDS) for i in range(tasks)]
        worker.expect("new -> ready", before + 1 + tasks)
        return worker, long, short

    def go_on(self, worker):
        for child in worker.children():
            os.kill(child, signal.SIGCONT)

    def end(self, worker, long):
        until("it has begun", lambda: any(map(stands, worker.children())))
        self.go_on(worker)
        self.assertEqual(self.bus.result(long)["status"], "SUCCESS")
        self.assertEqual(set(self.starts().values()), {1})
        self.assertEqual(worker.stop(), 0)

    def test_one_of_some_milliseconds_does_not_stay_behind_a_long_one(self):
        with Clock() as clock:
            worker, long, short = self.behind_a_long_one(clock, 40)
            clock.goes_on(worker.pid)
            self.go_on(worker)
            self.bus.results(*short)
            ended = re.findall(r"id=(\S+) running -> settling", worker.log())
            self.assertNotIn(long, ended)
            back = re.findall(r"id=(\S+) running -> ready", worker.log())
            self.assertNotEqual(back, [], "none was behind the long one")
            self.assertNotEqual(back[0], ended[-1], "it waited for a child with nothing else to do")
            self.end(worker, long)

    def test_one_of_some_milliseconds_goes_to_a_child_that_is_idle(self):
        """At once, also if the one before it has not run for long."""
        with Clock() as clock:
            worker, long, short = self.behind_a_long_one(clock, 5)
            self.go_on(worker)
            self.bus.results(*short)
            back = re.findall(r"id=(\S+) running -> ready", worker.log())
            self.assertNotEqual(set(back) & set(short), set(), "none was behind the long one")
            clock.goes_on(worker.pid)
            self.end(worker, long)


if __name__ == "__main__":
    main()
