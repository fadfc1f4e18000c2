"""The bench itself: each of its faults really happens, and ends."""
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import DEV, FaultProxy, PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import GIVE_UP, URL, Bus, amqp, main, until, unique  # noqa: E402


class Broker(unittest.TestCase):
    def test_a_node_of_its_own_is_stopped_killed_hung_and_comes_back_at_its_port(self):
        with PrivateBroker() as broker:
            url, queue = broker.url, unique()
            bus = Bus(url=url)
            bus.declare(queue)
            bus.channel.basic_publish_confirm(amqp.Message("kept", delivery_mode=2), "", queue)
            self.assertEqual(broker.depth(queue), (1, 0))

            broker.suspend_queue(queue)
            with self.assertRaises(OSError):
                bus.connection.transport.sock.settimeout(0.2)
                bus.depth(queue)
            broker.resume_queue(queue)

            bus = Bus(url=url)
            for alarm in broker.memory_alarm, broker.disk_alarm:
                alarm(True)
                self.assertNotEqual(broker.evaluate("rabbit_alarm:get_alarms()"), "[]")
                alarm(False)
                self.assertEqual(broker.evaluate("rabbit_alarm:get_alarms()"), "[]")

            self.assertGreaterEqual(broker.connections(), 1)
            broker.close_connections("the test's reason")
            with self.assertRaisesRegex(amqp.ConnectionError, "the test's reason"):
                bus.connection.drain_events(timeout=GIVE_UP)

            broker.consumer_timeout(3)
            self.assertEqual(broker.evaluate("application:get_env(rabbit, consumer_timeout)"),
                             "{ok,3000}")
            broker.pause()
            self.assertTrue(broker.is_paused())
            broker.resume()
            self.assertFalse(broker.is_paused())

            broker.kill()
            self.assertIsNone(broker.pid())
            starting = broker.start(wait=False)
            broker.answers_at()
            broker.started(starting)
            self.assertEqual(broker.url, url)
            self.assertEqual(broker.depth(queue), (1, 0))
            broker.delete_queue(queue)
            with self.assertRaises(RuntimeError):
                broker.depth(queue)
            broker.pause()
            directory = broker.dir
        self.assertIsNone(broker.pid())
        self.assertFalse(os.path.exists(directory))


    def test_an_epmd_that_ends_at_once_is_started_again_at_another_port(self):
        """As when somebody else took the port meanwhile."""
        with tempfile.TemporaryDirectory() as directory:
            once = os.path.join(directory, "epmd")
            with open(once, "w") as f:
                f.write("#!/bin/sh\nrm %s\nexit 1\n" % once)
            os.chmod(once, 0o755)
            before = os.environ["PATH"]
            self.addCleanup(os.environ.update, PATH=before)
            os.environ["PATH"] = directory + ":" + before
            with PrivateBroker() as broker:
                self.assertFalse(os.path.exists(once))
                self.assertEqual(broker.connections(), 0)

    def test_a_start_that_is_interrupted_leaves_no_broker(self):
        with tempfile.TemporaryDirectory() as directory:
            started = subprocess.Popen([DEV, "broker", "start"], stderr=subprocess.PIPE,
                                       env=dict(os.environ, CTASK_BROKER_DIR=directory), text=True)
            record = os.path.join(directory, "broker.pid")
            until("its node runs", lambda: os.path.exists(record) and os.path.getsize(record) > 0)
            with open(record) as f:
                pid = int(f.read().split()[0])
            started.send_signal(signal.SIGINT)
            self.assertIn("dev: stopping RabbitMQ", started.communicate()[1])
            self.assertEqual(started.returncode, 130)
            self.assertFalse(os.path.exists("/proc/%d" % pid))

    def test_a_directory_that_cannot_be_written_is_one_sentence(self):
        started = subprocess.run([DEV, "broker", "start"], env=dict(os.environ, CTASK_BROKER_DIR="/proc/x"),
                                 capture_output=True, text=True)
        self.assertEqual(started.returncode, 1)
        self.assertIn("dev: cannot write to /proc/x; name another directory in CTASK_BROKER_DIR",
                      started.stderr)
        self.assertNotIn("epmd", started.stderr)


