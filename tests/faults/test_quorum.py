"""Quorum queues: declared as such when asked for, and crashes of a whole worker cost no neighbour its
run, although the broker counts a hand-out for each message that was prefetched with the culprit."""
import os
import re
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, Bus, Worker, main, unique, until  # noqa: E402

NEIGHBOURS, CRASHES = 49, 30
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()
    # As RabbitMQ 4.0 has it by itself.
    broker.ctl("set_policy", "limit", "^quorum", '{"delivery-limit": 20}', "--apply-to", "queues")


def tearDownModule():
    broker.__exit__()


def arguments(queue):
    return broker.evaluate('{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, '
                           '<<"%s">>)), amqqueue:get_arguments(Q)' % queue)


class Quorum(unittest.TestCase):
    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique("quorum")

    def tearDown(self):
        self.bus.delete(self.queue)
        self.bus.close()

    def worker(self, *args, **kwargs):
        return Worker(*args, queue=self.queue, url=broker.url, **kwargs)

    def declared_as(self):
        found = arguments(self.queue)
        return found if found == "[]" else re.fullmatch(
            r'\[\{<<"x-queue-type">>,longstr,<<"(\w+)">>\}\]', found).group(1)

    def test_a_missing_queue_is_declared_as_asked_for(self):
        for args, env, wanted in ((["--queue-type=quorum"], {}, "quorum"),
                                  (["--queue-type=classic"], {"CTASK_QUEUE_TYPE": "quorum"},
                                   "classic"),
                                  ([], {"CTASK_QUEUE_TYPE": "quorum"}, "quorum"),
                                  ([], {}, "[]")):
            worker = self.worker(*args, env=env)
            self.assertEqual(self.declared_as(), wanted)
            self.assertEqual(arguments(self.queue + ".dead"), "[]")
            self.assertEqual(worker.stop(), 0)
            self.bus.delete(self.queue)

    def call(self, **env):
        return subprocess.run([os.path.join(BIN, "ctask"), "call", "--no-wait", "-Q", self.queue,
                               "is_prime", "97"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=dict(os.environ, CTASK_BROKER_URL=broker.url, **env))

    def test_whoever_comes_first_decides_and_the_other_uses_it(self):
        self.assertEqual(self.call(CTASK_QUEUE_TYPE="quorum").returncode, 0)
        self.assertEqual(self.declared_as(), "quorum")
        worker = self.worker("--queue-type=classic")
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.declared_as(), "quorum")
        wrong = self.call(CTASK_QUEUE_TYPE="stream")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn('CTASK_QUEUE_TYPE is classic or quorum, not "stream"', wrong.stderr)

    def test_thirty_crashes_cost_no_neighbour_its_run(self):
        """The worker dies as a whole with all it has prefetched, more often than the broker's limit
        of hand-outs allows."""
        args = ("--prefetch", str(NEIGHBOURS + 1), "--queue-type=quorum", "-l", "debug")
        worker = self.worker("-c", "1", *args)
        culprit = self.bus.send(self.queue, "demo.sleep", [600])
        worker.expect("id=%s ready -> running" % culprit)
        tasks = [self.bus.send(self.queue) for _ in range(NEIGHBOURS)]
        passed_on = 0
        for _ in range(CRASHES):
            worker.expect("new -> ready", NEIGHBOURS + 1)  # all are handed out
            worker.expect("id=%s ready -> running" % culprit)
            worker.signal(signal.SIGKILL)
            worker.wait()
            passed_on += len(re.findall("new -> settling", worker.log()))
            worker = self.worker("-c", "1", *args)
        worker.signal(signal.SIGKILL)
        worker.wait()
        worker = self.worker("-c", "2", *args)
        found = self.bus.results(*tasks)
        self.assertEqual({r["status"] for r in found.values()}, {"SUCCESS"})
        print("%d crashes, %d copies that started a new count" % (CRASHES, passed_on))
        worker.signal(signal.SIGQUIT)
        worker.wait()
        self.assertEqual(self.bus.take(self.queue).headers["id"], culprit)
        self.assertIsNone(self.bus.channel.basic_get(self.queue))
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)


if __name__ == "__main__":
    main()
