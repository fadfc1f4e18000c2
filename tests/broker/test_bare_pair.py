"""The pair that ctask is measured against goes on working: it captures what ctask sends, and passes
2,000 tasks, each answered once. No time is judged; tests/bench/README.md has the rest."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, GIVE_UP, URL, BrokerTest, main, skip  # noqa: E402

TESTS = os.path.join(BIN, "../tests")
APP = os.path.join(TESTS, "apps/bench.so")
TASKS = 2000

if URL.startswith("amqps"):
    skip("the pair does not speak TLS")


class BarePair(BrokerTest):
    def bare(self, role, *args):
        return [os.path.join(TESTS, "bench-bare"), role, "--url", URL, "--queue", self.queue,
                "--bytes", self.bytes, *args]

    def run_it(self, command, **kwargs):
        """What it says at its end."""
        out = subprocess.run(command, check=True, text=True, timeout=GIVE_UP,
                             stdout=subprocess.PIPE, **kwargs).stdout
        return json.loads(out.splitlines()[-1].split(" ", 1)[1])

    def producer(self, *args, queue):
        return self.run_it([os.path.join(TESTS, "bench-producer"), *args],
                           env=dict(os.environ, CTASK_BROKER_URL=URL, CTASK_QUEUE=queue))

    def setUp(self):
        super().setUp()
        self.aside = self.queue + ".aside"
        with tempfile.NamedTemporaryFile(delete=False) as f:
            self.bytes = f.name
        self.addCleanup(os.unlink, self.bytes)

    def tearDown(self):
        self.bus.delete(self.aside)
        super().tearDown()

    def capture(self):
        """One task of ctask's and its result, as they were sent."""
        self.producer("send", "--count", "1", "--argument", "7", queue=self.aside)
        worker = self.worker("-c", "1", app=APP)
        self.run_it(self.bare("capture", "--from", self.aside))
        worker.stop()

    def pass_tasks(self, *flags):
        work = subprocess.Popen(self.bare("work", *flags), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(work.stdout.readline().strip(), "READY")
            done = self.run_it(self.bare("produce", "--count", str(TASKS), *flags))
            self.assertEqual(done, {"sent": TASKS, "results": TASKS})
            out, _ = work.communicate("", timeout=GIVE_UP)
            answered = json.loads(out.split(" ", 1)[1])
            self.assertEqual(answered["answered"], TASKS)
            self.assertEqual(self.bus.depth(self.queue), 0)
        finally:
            if work.poll() is None:
                work.send_signal(signal.SIGKILL)
                work.communicate()

    def test_every_task_is_answered_once(self):
        self.capture()
        self.pass_tasks()
        self.pass_tasks("--pause", "300", "--prefetch", "256", "--window", "500")
        self.pass_tasks("--transient-tasks", "--transient-results", "--no-confirms-tasks",
                        "--no-confirms-results", "--early-ack", "--not-mandatory")

    def test_a_message_that_is_not_ours_is_noticed(self):
        self.capture()
        self.bus.declare(self.queue)
        self.bus.send(self.queue)
        work = subprocess.Popen(self.bare("work"), stdin=subprocess.PIPE, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.assertEqual(work.wait(GIVE_UP), 1)
        finally:
            work.kill()
            said = work.communicate()[1]
        self.assertIn("none of ours", said)
        self.bus.channel.queue_purge(self.queue)


if __name__ == "__main__":
    main()
