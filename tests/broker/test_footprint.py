"""Small and quick: memory after 10,000 tasks, and the time from exec to the first consumer."""
import os
import re
import statistics
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main, skip  # noqa: E402

if os.environ.get("CTASK_SANITIZED"):
    skip("a sanitizer's memory is not ours")

# OpenSSL's pages count in full where no other process has them.
PARENT_MOST = 8192 if os.environ.get("CTASK_BROKER_TLS") else 4096  # kB


def pss(pid):
    try:
        f = open("/proc/%d/smaps_rollup" % pid)
    except PermissionError:
        raise unittest.SkipTest("only root may look into a worker's memory")
    with f:
        return int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1))


class Footprint(BrokerTest):
    def test_memory(self):
        worker = self.worker("-c", "2")
        for _ in range(10):
            ids = [self.bus.send(self.queue, args=[n]) for n in range(1000)]
            self.bus.results(*ids)
        parent, children = pss(worker.pid), [pss(c) for c in worker.children()]
        print("PSS: parent %d kB, children %s kB" % (parent, children))
        self.assertLessEqual(parent, PARENT_MOST)
        self.assertLessEqual(max(children), 1024)

    def test_start(self):
        times = []
        for _ in range(9):
            start = time.monotonic()
            worker = self.worker("-c", "2")
            times.append(time.monotonic() - start)
            worker.stop()
        print("exec to consume-ok: median %.1f ms of %s" % (
            statistics.median(times) * 1e3, ["%.1f" % (t * 1e3) for t in times]))
        self.assertLessEqual(statistics.median(times), 0.5)  # of a machine that may be busy


if __name__ == "__main__":
    main()