class Proxy(unittest.TestCase):
    """On raw connections of py-amqp; what each fault does to ctask is in the other files."""

    def setUp(self):
        self.proxy = FaultProxy(URL)
        self.addCleanup(self.proxy.__exit__)
        self.bus = Bus(url=self.proxy.url)
        self.queue = unique()
        self.bus.declare(self.queue)
        self.addCleanup(self.clean)

    def clean(self):
        bus = Bus()
        bus.delete(self.queue)
        bus.channel.queue_delete(self.bus.reply_to)
        bus.close()

    def silent(self):
        self.bus.connection.transport.sock.settimeout(0.2)
        with self.assertRaises(OSError):
            self.bus.depth(self.queue)

    def test_it_names_frames_and_counts_them(self):
        self.proxy("trace on")
        self.bus.send(self.queue)
        self.bus.depth(self.queue)
        for kind in "c2s frame basic.publish", "c2s frame header", "c2s frame body", \
                "s2c frame queue.declare-ok":
            self.proxy.expect(kind)
            self.assertEqual(self.proxy.count(kind), 1)

    def test_a_blackhole_takes_everything_and_gives_it_back(self):
        self.proxy("blackhole s2c")
        self.silent()
        self.proxy("pass")
        self.bus.connection.drain_events(timeout=5)

    def test_reset_after_a_frame_that_arrives(self):
        """RabbitMQ may drop a message whose connection ends before a channel has it: then another."""
        there = Bus()
        self.addCleanup(there.close)

        def arrives():
            bus = Bus(url=self.proxy.url)
            self.proxy("reset-after body 1 c2s")
            bus.send(self.queue)
            with self.assertRaises(ConnectionResetError):
                bus.connection.drain_events(timeout=5)
            self.proxy.expect("closed")
            there.channel.queue_delete(bus.reply_to)
            return there.depth(self.queue) > 0
        until("one arrives", arrives)

    def test_frames_are_held_dropped_doubled_and_late(self):
        self.bus.channel.confirm_select()
        confirms = []
        self.bus.channel.events["basic_ack"].add(lambda tag, multiple: confirms.append(tag))
        self.proxy("drop basic.ack 1 s2c")
        self.proxy("double basic.ack 2 s2c")
        self.proxy("late basic.ack 3 s2c")
        self.proxy("hold basic.ack 6 s2c")
        for tag in 1, 2, 3, 4, 5, 6:
            self.bus.send(self.queue)
            self.proxy.expect("s2c (drop|double|late|hold)", times=min(tag, 3))
            if tag in (2, 4, 5):  # one at a time: the broker may answer two with one
                want = {2: [2, 2], 4: [2, 2, 4, 3], 5: [2, 2, 4, 3, 5]}[tag]
                while confirms != want:
                    self.bus.connection.drain_events(timeout=5)
        self.proxy.expect("s2c hold")
        self.proxy("pass")
        self.bus.connection.drain_events(timeout=5)
        self.assertEqual(confirms, [2, 2, 4, 3, 5, 6])

    def test_pace_segments_and_corruption(self):
        self.proxy("delay 300 s2c")
        start = time.monotonic()
        self.bus.depth(self.queue)
        self.assertGreaterEqual(time.monotonic() - start, 0.3)
        self.proxy("pass")
        self.proxy("rate 10000 c2s")
        self.proxy("split 1")
        start = time.monotonic()
        self.bus.send(self.queue, body="x" * 5000)
        self.bus.depth(self.queue)
        self.assertGreaterEqual(time.monotonic() - start, 0.45)
        self.proxy("pass")
        self.assertEqual(self.bus.take(self.queue).body, "x" * 5000)
        self.proxy("corrupt 1 c2s")
        with self.assertRaises(OSError):
            Bus(url=self.proxy.url)
        self.proxy.expect("c2s corrupt 1")

    def test_the_door(self):
        self.proxy("accept reset")
        with self.assertRaises(ConnectionResetError):
            Bus(url=self.proxy.url)
        self.proxy("accept yes")
        other = Bus(url=self.proxy.url)
        self.proxy("fin", 1)
        with self.assertRaises(OSError):
            self.bus.connection.drain_events(timeout=5)
        other.close()
        with self.assertRaises(ValueError):
            self.proxy("fly")


if __name__ == "__main__":
    main()
