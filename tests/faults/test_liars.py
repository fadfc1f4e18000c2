"""Tasks that say to their worker what no task should, or nothing any more: whoever comes after them
does not pay for it."""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, alive, main, stands, until  # noqa: E402
from poison import BUILD, POISON, PoisonTest  # noqa: E402

FORGER = os.path.join(BUILD, "tests/apps/forger.so")


class LiarTest(PoisonTest):
    def worker(self, *args, **kwargs):
        return BrokerTest.worker(self, *args, app="demo,%s,%s" % (FORGER, POISON), **kwargs)

    def lost(self, task):
        failure = self.bus.result(task)["result"]
        self.assertEqual(failure["exc_type"], "WorkerLostError")
        return failure["exc_message"][0]


class Silent(LiarTest):
    """A child that takes nothing more."""

    def test_a_task_that_is_not_begun_goes_to_another_child_whatever_its_time_limit(self):
        worker = self.worker("-c", "2", "-l", "trace")
        liar = self.bus.send(self.queue, "forger.done", [0, True], reply_to=False)
        worker.expect("id=%s running -> settling" % liar)
        innocent = self.bus.send(self.queue, "demo.add", [1, 2], headers={"timelimit": [1, 0.5]})
        self.assertEqual(self.bus.result(innocent)["result"], 3)
        worker.expect("has not read its job while task id=%s .* waits" % innocent)
        worker.expect("takes no jobs: it is killed")
        self.assertNotIn("time limit", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_one_that_has_begun_more_than_it_was_given_keeps_no_task(self):
        worker = self.worker("-c", "1")
        self.bus.send(self.queue, "forger.ahead", [], reply_to=False)
        worker.expect("has begun more than it was given: it is killed")
        innocent = self.bus.result(self.bus.send(self.queue, "demo.flagged", []))
        self.assertEqual((innocent["status"], innocent["result"]), ("SUCCESS", False))
        self.assertEqual(worker.stop(), 0)

    def test_the_time_of_a_task_begins_when_its_child_begins_it(self):
        worker = self.worker("-c", "1", "-l", "trace")
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)
        task = self.bus.send(self.queue, "demo.sleep", [0.5], headers={"timelimit": [1.5, None]})
        worker.expect("is stopped .* while task id=%s .* waits" % task)  # for two seconds
        os.kill(child, signal.SIGCONT)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(worker.children(), [child])
        self.assertEqual(worker.stop(), 0)


class Loud(LiarTest):
    def test_what_may_be_said_once_is_not_heard_without_end(self):
        worker = self.worker("-c", "1")
        for what, words in (("leave", "it is to be replaced"), ("output", "its task printed")):
            task = self.bus.send(self.queue, "forger.flood", [what])
            self.assertIn("said more than once that " + words, self.lost(task))
        self.assertEqual(len(re.findall("is tired", worker.log())), 3)  # once in each of its runs
        self.assertEqual(worker.stop(), 0)

    def test_the_end_of_a_child_is_seen_while_others_speak_for_it(self):
        worker = self.worker("-c", "2")
        task = self.bus.send(self.queue, "forger.refill")
        self.assertIn("signal 6", self.lost(task))
        self.assertIs(self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        self.assertEqual(worker.stop(), 0)

    def test_a_task_costs_no_more_than_it_can_have_taken(self):
        """What tasks cost decides how many are held."""
        worker = self.worker("-c", "1", "-l", "trace")
        self.bus.results(*[self.live("warm-%d" % i) for i in range(400)])
        liar = self.bus.send(self.queue, "forger.done", [1e300, False], reply_to=False)
        worker.expect("id=%s running -> settling" % liar)
        worker.signal(signal.SIGSTOP)
        tasks = [self.live("n%d" % i) for i in range(200)]
        worker.signal(signal.SIGCONT)
        self.bus.results(*tasks)
        self.assertGreater(self.held(worker, after=liar), 20)
        self.assertEqual(worker.stop(), 0)

    def held(self, worker, after):
        """The most tasks that it had at a time, running or for a child."""
        now = most = 0
        for line in worker.log().partition("id=%s running -> settling" % after)[2].splitlines():
            now += line.endswith("new -> ready")
            now -= line.endswith("running -> settling")
            most = max(most, now)
        return most


class Traced(LiarTest):
    def test_a_task_that_stops_before_its_debugger_has_not_ended(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "poison.die", [self.ledger, "trace"])
        self.assertIn("made the worker its debugger, after 3 attempts", self.lost(task))
        self.assertEqual(self.starts(), {"trace": 3})
        self.assertEqual(worker.stop(), 0)

    def test_nor_has_one_whose_thread_does(self):
        """And the end of its process is seen, though the thread is the worker's to wait for."""
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "poison.die", [self.ledger, "traced-thread"])
        self.assertIn("made the worker its debugger, after 3 attempts", self.lost(task))
        self.assertEqual(self.starts(), {"traced-thread": 3})
        self.assertEqual(worker.stop(), 0)

    def test_nor_is_the_end_lost_of_one_with_more_traced_threads_than_are_seen_in_a_turn(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "poison.die", [self.ledger, "traced-threads"])
        for attempt in range(3):
            until("start %d" % (attempt + 1), lambda: self.starts()["traced-threads"] > attempt)
            until("the worker stands", lambda: stands(worker.pid))
            child, = worker.children()
            until("all threads have ended", lambda: not any(
                alive("%d/task/%s" % (child, thread))
                for thread in os.listdir("/proc/%d/task" % child)))
            worker.signal(signal.SIGCONT)
        self.assertIn("exit status 3, after 3 attempts", self.lost(task))
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
