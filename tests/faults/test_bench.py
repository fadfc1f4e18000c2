"""The bench itself: each of its faults really happens, and ends."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import GIVE_UP, Bus, amqp, main, unique  # noqa: E402


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


if __name__ == "__main__":
    main()
