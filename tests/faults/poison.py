"""What tests with the tasks of tests/apps/poison.c share: a ledger, in which each start is a line."""
import collections
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BrokerTest  # noqa: E402

BUILD = os.environ.get("CTASK_BUILD", os.path.join(HERE, "../../build"))
POISON = os.path.join(BUILD, "tests/apps/poison.so")


class PoisonTest(BrokerTest):
    def setUp(self):
        super().setUp()
        handle, self.ledger = tempfile.mkstemp(prefix="ctask-ledger-")
        os.close(handle)
        self.addCleanup(os.unlink, self.ledger)

    def worker(self, *args, **kwargs):
        return super().worker(*args, app="primes,demo," + POISON, **kwargs)

    def live(self, name, us=0):
        return self.bus.send(self.queue, "poison.live", [self.ledger, name, us])

    def starts(self):
        """How often each line was written: by each task once at its start."""
        with open(self.ledger) as f:
            return collections.Counter(line.split()[0] for line in f)
