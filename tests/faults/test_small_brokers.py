"""Brokers that are set up small: few channels, small frames, limits of a user and of a virtual host.
What cannot work is refused in the broker's words, or with what is needed; what can work does."""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, GIVE_UP, Bus, Worker, main, unique  # noqa: E402

FRAME = 4096
NO_BROKER = 69
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()


def tearDownModule():
    broker.__exit__()


class Small(unittest.TestCase):
    def setUp(self):
        self.queue = unique()

    def setting(self, name, value):
        """Of the node, for connections from now on."""
        old = broker.evaluate("{ok, Old} = application:get_env(rabbit, %s), Old" % name)
        put = "application:set_env(rabbit, %s, %s)"
        broker.evaluate(put % (name, value))
        self.addCleanup(broker.evaluate, put % (name, old))

    def worker(self, *args, queue=None):
        worker = Worker(*args, queue=queue or self.queue, url=broker.url)
        self.addCleanup(worker.stop)
        return worker

    def call(self, *args):
        return subprocess.run([os.path.join(BIN, "ctask"), "-b", broker.url, "call", "--timeout",
                               "20", "-Q", self.queue, *args], text=True, capture_output=True,
                              timeout=GIVE_UP)

    def refused(self, words, *args):
        """By a producer, soon enough, in these words."""
        done = self.call(*args, "is_prime", "97")
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, words)


class Channels(Small):
    def no_worker(self, words, queues):
        done = subprocess.run([os.path.join(BIN, "ctask-worker"), "-A", "primes", "-b", broker.url,
                               "-Q", queues], text=True, capture_output=True, timeout=GIVE_UP)
        self.assertEqual(done.returncode, NO_BROKER, done.stderr)
        self.assertRegex(done.stderr, words)

    def test_too_few_are_refused_and_said(self):
        for most in range(1, 4):
            self.setting("channel_max", most)
            words = "allows %d channels a connection .channel_max. and 4 are needed" % most
            self.no_worker(words, self.queue)
            self.refused(words)

    def test_as_many_as_are_needed_will_do(self):
        self.setting("channel_max", 5)
        queues = [unique(), self.queue]
        self.worker("-c", "1", queue=",".join(queues))
        self.assertEqual(self.call("is_prime", "97").stdout, "true\n")
        self.no_worker("allows 5 channels a connection .channel_max. and 6 are needed",
                       ",".join(queues + [unique()]))


class Frames(Small):
    def setUp(self):
        super().setUp()
        self.setting("frame_max", FRAME)
        self.bus = Bus(url=broker.url)
        self.bus.declare(self.queue)

    def tearDown(self):
        self.bus.delete(self.queue)
        self.bus.close()

    def send(self, task, args):
        """With properties that just fit one frame."""
        return self.bus.send(self.queue, task, args,
                             headers={"root_id": None, "argsrepr": "x" * (FRAME - 400)})

    def test_a_retry_goes_back(self):
        self.worker("-c", "1")
        self.assertEqual(self.bus.result(self.send("demo.retry", [2]))["status"], "SUCCESS")

    def test_a_crash_runs_again_and_is_kept(self):
        """Its output alone would fill a frame."""
        self.worker("-c", "1")
        task = self.send("demo.crash", ["segv"])
        self.assertEqual(self.bus.result(task)["status"], "FAILURE")
        dead = self.bus.take(self.queue + ".dead")
        self.assertEqual(dead.headers["id"], task)
        self.assertEqual(dead.headers["task"], "demo.crash")
        self.assertIn("x-ctask-dead-reason", dead.headers)
        self.assertIs(dead.headers["x-ctask-headers-dropped"], True)

    def test_a_lease_is_taken(self):
        worker = self.worker("-c", "1", "--lease=1")
        task = self.send("demo.sleep", [3])
        worker.expect("id=%s .* has run for long: it is leased" % task)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")


class Limits(Small):
    """Of RabbitMQ, for users and virtual hosts."""

    def user(self, limit, most):
        broker.ctl("set_user_limits", "guest", json.dumps({limit: most}))
        self.addCleanup(broker.ctl, "clear_user_limits", "guest", limit)

    def virtual_host(self, limit, most):
        broker.ctl("set_vhost_limits", "-p", "/", json.dumps({limit: most}))
        self.addCleanup(broker.ctl, "clear_vhost_limits", "-p", "/")

    def test_channels_of_a_user(self):
        self.user("max-channels", 1)
        self.refused("the maximum allowed user limit")

    def test_connections_of_a_user(self):
        self.user("max-connections", 0)
        self.refused("connection limit .*is reached|user limit")

    def test_connections_of_a_virtual_host(self):
        self.virtual_host("max-connections", 0)
        self.refused("connection limit .*is reached")

    def test_a_virtual_host_without_room_for_delay_queues(self):
        """They would take all places that there are, and no task could be delayed after all."""
        url = broker.url + "/" + self.queue
        broker.ctl("add_vhost", self.queue)
        self.addCleanup(broker.ctl, "delete_vhost", self.queue)
        broker.ctl("set_permissions", "-p", self.queue, "guest", ".*", ".*", ".*")
        broker.ctl("set_vhost_limits", "-p", self.queue, '{"max-queues": 10}')
        worker = Worker("-c", "1", queue=self.queue, url=url)
        self.addCleanup(worker.stop)
        worker.expect("tasks that are to run later wait in this worker.*queue limit .*is reached")
        done = self.call("-b", url, "is_prime", "97")
        self.assertEqual((done.stdout, done.stderr), ("true\n", ""))
        queues = set(broker.ctl("-q", "list_queues", "-p", self.queue, "name", "--no-table-headers")
                     .split())
        self.assertEqual({name for name in queues if not name.startswith("ctask.reply.")},
                         {self.queue, self.queue + ".dead"})

    def test_queues_of_a_virtual_host(self):
        self.virtual_host("max-queues", 0)
        self.refused("queue limit .*is reached")
        self.refused("queue limit .*is reached", "--no-wait")


if __name__ == "__main__":
    main()
