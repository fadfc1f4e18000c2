"""Results of a busy worker gather to leave together. None waits that somebody may wait for alone, and none
is lost or made twice when the worker leaves. While the clock stands still, what is held stays."""
import os
import signal

from bench import Clock
from poison import PoisonTest
from harness import main, stands, until

DONE, REST = 12, 30
MILLISECONDS = 3000  # in microseconds


class Gather(PoisonTest):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.addCleanup(self.clock.__exit__)

    def worker(self, *args):
        return super().worker("-c", "1", "-l", "trace", *args, env=self.clock.env)

    def live(self, name):
        return super().live(name, MILLISECONDS)

    def busy(self, *then):
        """A worker that has done DONE tasks, and one more if it is given, and has REST to do, whose
        child stands still: in a moment that does not end."""
        worker = self.worker("--prefetch", "1000")
        self.bus.results(*[self.live("warm-%d" % i) for i in range(150)])
        self.clock.stop()
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)  # until all are there
        before = worker.log().count("new -> ready")
        done = [self.live("n%d" % i) for i in range(DONE)]
        self.others = [self.bus.send(self.queue, *then)] if then else []
        self.stopped = self.bus.send(self.queue, "demo.stop", [])
        rest = [self.live("m%d" % i) for i in range(REST)]
        sent = len(done + self.others + [self.stopped] + rest)
        worker.expect("new -> ready", before + sent)
        os.kill(child, signal.SIGCONT)
        for task in done:
            worker.expect("id=%s running -> settling" % task)
        return worker, done, rest

    def let_go_on(self, worker):
        child, = worker.children()
        until("it stands still", lambda: stands(child))
        os.kill(child, signal.SIGCONT)

    def test_a_busy_worker_keeps_what_is_done_for_a_moment(self):
        worker, done, rest = self.busy()
        worker.signal(signal.SIGUSR1)
        worker.expect("INFO .* received")
        self.assertLess(self.bus.depth(self.bus.reply_to), DONE / 2)
        self.clock.goes_on(worker.pid)
        self.bus.results(*done)
        self.let_go_on(worker)
        self.bus.results(self.stopped, *rest)
        self.assertEqual(worker.stop(), 0)

    def test_what_a_task_sends_while_it_runs_leaves_at_once(self):
        """And with it what is kept: here the results of those before it, while the clock stands."""
        worker, done, rest = self.busy("demo.progress", [1])
        self.bus.results(*done)
        self.clock.goes_on(worker.pid)
        self.let_go_on(worker)
        self.bus.results(self.stopped, *self.others, *rest)
        self.assertEqual(worker.stop(), 0)

    def test_who_leaves_sends_what_it_has_kept(self):
        worker, done, rest = self.busy()
        worker.signal(signal.SIGTERM)
        self.bus.results(*done)  # the clock still stands
        self.let_go_on(worker)
        self.bus.result(self.stopped)
        self.assertEqual(worker.wait(), 0)
        until("the others are given back", lambda: self.bus.depth(self.queue) == REST)
        self.clock.goes_on()
        self.worker()
        self.bus.results(*rest)
        self.workers[-1].stop()
        self.assertEqual(self.bus.depth(self.bus.reply_to), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)
        self.assertEqual(set(self.starts().values()), {1})

    def test_one_that_is_alone_leaves_at_once(self):
        worker = self.worker()
        self.bus.results(*[self.live("warm-%d" % i) for i in range(150)])
        self.clock.stop()
        for i in range(3):
            self.assertEqual(self.bus.result(self.live("n%d" % i))["status"], "SUCCESS")
        self.clock.goes_on(worker.pid)
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
