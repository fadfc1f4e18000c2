"""Workers come and go while 100,000 tasks run: every result arrives, exactly once each, and right.

CHURN_TASKS changes the number. What was executed is counted by the workers themselves: as none of them
is killed, their sum is the number of tasks, not one more."""
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import URL, BrokerTest, main  # noqa: E402

PROGRAM = os.path.join(os.environ["CTASK_BUILD"], "tests/churn")
TASKS = int(os.environ.get("CHURN_TASKS", "100000"))


class Churn(BrokerTest):
    def test_nothing_is_lost_and_nothing_runs_twice(self):
        fleet = [self.worker("-c", "1") for _ in range(3)]
        start = time.monotonic()
        producer = subprocess.Popen([PROGRAM, self.queue, str(TASKS), "4"], stdout=subprocess.PIPE,
                                    text=True, env=dict(os.environ, CTASK_BROKER_URL=URL))
        changes = 0
        while True:
            try:
                out, _ = producer.communicate(timeout=2)
                break
            except subprocess.TimeoutExpired:
                fleet.append(self.worker("-c", "1"))
                self.assertEqual(fleet.pop(0).stop(), 0)
                changes += 1
        self.assertEqual(producer.returncode, 0, out)
        self.assertEqual(json.loads(out), {"right": TASKS, "wrong": 0, "failed": 0})
        print("%d tasks in %.1f s, the fleet changed %d times" % (
            TASKS, time.monotonic() - start, changes))
        for worker in fleet:
            self.assertEqual(worker.stop(), 0)
        executed = sum(int(re.search(r"succeeded (\d+)", w.log()).group(1)) for w in self.workers)
        self.assertEqual(executed, TASKS)
        self.assertEqual(self.bus.depth(self.queue), 0)
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)
        self.assertGreater(changes, 0)


if __name__ == "__main__":
    main()
