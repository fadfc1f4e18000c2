"""Scaling is seen: sleeping tasks on 1, 8, then 64 workers of one child each are shared fairly, and a
long task among short ones keeps none of them waiting. Rates are printed, not judged: that is for a
machine that does nothing else."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main  # noqa: E402

NAP = 0.5
EACH = 6  # results waited for, a worker


class Scaling(BrokerTest):
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
        for _ in range(3000):
            self.bus.send(self.queue, "demo.sleep", [NAP])
        fleet = []
        for size in (1, 8, 64):
            fleet += [self.worker("-c", "1", wait=False) for _ in range(size - len(fleet))]
            for worker in fleet:
                worker.expect("INFO .* ready")
            # What the others did while these started.
            self.bus.channel.queue_purge(self.bus.reply_to)
            before = self.counts(fleet)
            start = time.monotonic()
            for _ in range(EACH * size):
                self.bus.take(self.bus.reply_to)
            rate = EACH * size / (time.monotonic() - start)
            each = [b - a for a, b in zip(before, self.counts(fleet))]
            print("%2d workers: %.1f tasks/s of %.1f, each %d to %d" % (
                size, rate, size / NAP, min(each), max(each)))
            self.assertGreaterEqual(min(each), EACH // 2)
            self.assertLessEqual(max(each), EACH * 2)
        self.bus.channel.queue_purge(self.queue)

    def test_a_heavy_tail(self):
        """99 of 0.1 s and one of 3 s on four children: the long one is sent in the middle, and is the
        last to be done, since nothing waits behind it."""
        for children, workers in ((1, 4), (4, 1)):
            fleet = [self.worker("-c", str(children)) for _ in range(workers)]
            naps = [0.1] * 50 + [3.0] + [0.1] * 49
            start = time.monotonic()
            ids = [self.bus.send(self.queue, "demo.sleep", [nap]) for nap in naps]
            order = [self.bus.take(self.bus.reply_to).properties["correlation_id"] for _ in ids]
            print("%d workers of %d: %.2f s, at best %.2f s" % (
                workers, children, time.monotonic() - start,
                max(50 * 0.1 / 4 + 3.0, sum(naps) / 4)))
            self.assertEqual(sorted(order), sorted(ids))
            self.assertEqual(order[-1], ids[50])
            for w in fleet:
                w.stop()


if __name__ == "__main__":
    main()
