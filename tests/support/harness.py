"""What the tests in Python share: a worker as a process, a raw AMQP connection, waiting for events.

Standard library and py-amqp (Debian: python3-amqp, which python3-celery brings) only. Every wait is
for an event; GIVE_UP only ends a test that would otherwise hang.
"""
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import unittest
import uuid

from leftovers import end_at_exit, forget

URL = os.environ.get("CTASK_TEST_BROKER", "")
PLAIN = os.environ.get("CTASK_TEST_PLAIN", URL)  # without TLS, for who has to
CTL = os.environ.get("CTASK_TEST_CTL", "")
BIN = os.environ.get("CTASK_BIN", os.path.join(os.path.dirname(__file__), "../../build/bin"))
GIVE_UP = 120


def skip(why):
    print("SKIPPED: " + why)
    sys.exit(77)


if not URL:
    skip("needs a broker: set CTASK_TEST_BROKER, or run ./dev test")
try:
    import amqp
except ImportError:
    skip("needs py-amqp (Debian: python3-amqp)")


def url_parts(url=URL):
    user, password, host, port = re.match(r"amqps?://(.*?):(.*?)@(.*?):(\d+)", url).groups()
    return user, password, host, int(port)


def url_for(user, password, port=None):
    """The tests' broker as somebody else, or behind another port of this machine."""
    _, _, host, own = url_parts()
    return "%s://%s:%s@%s:%d" % (URL.split(":")[0], user, password, host, port or own)


def ctl(*args):
    """rabbitmqctl against the tests' own node."""
    return subprocess.run(shlex.split(CTL) + list(args), check=True, capture_output=True,
                          text=True).stdout


def unique(prefix="t"):
    return "%s.%s" % (prefix, uuid.uuid4().hex[:12])


class Worker:
    """A ctask-worker, and its log as events."""

    def __init__(self, *args, queue=None, app="primes,demo", wait=True, url=URL, env=None,
                 under=()):
        command = [*under, os.path.join(BIN, "ctask-worker"), "-A", app]
        if queue:
            command += ["-Q", queue]
        self.process = subprocess.Popen(
            command + list(args), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # one that outlives a failed test keeps nobody waiting
            env=dict(os.environ, CTASK_BROKER_URL=url, **(env or {})), text=True, errors="replace")
        end_at_exit(self._kill)
        self.pid = self.process.pid
        self.lines = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if wait:
            self.expect(r"INFO .* ready")

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append(None)
            self.news.notify_all()

    def log(self):
        with self.news:
            return "\n".join(line for line in self.lines if line is not None)

    def expect(self, pattern, times=1):
        """Waits until `pattern` was logged `times` times; returns the last of these lines."""
        end = time.monotonic() + GIVE_UP
        with self.news:
            while True:
                hits = [line for line in self.lines if line is not None and re.search(pattern, line)]
                if len(hits) >= times:
                    return hits[times - 1]
                if None in self.lines or time.monotonic() > end:
                    raise AssertionError("the worker never said %r:\n%s" % (
                        pattern, "\n".join(line for line in self.lines if line)))
                self.news.wait(1)

    def children(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            return [int(pid) for pid in f.read().split()]

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(GIVE_UP)

    def stop(self):
        """Ends it in the ordinary way; returns its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.wait()
        forget(self._kill)
        self.reader.join()
        self.process.stderr.close()
        return status

    def _kill(self):
        """Its children notice."""
        self.process.kill()
        self.process.wait()


def until(what, condition):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + GIVE_UP
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("never: " + what)
        time.sleep(0.01)


def alive(pid):
    """A zombie is not: in a container nobody may be there to bury an orphan."""
    try:
        with open("/proc/%s/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stands(pid):
    """It is stopped, as by SIGSTOP."""
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"


def memory_of(pid):
    """All that the process may write, one mapping after the other."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            start, end, flags = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
            if flags[:2] == "rw":
                mem.seek(int(start, 16))
                yield mem.read(int(end, 16) - int(start, 16))


def memory_holds(pid, *secrets):
    return any(secret in memory for memory in memory_of(pid) for secret in secrets)


class Bus:
    """A raw AMQP connection: publishes anything, reads results and dead letters."""

    def __init__(self, login=None, url=URL):
        user, password, host, port = url_parts(url)
        user, password = login or (user, password)
        self.connection = amqp.Connection("%s:%d" % (host, port), user, password, heartbeat=0,
                                          ssl=url.startswith("amqps"))
        self.connection.connect()
        self.channel = self.connection.channel()
        self.reply_to = "ctask.reply." + str(uuid.uuid4())
        self.early = {}  # results that came while others were waited for
        self.channel.queue_declare(self.reply_to, durable=True, auto_delete=False,
                                   arguments={"x-expires": 600000})

    def close(self):
        for queue in (self.reply_to,):
            self.channel.queue_delete(queue)
        self.connection.close()

    def declare(self, queue):
        self.channel.exchange_declare(queue, "direct", durable=True, auto_delete=False)
        self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.channel.queue_bind(queue, queue, queue)

    def delete(self, *queues):
        for queue in queues:
            for name in (queue, queue + ".dead"):
                self.channel.queue_delete(name)
            self.channel.exchange_delete(queue)

    def send(self, queue, task="is_prime", args=(97,), kwargs=None, *, body=None, headers=None,
             drop=(), reply_to=True, exchange="", **properties):
        """Publishes a task message as Celery would; returns its id."""
        task_id = str(uuid.uuid4())
        head = {"lang": "py", "task": task, "id": task_id}
        head.update(headers or {})
        for key in drop:
            head.pop(key, None)
        if body is None:
            body = json.dumps([list(args), kwargs or {},
                               {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        basic = {"content_type": "application/json", "content_encoding": "utf-8",
                 "delivery_mode": 2, "correlation_id": task_id}
        if reply_to:
            basic["reply_to"] = self.reply_to if reply_to is True else reply_to
        basic.update(properties)
        basic = {key: value for key, value in basic.items() if value is not None}
        self.channel.basic_publish(amqp.Message(body, application_headers=head, **basic),
                                   exchange, queue)
        return task_id

    def take(self, queue):
        """The next message of a queue, acknowledged; waits for both."""
        def get():
            try:
                return self.channel.basic_get(queue)
            except amqp.NotFound:  # which ends the channel
                self.channel = self.connection.channel()
        message = until("a message in " + queue, get)
        self.channel.basic_ack(message.delivery_tag)
        return message

    def results(self, *task_ids):
        """The final result of each id, as a dict of bodies."""
        found = {i: self.early.pop(i) for i in task_ids if i in self.early}
        while set(found) != set(task_ids):
            message = self.take(self.reply_to)
            body = json.loads(message.body)
            if body["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
                assert message.properties["correlation_id"] == body["task_id"], message.properties
                assert body["task_id"] not in found, "two results of one task"
                (found if body["task_id"] in task_ids else self.early)[body["task_id"]] = body
        return found

    def result(self, task_id):
        return self.results(task_id)[task_id]

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).message_count


class BrokerTest(unittest.TestCase):
    """A test with a connection and a queue of its own."""

    def setUp(self):
        self.bus = Bus()
        self.queue = unique()
        self.workers = []

    def worker(self, *args, **kwargs):
        kwargs.setdefault("queue", self.queue)
        worker = Worker(*args, **kwargs)
        self.workers.append(worker)
        return worker

    def tearDown(self):
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.stop()
        self.bus.delete(self.queue)
        self.bus.close()


def main():
    unittest.main(verbosity=2)
