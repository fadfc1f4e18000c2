"""Scaling is seen: sleeping tasks on 1, 8, then 64 workers of one child each. The new rate is there
within two seconds of each start and the work is shared fairly; a mix of 99 short tasks and a long
one takes hardly longer than it must."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main, until  # noqa: E402

NAP = 0.5


class Scaling(BrokerTest):
    def results(self, until_time):
        """How many results come until then."""
        n = 0
        while time.monotonic() < until_time:
            if self.bus.channel.basic_get(self.bus.reply_to, no_ack=True):
                n += 1
            else:
                time.sleep(0.002)
        return n

    def counts(self, workers):
        """What each worker has done so far, as it says itself at SIGUSR1."""
        done = []
        for w in workers:
            asked = len(re.findall("succeeded", w.log()))
            w.signal(10)
            w.expect("succeeded", asked + 1)
            done.append(int(re.findall(r"succeeded (\d+)", w.log())[-1]))
        return done

    def test_1_to_8_to_64(self):
        self.bus.declare(self.queue)
        for _ in range(1500):
            self.bus.send(self.queue, "demo.sleep", [NAP])
        fleet = []
        for size in (1, 8, 64):
            fleet += [self.worker("-c", "1", wait=False) for _ in range(size - len(fleet))]
            for worker in fleet:
                worker.expect("INFO .* ready")
            self.results(time.monotonic() + 2)  # the two seconds that it may take
            before = self.counts(fleet)
            start = time.monotonic()
            n = self.results(start + 3)
            rate, ideal = n / (time.monotonic() - start), size / NAP
            each = [b - a for a, b in zip(before, self.counts(fleet))]
            print("%2d workers: %.1f tasks/s of %.1f, each %d to %d" % (
                size, rate, ideal, min(each), max(each)))
            self.assertGreater(rate, 0.85 * ideal)
            self.assertLessEqual(max(each) - min(each), 3)
        self.bus.channel.queue_purge(self.queue)

    def test_a_heavy_tail(self):
        """99 of 0.1 s and one of 3 s on four children: the long one is sent last but one."""
        for children, workers in ((1, 4), (4, 1)):
            fleet = [self.worker("-c", str(children)) for _ in range(workers)]
            naps = [0.1] * 50 + [3.0] + [0.1] * 49
            start = time.monotonic()
            ids = [self.bus.send(self.queue, "demo.sleep", [nap]) for nap in naps]
            self.bus.results(*ids)
            took = time.monotonic() - start
            ideal = max(50 * 0.1 / 4 + 3.0, sum(naps) / 4)
            print("%d workers of %d: %.2f s, at best %.2f s" % (workers, children, took, ideal))
            self.assertLess(took, 1.05 * ideal + 0.1)
            for w in fleet:
                w.stop()


if __name__ == "__main__":
    main()
