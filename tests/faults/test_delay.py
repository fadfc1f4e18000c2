"""Delays in the broker: what is to run later waits in Celery's ladder of TTL queues, in no worker's
memory, and arrives whatever happens in between."""
import datetime
import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from bench import PrivateBroker  # noqa: E402
from harness import BIN, Bus, Worker, main, unique, until  # noqa: E402

import amqp  # noqa: E402

LEVELS = ["celery_delayed_%d" % level for level in range(28)]
DELIVERY = "celery_delayed_delivery"
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()


def tearDownModule():
    broker.__exit__()


def in_seconds(seconds):
    """An eta as Python writes it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).isoformat()


class DelayTest(unittest.TestCase):
    """A test with a connection and a queue of its own, on the private broker."""

    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique()
        self.workers = []
        self.callers = []

    def tearDown(self):
        for worker in self.workers:
            worker.stop()
        for caller in self.callers:
            caller.kill()
            caller.communicate()
        self.bus.delete(self.queue)
        self.bus.close()

    def worker(self, *args, **kwargs):
        kwargs.setdefault("queue", self.queue)
        worker = Worker(*args, url=broker.url, **kwargs)
        self.workers.append(worker)
        return worker

    def call(self, *args, queue=None):
        """`ctask call` to our queue, in the background."""
        caller = subprocess.Popen([os.path.join(BIN, "ctask"), "-b", broker.url, "call", "-Q",
                                   queue or self.queue] + list(args),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.callers.append(caller)
        return caller

    def depths(self):
        return {level: n for level in LEVELS for n in [self.bus.depth(level)] if n}

    def ladder_exists(self):
        try:
            self.bus.channel.exchange_declare(LEVELS[27], "topic", passive=True)
            return True
        except amqp.NotFound:
            self.bus.channel = self.bus.connection.channel()
            return False

    def ladder_delete(self):
        for level in LEVELS:
            self.bus.channel.queue_delete(level)
            self.bus.channel.exchange_delete(level)
        self.bus.channel.exchange_delete(DELIVERY)

    def ladder_declare(self, kind):
        """As Celery does it (kombu.transport.native_delayed_delivery), in its order."""
        channel = self.bus.channel
        for level in range(27, -1, -1):
            below = LEVELS[level - 1] if level else DELIVERY
            arguments = {"x-queue-type": kind, "x-overflow": "reject-publish",
                         "x-message-ttl": 2 ** level * 1000, "x-dead-letter-exchange": below}
            if kind == "quorum":
                arguments["x-dead-letter-strategy"] = "at-least-once"
            channel.exchange_declare(LEVELS[level], "topic", durable=True, auto_delete=False)
            channel.queue_declare(LEVELS[level], durable=True, auto_delete=False,
                                  arguments=arguments)
            channel.queue_bind(LEVELS[level], LEVELS[level], "*." * (27 - level) + "1.#")
        for level in range(27, 0, -1):
            channel.exchange_bind(LEVELS[level - 1], LEVELS[level], "*." * (27 - level) + "0.#")
        channel.exchange_declare(DELIVERY, "topic", durable=True, auto_delete=False)
        channel.exchange_bind(DELIVERY, LEVELS[0], "*." * 27 + "0.#")


class FromC(DelayTest):
    def test_a_countdown_waits_in_the_broker_also_with_no_worker(self):
        sent = time.monotonic()
        caller = self.call("--countdown", "5s", "demo.echo", "1")
        until("the first level has it", lambda: self.ladder_exists() and self.depths())
        self.assertEqual(self.depths(), {LEVELS[2]: 1})
        worker = self.worker("-l", "debug")
        until("the second level has it", lambda: self.depths() == {LEVELS[0]: 1})
        self.assertNotIn("task id", worker.log())
        self.assertEqual(caller.communicate()[0], "1\n")
        self.assertGreater(time.monotonic() - sent, 4.9)
        self.assertEqual(self.depths(), {})


if __name__ == "__main__":
    main()
