"""Where a run takes place: its broker, the queues in it, and the programs under test."""
import os
import re
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
import amqp  # noqa: E402
from leftovers import end_at_exit, forget  # noqa: E402,F401

ROOT = os.path.abspath(os.path.join(HERE, "../.."))
BUILD = os.environ.get("CTASK_BUILD", os.path.join(ROOT, "build"))
BIN = os.path.join(BUILD, "bin")
TESTS = os.path.join(BUILD, "tests")
LIST = os.path.join(ROOT, "producer/prime_list.txt")
URL = os.environ.get("CTASK_BROKER_URL", "")
SCRATCH = os.environ.get("CTASK_BENCH_DIR", os.path.join(BUILD, "bench"))
QUEUE = "bench"
GIVE_UP = 300


def until(what, condition, every=0.005):
    end = time.monotonic() + GIVE_UP
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise RuntimeError("never: " + what)
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Broker:
    """The run's own broker, which does nothing else."""

    def __init__(self):
        user, password, host, port = re.match(r"amqp://(.*?):(.*?)@(.*?):(\d+)", URL).groups()
        self.connection = amqp.Connection("%s:%s" % (host, port), user, password, heartbeat=0)
        self.connection.connect()
        self.channel = self.connection.channel(1)
        self.version = self.connection.server_properties.get("version", "?")
        with open(os.path.join(os.environ["CTASK_BROKER_DIR"], "broker.pid")) as f:
            self.pid = int(f.read().split()[0])

    def look(self, queue):
        """(ready messages, consumers), or None if there is no such queue."""
        try:
            found = self.channel.queue_declare(queue, passive=True)
            return found.message_count, found.consumer_count
        except amqp.NotFound:  # which ends the channel; py-amqp never uses its number again
            self.channel = self.connection.channel(1)

    def has_consumer(self, queue):
        found = self.look(queue)
        return bool(found and found[1])

    def declare(self, queue):
        """As ctask and Celery do."""
        self.channel.exchange_declare(queue, "direct", durable=True, auto_delete=False)
        self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.channel.queue_bind(queue, queue, queue)

    def drop(self, *queues):
        """Deletes what a contender left; returns how many messages were still there."""
        left = 0
        for queue in queues:
            for name in (queue, queue + ".dead"):
                left += self.channel.queue_delete(name) or 0
            self.channel.exchange_delete(queue)
        return left


def environment():
    """What a figure depends on, for the record."""
    text = open("/proc/cpuinfo").read()
    model = re.search(r"model name\s*: (.*)", text)
    return {"cores": os.cpu_count(), "cpu": model.group(1) if model else "?",
            "kernel": os.uname().release, "python": sys.version.split()[0]}
