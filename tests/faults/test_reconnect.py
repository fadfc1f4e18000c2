"""A broker that lets everybody in and closes each connection soon after: who comes back waits longer
each time, whatever its other connection does."""
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, GIVE_UP, Worker, main, until  # noqa: E402

LEAST = 0.1  # seconds: what no wait before another attempt is shorter than


def frame(payload):
    return b"\x01\0\0" + len(payload).to_bytes(4, "big") + payload + b"\xce"


START = frame(b"\0\x0a\0\x0a\0\x09" + b"\0\0\0\0" + b"\0\0\0\x05PLAIN" + b"\0\0\0\x05en_US")
TUNE = frame(b"\0\x0a\0\x1e" + b"\x07\xff" + b"\0\x02\0\0" + b"\0\0")
OPEN_OK = frame(b"\0\x0a\0\x29\0")
CLOSE = frame(b"\0\x0a\0\x32" + b"\x01\x40" + b"\x06closed" + b"\0\0\0\0")


class Closing:
    """Opens connections, and closes all of them as soon as so many are open together."""

    def __init__(self, together):
        self.together, self.opened, self.open = together, [], []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = "amqp://guest:guest@127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            for answer in START, TUNE, OPEN_OK:  # to the header; start-ok; tune-ok and open
                said = peer.recv(65536)
                while answer == OPEN_OK and b"\0\x0a\0\x28" not in said:
                    said += peer.recv(65536)
                peer.sendall(answer)
            with self.lock:
                self.opened.append(time.monotonic())
                self.open.append(peer)
                if len(self.open) < self.together:
                    return
                doomed, self.open = self.open, []
            for one in doomed:
                one.sendall(CLOSE)
                one.close()
        except OSError:
            peer.close()


class Reconnect(unittest.TestCase):
    def bounded(self, broker, connections):
        """Of so many side by side each waited between two of its attempts."""
        times = broker.opened[:]
        self.assertGreater(times[-1] - times[0], (len(times) / connections - 1) * LEAST)

    def worker(self, together, times):
        broker = Closing(together)
        worker = Worker("-c", "1", url=broker.url, wait=False)
        until("it came back often", lambda: len(broker.opened) >= times)
        worker.process.kill()
        worker.stop()
        broker.listener.close()
        self.bounded(broker, 2)

    def test_a_worker_whose_connections_are_closed_together(self):
        self.worker(2, 12)

    def test_a_worker_whose_connections_are_closed_one_by_one(self):
        self.worker(1, 5)

    def test_a_producer(self):
        broker = Closing(1)
        done = subprocess.run([os.path.join(BIN, "ctask"), "-b", broker.url, "call", "--timeout",
                               "4", "is_prime", "97"], capture_output=True, timeout=GIVE_UP)
        self.assertNotEqual(done.returncode, 0)
        self.bounded(broker, 1)


if __name__ == "__main__":
    main()
