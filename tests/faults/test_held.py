"""What a worker holds is weighed, not only counted: large messages by the dozen do not fill its memory,
whatever they wait for, and all of them run."""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BrokerTest, main  # noqa: E402

LARGE = 1000000  # bytes
MARGIN = 24  # MiB, for the program itself and what is under way


class Held(BrokerTest):
    def assert_peak(self, worker, mib):
        if os.environ.get("CTASK_SANITIZED"):
            return
        with open("/proc/%d/status" % worker.pid) as f:
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) >> 10
        print("peak %d MiB" % peak)
        self.assertLess(peak, mib + MARGIN)

    def test_large_ones_that_wait_here_stay_under_the_ceiling(self):
        """Unknown tasks on a queue that the broker's delay queues cannot reach."""
        self.queue += ".#"
        worker = self.worker("--held-memory=16M", app="primes")
        sent = {self.bus.send(self.queue, "nobody.knows", ["x" * LARGE]) for _ in range(60)}
        told = set()
        while told != sent:
            told.add(json.loads(self.bus.take(self.bus.reply_to).body)["task_id"])
        self.assert_peak(worker, 16)
        worker.expect("and --held-memory allows 16: no more are taken")
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)

    def test_large_ones_that_wait_for_a_child_stay_under_the_ceiling(self):
        worker = self.worker("-c", "1", "--prefetch=60", "--held-memory=16M")
        sent = [self.bus.send(self.queue, "demo.echo", ["x" * LARGE]) for _ in range(60)]
        self.assertEqual(len(self.bus.results(*sent)), 60)
        self.assert_peak(worker, 16)

    def test_one_that_is_larger_than_the_ceiling_runs_alone(self):
        self.worker("-c", "2", "--held-memory=500000")
        sent = [self.bus.send(self.queue, "demo.echo", ["x" * LARGE]) for _ in range(5)]
        sent.append(self.bus.send(self.queue))
        self.assertEqual({r["status"] for r in self.bus.results(*sent).values()}, {"SUCCESS"})


if __name__ == "__main__":
    main()
