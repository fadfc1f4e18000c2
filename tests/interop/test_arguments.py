"""Queues with arguments and with exchanges that are not direct: whoever comes first, a Celery app or
ctask, the other one works too, and what conflicts is said."""
import json
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from harness import BIN, GIVE_UP, BrokerTest, URL, ctl, main, skip, until  # noqa: E402

try:
    import celery
except ImportError:
    skip("needs Celery (Debian: python3-celery)")
os.environ["CTASK_TEST_BROKER"] = URL
import pyapp  # noqa: E402

NINE = {"x-max-priority": 9}
CONFLICT = 'queue "%s" exists and is used as it is, without the arguments asked for: PRECONDITION_FAILED - ' \
           "inequivalent arg 'x-max-priority'"


class Arguments(BrokerTest):
    def setUp(self):
        super().setUp()
        self.app = celery.Celery("arguments", broker=URL, backend="rpc://")
        self.addCleanup(self.app.close)

    def app_has(self, exchange, **arguments):
        self.app.conf.task_queues = [pyapp.queue(self.queue, exchange, **arguments)]

    def app_declares(self):
        with self.app.connection_for_write() as connection:
            self.app.amqp.queues[self.queue].bind(connection.default_channel).declare()

    def app_works(self):
        """Its producer declares its queue again, as it is in task_queues."""
        self.assertIs(self.app.send_task("is_prime", [97], queue=self.queue).get(timeout=GIVE_UP), True)

    def python_worker_starts(self, exchange, **arguments):
        """It ends before it is ready when the broker refuses its queue."""
        process = subprocess.Popen(
            ["/usr/bin/python3", "-m", "celery", "-A", "pyapp", "worker", "-Q", self.queue, "-P",
             "solo", "-l", "INFO", "--without-gossip", "--without-mingle"],
            cwd=HERE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            env=dict(os.environ, PYAPP_QUEUE=self.queue, PYAPP_EXCHANGE=exchange,
                     PYAPP_ARGUMENTS=json.dumps(arguments), C_FORCE_ROOT="1", PYTHONDONTWRITEBYTECODE="1"))
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready" in line:
                break
        process.kill()  # one that is asked to end just after it began may not
        process.communicate(timeout=GIVE_UP)
        self.assertIn("ready", said[-1] if said else "", "".join(said))

    def call(self, *args, **env):
        return subprocess.run([os.path.join(BIN, "ctask"), "call", "-Q", self.queue, *args],
                              capture_output=True, text=True, timeout=GIVE_UP,
                              env=dict(os.environ, CTASK_BROKER_URL=URL, **env))


class First(Arguments):
    """ctask is there before the Celery app, which would end with PRECONDITION_FAILED."""

    def test_a_worker_that_was_told_the_arguments(self):
        asked = {"x-max-priority": 9, "x-message-ttl": 600000, "x-single-active-consumer": True}
        for exchange in "direct", "topic":
            worker = self.worker("--queue-arguments", "x-max-priority=9", "--queue-arguments",
                                 "x-message-ttl=600000,x-single-active-consumer=true")
            self.app_has(exchange, **asked)
            self.app_works()
            self.assertEqual(worker.stop(), 0)
            self.python_worker_starts(exchange, **asked)
            self.bus.delete(self.queue)

    def test_a_producer_that_was_told_the_arguments(self):
        sent = self.call("--no-wait", "is_prime", "97", CTASK_QUEUE_ARGUMENTS="x-max-priority=9")
        self.assertEqual((sent.returncode, sent.stderr), (0, ""))
        self.worker()
        self.app_has("direct", **NINE)
        self.app_works()

    def test_an_app_whose_exchange_is_a_topic(self):
        """Which is no exchange of ours: neither a worker nor a producer declares any."""
        self.worker()
        self.app_has("topic")
        self.app_works()
        self.python_worker_starts("topic")

    def test_a_queue_that_is_deleted_is_bound_again_to_the_exchange_of_the_app(self):
        self.app_has("topic")
        self.app_declares()
        self.bus.channel.queue_delete(self.queue)
        self.worker()  # finds the exchange alone
        self.bus.result(self.bus.send(self.queue, exchange=self.queue))
        self.bus.channel.queue_delete(self.queue)
        until("its binding is back", lambda: "%s\t%s" % (self.queue, self.queue) in ctl(
            "list_bindings", "-q", "--no-table-headers", "source_name", "destination_name"))
        self.bus.result(self.bus.send(self.queue, exchange=self.queue))


