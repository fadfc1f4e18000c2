"""The worker's loop waits for nobody: it measures itself, and this reads it. Alone on the machine, since
what else runs there holds it up, too."""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main, unique  # noqa: E402

SANITIZED = os.environ.get("CTASK_SANITIZED")


class Loop(BrokerTest):
    def longest_turn(self):
        """Of a worker under load: small tasks, large arguments, and children that all write large
        results at once. In ms."""
        worker = self.worker("-c", "8", queue=unique())
        queue = re.search(r"queues\s+(\S+)", worker.log()).group(1)
        sent = [self.bus.send(queue, "demo.big", [8000000]) for _ in range(8)]
        sent += [self.bus.send(queue, "demo.echo", ["x" * 3000000]) for _ in range(8)]
        sent += [self.bus.send(queue, "demo.add", [i, i]) for i in range(1000)]
        self.bus.results(*sent)
        worker.signal(signal.SIGUSR1)
        line = worker.expect(r"longest turn \d+ ms")
        worker.stop()
        self.bus.delete(queue)
        return int(re.search(r"longest turn (\d+) ms", line).group(1))

    def test_no_turn_takes_over_100_ms(self):
        # What else runs on this machine may hold up one run, not each.
        turns = []
        while len(turns) < 10 and min(turns, default=1000) > 100:
            turns.append(self.longest_turn())
        print("longest turns: %s ms" % turns)
        if not SANITIZED:
            self.assertLessEqual(min(turns), 100)


if __name__ == "__main__":
    main()
