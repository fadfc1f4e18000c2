"""Messages that a worker cannot run, for the tests of content: what their caller, the dead letters
and the log must show of them, and a publisher that writes what no client library would."""
import socket
import struct

from harness import PLAIN, BrokerTest, url_parts


class ContentTest(BrokerTest):
    """A worker of one child, its dead letters, and what every bad message must come to."""

    worker_args = ("-c", "1")

    def setUp(self):
        super().setUp()
        self.one = self.worker(*self.worker_args)
        self.dead = self.queue + ".dead"

    def kept(self, body=None, kind=None):
        message = self.bus.take(self.dead)
        for key in ("type", "reason", "at", "by", "queue"):
            self.assertIn("x-ctask-dead-" + key, message.headers)
        self.assertEqual(message.headers["x-ctask-dead-queue"], self.queue)
        if body is not None:
            self.assertEqual(message.body, body)
        if kind:
            self.assertEqual(message.headers["x-ctask-dead-type"], kind)
        return message

    def assert_alive(self):
        self.assertEqual(self.bus.result(self.bus.send(self.queue, args=[97]))["result"], True)
        self.assertNotIn("children lost", "".join(
            line for line in self.one.log().splitlines() if "is gone" in line))

    def assert_bad(self, kind, **message):
        """It fails for its caller, is kept as it came, logged once, and the worker lives. Returns
        the failure."""
        task = self.bus.send(self.queue, **message)
        result = self.bus.result(task)
        self.assertEqual(result["status"], "FAILURE")
        self.assertEqual(result["result"]["exc_type"], kind)
        self.kept(message.get("body"), kind)
        self.one.expect(task + ".* is kept in")
        logged = [line for line in self.one.log().splitlines() if task in line and "kept in" in line]
        self.assertEqual(len(logged), 1, self.one.log())
        self.assert_alive()
        return result["result"]


def short(text):
    return bytes([len(text)]) + text.encode()


def long(data):
    return struct.pack(">I", len(data)) + data


def raw_publish(queue, table, body, reply_to=None, correlation_id="raw"):
    """Publishes with a header table given as bytes."""
    user, password, host, port = url_parts(PLAIN)
    s = socket.create_connection((host, port))

    def frame(kind, channel, payload):
        s.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    def read():
        head = s.recv(7, socket.MSG_WAITALL)
        size = struct.unpack(">BHI", head)[2]
        return s.recv(size + 1, socket.MSG_WAITALL)

    s.sendall(b"AMQP\0\0\x09\x01")
    read()
    frame(1, 0, struct.pack(">HHI", 10, 11, 0) + short("PLAIN") +
          long(b"\0" + user.encode() + b"\0" + password.encode()) + short("en_US"))
    read()
    frame(1, 0, struct.pack(">HHHIH", 10, 31, 10, 131072, 0))
    frame(1, 0, struct.pack(">HH", 10, 40) + short("/") + b"\0\0")
    read()
    frame(1, 1, struct.pack(">HH", 20, 10) + b"\0")
    read()
    flags, rest = 0x8000 | 0x2000, b""
    if reply_to:
        flags, rest = flags | 0x0400 | 0x0200, short(correlation_id) + short(reply_to)
    props = struct.pack(">H", flags) + short("application/json") + long(table) + rest
    frame(1, 1, struct.pack(">HHH", 60, 40, 0) + short("") + short(queue) + b"\0")
    frame(2, 1, struct.pack(">HHQ", 60, 0, len(body)) + props)
    if body:
        frame(3, 1, body)
    frame(1, 1, struct.pack(">HHH", 20, 40, 200) + short("") + struct.pack(">HH", 0, 0))
    answer = read()
    s.close()
    # channel.close-ok: the broker took the message
    assert answer[:4] == struct.pack(">HH", 20, 41), answer
