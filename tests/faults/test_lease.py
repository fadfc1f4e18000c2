"""Jobs that run for longer than the broker lets a delivery stay unsettled: a lease stands for them.
Each starts once; if its worker is lost it comes home within the lease and starts again, flagged."""
import os
import re
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import GIVE_UP, Bus, Worker, main, unique, until  # noqa: E402

LEASE, TIMEOUT = 1, 3
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()
    broker.consumer_timeout(TIMEOUT)


def tearDownModule():
    broker.__exit__()


def queues():
    return set(re.findall(r'queue,<<"(.*?)">>', broker.evaluate("rabbit_amqqueue:list_names()")))


def leases():
    return {name for name in queues() if name.startswith("ctask.lease.")}


class LeaseTest(unittest.TestCase):
    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique()
        self.bus.declare(self.queue)
        self.workers = []

    def worker(self, *args, lease=LEASE):
        worker = Worker("-l", "debug", "--lease=%d" % lease, *args, queue=self.queue,
                        url=broker.url)
        self.workers.append(worker)
        return worker

    def tearDown(self):
        for worker in self.workers:
            worker.stop()
        self.assertEqual(leases(), set())
        for name in self.queue, self.queue + ".dead":
            self.assertEqual(broker.depth(name), (0, 0))
        self.bus.delete(self.queue)
        self.bus.close()

    def starts(self, task):
        return sum(len(re.findall("id=%s ready -> running" % task, worker.log()))
                   for worker in self.workers)

    def leased(self, worker, task):
        worker.expect("id=%s has run for long: it is leased" % task)

    def copy_comes_home(self, since):
        """The next message of the queue, left there; how it says that it was started before."""
        message = until("it comes home", lambda: self.bus.channel.basic_get(self.queue))
        self.assertLess(time.monotonic() - since, LEASE + 2)
        headers = dict(message.headers)
        self.bus.channel.basic_reject(message.delivery_tag, requeue=True)
        self.assertIs(headers["x-ctask-again"], True)
        self.assertEqual(headers["x-ctask-attempt"], 1)
        return message


class Lease(LeaseTest):
    def test_a_job_longer_than_consumer_timeout_starts_once(self):
        worker = self.worker("-c", "2")
        long = self.bus.send(self.queue, "demo.sleep", [8])
        short = [self.bus.send(self.queue, "demo.sleep", [0.1]) for _ in range(50)]
        self.bus.results(*short)
        self.leased(worker, long)
        until("there is one", lambda: len(leases()) == 1)
        self.assertEqual(self.bus.result(long)["status"], "SUCCESS")
        self.assertEqual(self.starts(long), 1)
        self.assertNotIn("closed", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_its_worker_killed_it_starts_again_within_the_lease(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [3])
        worker.expect("its lease is renewed", 2)
        worker.signal(signal.SIGKILL)
        killed = time.monotonic()
        worker.wait()
        message = self.copy_comes_home(killed)
        self.assertEqual(message.headers["id"], task)
        (left,) = leases()  # it vanishes when its x-expires is over
        self.assertEqual(broker.depth(left), (0, 0))
        broker.delete_queue(left)
        self.worker("-c", "1")
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 2)

    def test_a_connection_cut_while_leased_starts_nothing(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [4])
        self.leased(worker, task)
        renewed = len(re.findall("lease is renewed", worker.log()))
        broker.close_connections()
        reply_to, self.bus = self.bus.reply_to, Bus(url=broker.url)
        self.bus.reply_to = reply_to
        worker.expect("connected again")
        worker.expect("its lease is renewed", renewed + 1)
        until("the old one is gone", lambda: len(leases()) == 1)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 1)

    def test_told_to_leave_it_gives_a_leased_job_back(self):
        worker = self.worker("-c", "1", "--grace", "0")
        task = self.bus.send(self.queue, "demo.sleep", [60])
        self.leased(worker, task)
        asked = time.monotonic()
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(leases(), set())
        self.copy_comes_home(asked)
        self.bus.channel.queue_purge(self.queue)

    def test_told_to_leave_it_finishes_a_leased_job_in_its_grace(self):
        worker = self.worker("-c", "1", "--grace", "30")
        task = self.bus.send(self.queue, "demo.sleep", [2.5])
        self.leased(worker, task)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 1)


if __name__ == "__main__":
    main()
