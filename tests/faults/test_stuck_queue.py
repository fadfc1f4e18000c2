"""A queue that does not answer, as a quorum queue without a leader, delays none of the others: not
for a worker that consumes both, nor for a producer that sends to both."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, CTL, URL, BrokerTest, ctl, main, skip, unique, until  # noqa: E402

if not CTL:
    skip("needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")


class StuckQueue(BrokerTest):
    def setUp(self):
        super().setUp()
        self.stuck = unique("stuck")
        self.bus.declare(self.stuck)
        self.bus.declare(self.queue)

    def process(self, what):
        """Holds the queue's process on the broker, or lets it go on."""
        ctl("eval", "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"%s\">>)), "
            "sys:%s(amqqueue:get_pid(Q))." % (self.stuck, what))

    def tearDown(self):
        self.process("resume")
        for worker in self.workers:
            worker.stop()
        self.bus.delete(self.stuck)
        super().tearDown()

    def runs(self, count=50):
        ids = [self.bus.send(self.queue, "demo.sleep", [0.001]) for _ in range(count)]
        self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})

    def test_a_worker_starts_on_the_others(self):
        self.process("suspend")
        worker = self.worker("-c", "2", queue=self.stuck + "," + self.queue, wait=False)
        self.runs()
        self.process("resume")
        worker.expect("ready")
        self.assertEqual(self.bus.result(self.bus.send(self.stuck))["result"], True)

    def test_a_worker_goes_on_with_the_others(self):
        worker = self.worker("-c", "2", queue=self.stuck + "," + self.queue)
        self.runs(2000)  # by now the window grows, which needs an answer of each queue
        self.process("suspend")
        self.runs(2000)
        self.process("resume")
        self.assertEqual(self.bus.result(self.bus.send(self.stuck))["result"], True)
        self.assertEqual(worker.stop(), 0)

    def test_a_producer_reaches_the_others(self):
        self.worker("-c", "2", queue=self.queue)
        self.process("suspend")
        waiting = subprocess.Popen([os.path.join(BIN, "ctask"), "-b", URL, "call", "-Q", self.stuck,
                                    "is_prime", "97"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.runs()
        self.process("resume")
        worker = self.worker("-c", "1", queue=self.stuck)
        out, words = waiting.communicate()
        if waiting.returncode == 0:
            self.assertEqual(out, "true\n")
        else:  # the queue was held for longer than a send waits
            self.assertIn("did not answer in time for queue " + self.stuck, words)
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
