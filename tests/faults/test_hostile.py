"""Calls that fail inside of a worker or a producer: memory, fork, poll, send, recv, once each at the
nth call. A worker goes on or stops with a reason; it never sleeps with work left, never says that
all is well and has lost some. What it leaves, the next worker finishes; a task has one result, or
the later ones are flagged.

A sample by seed; CTASK_TEST_FULL=1 fails each call once."""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import preload  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, GIVE_UP, URL, BrokerTest, main, skip, until  # noqa: E402

if "address" in os.environ.get("CTASK_SANITIZED", ""):
    skip("the sanitizer has malloc for itself")

SEED = int(os.environ.get("CTASK_TEST_SEED", time.time()))
FULL = bool(os.environ.get("CTASK_TEST_FULL"))
QUIET = URL.rstrip("/") + "/?heartbeat=0"  # nothing wakes a worker that forgot its work
KINDS = {"alloc": 12, "fork": 1, "poll": 4, "send": 3, "send-short": 4, "send-again": 4, "recv": 3,
         "recv-short": 4, "recv-again": 4, "recv-eintr": 2, "send-eintr": 2}
TASKS = 4


class Hostile(BrokerTest):
    def setUp(self):
        super().setUp()
        self.bus.declare(self.queue)
        print("seed %d" % SEED, file=sys.stderr)
        self.random = random.Random(SEED)
        self.copies, self.unflagged = collections.Counter(), collections.Counter()

    def env(self, **plan):
        return preload("hostile", **plan)

    def count_calls(self, run):
        """How many calls of each kind there are when nothing fails."""
        with tempfile.NamedTemporaryFile("r") as f:
            run(self.env(CTASK_HOSTILE_COUNT=f.name))
            return {kind: int(n) for kind, n in (line.split() for line in f)}

    def sample(self, kind, calls):
        all_of_them = range(1, calls[kind.split("-")[0]] + 1)
        return all_of_them if FULL else sorted(
            self.random.sample(all_of_them, min(KINDS[kind], len(all_of_them))))

    def take_results(self):
        while message := self.bus.channel.basic_get(self.bus.reply_to, no_ack=True):
            task_id, body = message.properties["correlation_id"], json.loads(message.body)
            self.copies[task_id] += 1
            flagged = body["result"] is True or (message.headers or {}).get("x-ctask-again")
            self.unflagged[task_id] += not flagged
        return self.copies

    def work(self, env):
        """A worker with some tasks, until all have a result or it is gone; then the ids without."""
        ids = [self.bus.send(self.queue, "demo.flagged", []) for _ in range(TASKS)]
        worker = self.worker("-c", "1", url=QUIET, env=env, wait=False)
        end = time.monotonic() + 15
        while set(ids) - set(self.take_results()) and worker.process.poll() is None:
            self.assertLess(time.monotonic(), end, "%s: it sleeps with work left:\n%s" % (
                env.get("CTASK_HOSTILE"), worker.log()))
            time.sleep(0.003)
        if worker.process.poll() is None:
            worker.signal(signal.SIGTERM)
        status = worker.wait()
        worker.stop()
        self.workers.remove(worker)
        self.take_results()
        return ids, status, worker.log()

    def test_a_worker_loses_nothing_whichever_of_its_calls_fails(self):
        calls = self.count_calls(lambda env: self.work(env))
        self.assertGreater(min(calls.values()), 0, calls)
        print("calls", calls, file=sys.stderr)
        ids, ends = [], collections.Counter()
        for kind in KINDS:
            for n in self.sample(kind, calls):
                plan = "%s:%d" % (kind, n)
                sent, status, log = self.work(self.env(CTASK_HOSTILE=plan))
                ids += sent
                ends[status] += 1
                left = [i for i in sent if i not in self.copies]
                if status == 0:
                    self.assertEqual(left, [], plan + ":\n" + log)
                elif status != -signal.SIGABRT:
                    self.assertGreater(status, 0, plan + ":\n" + log)
                    self.assertRegex(log, "(?m)^(ctask-worker: |.* ERROR )", plan)
        print("ended", dict(ends), file=sys.stderr)
        healthy = self.worker("-c", "2")
        until("what is left is done", lambda: set(ids) <= set(self.take_results()))
        until("nothing is left", lambda: self.bus.depth(self.queue) == 0)
        self.assertEqual(healthy.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)
        self.take_results()
        self.assertEqual([i for i in ids if self.unflagged[i] > 1], [])
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)

    def test_a_worker_whose_calls_fail_all_the_time_does_all_its_work(self):
        """One in four: what heals by itself, all at once."""
        plan = "send-short:%4,send-again:%4,recv-short:%4,recv-again:%4,poll:%4"
        env = self.env(CTASK_HOSTILE=plan, CTASK_HOSTILE_SEED=str(SEED))
        worker = self.worker("-c", "2", url=QUIET, env=env)
        ids = [self.bus.send(self.queue, "demo.flagged", []) for _ in range(300)]
        until("all is done", lambda: set(ids) <= set(self.take_results()))
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(max(self.copies.values()), 1)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_a_producer_says_what_failed_and_does_not_crash(self):
        self.worker("-c", "2")

        def produce(env):
            client = subprocess.run(
                [os.path.join(BIN, "ctask"), "call", "-Q", self.queue, "--timeout=10", "demo.add",
                 "1", "2"], env=dict(os.environ, CTASK_BROKER_URL=URL, **env), text=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=GIVE_UP)
            return client
        calls = self.count_calls(produce)
        ends = collections.Counter()
        for kind in KINDS:
            if not calls[kind.split("-")[0]]:
                continue
            for n in self.sample(kind, calls):
                plan = "%s:%d" % (kind, n)
                client = produce(self.env(CTASK_HOSTILE=plan))
                ends[client.returncode] += 1
                self.assertGreaterEqual(client.returncode, 0, plan)
                if client.returncode:
                    self.assertNotEqual(client.stderr, "", plan)
                else:
                    self.assertEqual(client.stdout.strip(), "3", plan)
        print("calls", calls, "ended", dict(ends), file=sys.stderr)
        self.assertGreater(ends[0], 5)


if __name__ == "__main__":
    main()