class Second(Arguments):
    """The Celery app has declared its queue."""

    def test_a_worker_that_asks_for_the_same(self):
        for exchange in "direct", "topic":
            self.app_has(exchange, **NINE)
            self.app_declares()
            worker = self.worker("--queue-arguments=x-max-priority=9")
            self.app_works()
            self.assertEqual(worker.stop(), 0)
            self.assertNotRegex(worker.log(), "WARN .* queue %s|ERROR" % self.queue)
            self.bus.delete(self.queue)

    def test_a_worker_that_asks_for_others_says_it_once_and_works(self):
        self.app_has("topic", **NINE)
        self.app_declares()
        worker = self.worker("--queue-arguments=x-max-priority=5")
        self.app_works()
        said = worker.expect("WARN .*" + CONFLICT % self.queue)
        self.assertRegex(said, "received .*'5'.* but current is .*'9'")
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(worker.log().count("PRECONDITION_FAILED"), 1)

    def test_a_worker_that_asks_for_nothing_does_not_compare(self):
        self.app_has("direct", **NINE)
        self.app_declares()
        worker = self.worker(env={"CTASK_QUEUE_ARGUMENTS": ""})
        self.app_works()
        self.assertEqual(worker.stop(), 0)
        self.assertNotIn("PRECONDITION_FAILED", worker.log())

    def test_a_producer_says_it_and_its_task_runs(self):
        self.app_has("direct", **NINE)
        self.app_declares()
        self.worker()
        env = {"CTASK_QUEUE_ARGUMENTS": "x-max-priority=5"}
        for done, out in (self.call("is_prime", "97", **env), "true\n"), (
                self.call("--no-wait", "is_prime", "97", **env), None):
            self.assertEqual(done.returncode, 0)
            self.assertIn(CONFLICT % self.queue, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertIn(out or "-", done.stdout)

    def test_what_a_task_sends_elsewhere_is_compared_too(self):
        """By the worker, over its connection for results."""
        other = self.queue + ".other"
        self.bus.channel.queue_declare(other, durable=True, auto_delete=False)
        worker = self.worker("--queue-arguments=x-max-priority=9")
        self.bus.result(self.bus.send(self.queue, "demo.send", [other, "is_prime", 97]))
        worker.expect(CONFLICT % other)
        self.assertEqual(self.bus.take(other).headers["task"], "is_prime")
        self.bus.delete(other)


class Words(Arguments):
    def test_what_cannot_be_asked_for_is_one_sentence(self):
        for args, env, said in (
                (["--queue-arguments=max-priority=9"], {},
                 '--queue-arguments takes x-NAME=VALUE with commas between, as x-max-priority=9, not '
                 '"max-priority=9"'),
                ([], {"CTASK_QUEUE_ARGUMENTS": "x-expires=1"}, "CTASK_QUEUE_ARGUMENTS takes no x-expires"),
                (["--queue-type=classic", "--queue-arguments=x-queue-type=quorum"], {},
                 "--queue-arguments says x-queue-type=quorum, and --queue-type or CTASK_QUEUE_TYPE says "
                 "otherwise: leave one of them out")):
            worker = self.worker(*args, env=env, wait=False)
            self.assertEqual(worker.wait(), 2)
            worker.stop()
            self.assertIn("ctask-worker: " + said, worker.log())
            self.assertEqual(worker.log().count("\n"), 0)
        done = self.call("is_prime", "97", CTASK_QUEUE_ARGUMENTS="x-max-priority")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "ctask: CTASK_QUEUE_ARGUMENTS takes x-NAME=VALUE with commas between, "
                                      'as x-max-priority=9, not "x-max-priority"\n')

    def test_the_type_may_be_among_them(self):
        worker = self.worker("--queue-arguments=x-max-length=100,x-queue-type=quorum")
        self.assertIn("%s\tquorum" % self.queue, ctl("list_queues", "-q", "name", "type"))
        self.assertIn("%s.dead\tquorum" % self.queue, ctl("list_queues", "-q", "name", "type"))
        self.assertEqual(worker.stop(), 0)


class Priorities(Arguments):
    def test_a_task_of_high_priority_overtakes_those_that_wait_in_the_broker(self):
        worker = self.worker("--queue-arguments=x-max-priority=9")
        self.assertEqual(worker.stop(), 0)
        self.app_has("direct", **NINE)
        low = [self.app.send_task("demo.add", [n, 0], queue=self.queue) for n in range(3)]
        high = self.app.send_task("demo.add", [9, 0], queue=self.queue, priority=9)
        worker = self.worker("-c", "1", "--prefetch=1", "-l", "debug")
        self.assertEqual([r.get(timeout=GIVE_UP) for r in [high, *low]], [9, 0, 1, 2])
        self.assertEqual(worker.stop(), 0)
        ran = re.findall("DEBUG.*(%s)" % "|".join(r.id for r in [high, *low]), worker.log())
        self.assertEqual(ran, [r.id for r in [high, *low]])


if __name__ == "__main__":
    main()
