"""What the fuzzers found worth keeping, as messages to a live worker under the address sanitizer:
properties, header tables, dates and bodies. It takes each for what it is, runs what can be run,
keeps the rest dead, and lives."""
import os
import random
import struct
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import harness  # noqa: E402
from harness import BrokerTest, Bus, main, skip  # noqa: E402

import amqp  # noqa: E402

if "address" in os.environ.get("CTASK_SANITIZED", ""):
    SANITIZED = harness.BIN
else:
    SANITIZED = os.environ.get("CTASK_ASAN_BIN")
if not SANITIZED:
    skip("needs a worker under the address sanitizer: ./dev test builds one, or set CTASK_ASAN_BIN")

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fuzz/corpus")
BODY = b'[[97], {}, {}]'
METHOD, HEADER, CONTENT = 1, 2, 3


def corpus(name):
    for file in sorted(os.listdir(os.path.join(CORPUS, name))):
        with open(os.path.join(CORPUS, name, file), "rb") as f:
            yield f.read()


def short(s):
    return bytes([len(s)]) + s


def text(key, value):
    return short(key) + b"S" + struct.pack(">I", len(value)) + value


def props(headers):
    """Properties with these header entries and nothing else."""
    return struct.pack(">HI", 1 << 13, len(headers)) + headers


def head(task, *more):
    task_id = str(uuid.uuid4()).encode()
    return props(text(b"task", task) + text(b"id", task_id) + b"".join(more))


class Corpus(BrokerTest):
    def setUp(self):
        super().setUp()
        self.bus.declare(self.queue)
        harness.BIN = SANITIZED
        self.subject = self.worker("-c", "2", "-l", "error", "--fail-unknown", wait=False)
        self.pid = self.subject.pid

    def publish(self, raw, body):
        """A message made of raw property bytes. False if the broker itself would not have it."""
        channel, frame = self.bus.channel, self.write_frame
        try:
            frame(METHOD, channel.channel_id, struct.pack(">HHH", 60, 40, 0) + short(b"") +
                  short(self.queue.encode()) + b"\0")
            frame(HEADER, channel.channel_id, struct.pack(">HHQ", 60, 0, len(body)) + raw)
            if body:
                frame(CONTENT, channel.channel_id, body)
            channel.queue_declare(self.queue, passive=True)  # the broker's answer to all of it
            return True
        except (amqp.exceptions.AMQPError, OSError, UnicodeDecodeError):  # its words may be ours
            reply_to = self.bus.reply_to
            self.bus = Bus()
            self.bus.channel.queue_delete(reply_to)
            return False

    def write_frame(self, kind, channel, payload):
        self.bus.connection.transport.write(
            struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    def feed(self, messages, least=1):
        taken = sum(self.publish(raw, body) for raw, body in messages)
        self.assertGreaterEqual(taken, least)
        ids = [self.bus.send(self.queue) for _ in range(4)]
        self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})
        self.assertIsNone(self.subject.process.poll(), self.subject.log())

    def tearDown(self):
        self.assertEqual(self.subject.stop(), 0, self.subject.log())
        self.assertNotIn("Sanitizer", self.subject.log())
        self.assertNotIn("runtime error", self.subject.log())
        self.assertEqual(self.bus.depth(self.queue), 0)
        super().tearDown()

    def test_properties(self):
        self.feed((raw, BODY) for raw in corpus("envelope"))

    def test_celerys_properties_with_wrong_bytes(self):
        """The broker refuses most of what a fuzzer makes; one wrong byte in a value it passes on."""
        chance = random.Random(1)
        with open(os.path.join(CORPUS, "../../golden/celery-task-props.hex")) as f:
            golden = bytes.fromhex("".join(line for line in f if not line.startswith("#")))

        def wrong():
            for _ in range(150):
                bad = bytearray(golden)
                bad[chance.randrange(len(bad))] = chance.randrange(256)
                yield bytes(bad), BODY
        self.feed(wrong(), least=100)

    def test_header_tables(self):
        self.feed((props(table), BODY) for table in corpus("table") if len(table) < 100000)

    def test_bodies(self):
        tasks = [b"is_prime", b"demo.add", b"demo.sleep", b"demo.thumbnail", b"demo.fail"]
        self.feed((head(tasks[data[0] % len(tasks)]), data[1:]) for data in corpus("args") if data)

    def test_dates(self):
        for key in b"eta", b"expires":
            self.feed((head(b"is_prime", text(key, data)), BODY) for data in corpus("date")
                      if not data.startswith(b"9"))


if __name__ == "__main__":
    main()
