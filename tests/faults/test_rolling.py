"""Workers that come and go under load: restarted one after the other, killed, stopped and woken.
Nothing is lost, what had finished does not run again, and what starts again knows it."""
import collections
import json
import os
import re
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import URL, BrokerTest, Bus, main, until  # noqa: E402

STARTED = re.compile(r"id=(\S+) ready -> running")
ENDED = re.compile(r"id=(\S+) running -> settling")


class Collector(threading.Thread):
    """Takes results as they come, over a connection of its own: id -> [value]."""

    def __init__(self, reply_to):
        super().__init__(daemon=True)
        self.bus, self.reply_to = Bus(), reply_to
        self.found = collections.defaultdict(list)
        self.done = False
        self.bus.channel.basic_consume(reply_to, no_ack=True, callback=self.take)

    def take(self, message):
        body = json.loads(message.body)
        self.found[body["task_id"]].append((body["status"], body["result"]))

    def run(self):
        while not self.done:
            try:
                self.bus.connection.drain_events(timeout=0.2)
            except OSError:
                pass
        self.bus.close()

    def finish(self, ids):
        """Waits for a result of each."""
        until("all results", lambda: len(self.found) >= len(ids))

    def all_of(self, bus):
        """Every result that was sent before this call, also a second one of a task."""
        bus.send(self.reply_to, body=json.dumps({"task_id": "last", "status": "", "result": None}))
        until("what was sent last has come", lambda: self.found.pop("last", None))
        return self.found


class Rolling(BrokerTest):
    def setUp(self):
        super().setUp()
        self.bus.declare(self.queue)
        self.collector = Collector(self.bus.reply_to)
        self.collector.start()

    def tearDown(self):
        self.collector.done = True
        self.collector.join()
        super().tearDown()

    def fleet_worker(self, *args, **kwargs):
        return self.worker("-c", "2", "-l", "trace", *args, **kwargs)

    def end_all(self, fleet):
        for worker in fleet:
            self.assertEqual(worker.stop(), 0)
        for name in self.queue, self.queue + ".dead":
            self.assertEqual(self.bus.depth(name), 0)

    def test_a_rolling_restart_loses_nothing_and_repeats_nothing(self):
        fleet = [self.fleet_worker() for _ in range(4)]
        ids = [self.bus.send(self.queue, "demo.flagged", [0.01]) for _ in range(3000)]
        restarts = 0
        while len(self.collector.found) < len(ids):
            old = fleet.pop(0)
            fleet.append(self.fleet_worker())
            self.assertEqual(old.stop(), 0)
            restarts += 1
            time.sleep(0.5)
        self.collector.finish(ids)
        self.end_all(fleet)
        found = self.collector.all_of(self.bus)
        self.assertEqual(set(found), set(ids))
        starts = collections.Counter(task for worker in self.workers
                                     for task in STARTED.findall(worker.log()))
        print("%d restarts under %d tasks" % (restarts, len(ids)))
        self.assertEqual({tuple(sorted(r[0] for r in found[task])) for task in ids}, {("SUCCESS",)})
        self.assertEqual([task for task in ids if starts[task] != 1], [])

    def running(self, worker):
        worker.reader.join()
        log = worker.log()
        return set(STARTED.findall(log)) - set(ENDED.findall(log))

    @staticmethod
    def is_gone(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
        except OSError:
            return True

    def test_twenty_killed_parents_lose_nothing(self):
        """Its children go with it, none of them keeps its connection, so what it ran starts
        elsewhere at once."""
        fleet = [self.fleet_worker() for _ in range(3)]
        ids, gone, again = [], [], []
        for _ in range(20):
            ids += [self.bus.send(self.queue, "demo.flagged", [0.05]) for _ in range(60)]
            victim = fleet.pop(0)
            seen = len(STARTED.findall(victim.log()))
            until("it runs some", lambda: len(STARTED.findall(victim.log())) > seen)
            children = victim.children()
            victim.signal(signal.SIGKILL)
            killed = time.monotonic()
            victim.wait()
            until("its children are gone", lambda: all(self.is_gone(pid) for pid in children))
            gone.append(time.monotonic() - killed)
            lost = self.running(victim)
            for task in lost:
                until("it starts elsewhere", lambda: any(
                    "id=%s ready -> running" % task in worker.log() for worker in fleet))
            if lost:
                again.append(time.monotonic() - killed)
            fleet.append(self.fleet_worker())
        self.collector.finish(ids)
        self.end_all(fleet)
        found = self.collector.all_of(self.bus)
        print("children gone after at most %.3f s; tasks of %d of 20 workers started elsewhere after "
              "at most %.3f s" % (max(gone), len(again), max(again)))
        self.assertEqual(set(found), set(ids))
        self.assertEqual({status for results in found.values() for status, _ in results},
                         {"SUCCESS"})
        starts = collections.Counter(task for worker in self.workers
                                     for task in STARTED.findall(worker.log()))
        # Only the last start of a task comes to an end here, but for what was sent and not acked.
        unflagged = [task for task in ids
                     if starts[task] > 1 and found[task][-1] != ("SUCCESS", True)]
        self.assertEqual(unflagged, [])
        self.assertLess(sum(starts.values()) - len(ids), 20 * 2 * 3)

    def test_what_a_killed_worker_ran_is_next_elsewhere(self):
        """It was before them in the queue, so it does not wait behind what another worker holds."""
        victim = self.worker("-c", "2", "-l", "trace", "--prefetch", "2")
        lost = [self.bus.send(self.queue, "demo.sleep", [4]) for _ in range(2)]
        for task in lost:
            victim.expect("id=%s ready -> running" % task)
        other = self.worker("-c", "1", "-l", "trace", "--prefetch", "10")
        held = [self.bus.send(self.queue, "demo.sleep", [nap]) for nap in [3] + [0.01] * 5]
        for task in held:
            other.expect("id=%s new -> ready" % task)
        victim.signal(signal.SIGKILL)
        other.expect("id=%s ready -> running" % held[-1])
        self.assertEqual(STARTED.findall(other.log())[:4], [held[0], *lost, held[1]])
        self.collector.finish(held + lost)
        victim.wait()
        self.end_all([other])

    def test_a_parent_that_was_stopped_wakes_to_what_another_has_taken_over(self):
        """Its child has finished meanwhile: the result is sent, the late settle does nothing."""
        stopped = self.worker("-c", "1", "-l", "trace", url=URL.rstrip("/") + "/?heartbeat=2")
        task = self.bus.send(self.queue, "demo.flagged", [3])
        stopped.expect("ready -> running")
        stopped.signal(signal.SIGSTOP)
        since = time.monotonic()
        other = self.worker("-c", "1", "-l", "trace")
        other.expect("id=%s ready -> running" % task)
        print("taken over %.1f s after it was stopped" % (time.monotonic() - since))
        stopped.signal(signal.SIGCONT)
        stopped.expect("connected again")
        until("both results", lambda: len(self.collector.found[task]) == 2)
        self.assertEqual(sorted(flag for _, flag in self.collector.found[task]), [False, True])
        quick = self.bus.send(self.queue)
        until("its result", lambda: quick in self.collector.found)
        for worker in stopped, other:
            self.assertNotRegex(worker.log(), "PRECONDITION|closed the .*channel")
        self.end_all([stopped, other])


if __name__ == "__main__":
    main()
