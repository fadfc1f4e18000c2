"""Three nodes instead of one: workers and producers lose nothing when a node goes."""
import os
import signal
import subprocess
import sys
import time
import unittest
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, Bus, Worker, main, skip, unique, until  # noqa: E402

from cluster import Cluster  # noqa: E402
from producer import ETASK, OK, RETRIABLE, Producer  # noqa: E402

if os.geteuid() != 0:
    skip("needs root: a network namespace and its firewall")


CUT_FOR = 40


def setUpModule():
    global cluster
    cluster = Cluster().__enter__()


def tearDownModule():
    cluster.__exit__()


class TheBench(unittest.TestCase):
    def test_a_node_that_is_cut_off_is_out_of_reach_until_it_is_healed(self):
        node = cluster.nodes[2]
        self.assertTrue(node.answers())
        node.cut()
        self.assertFalse(node.answers())
        self.assertTrue(cluster.nodes[1].answers())
        cluster.heal()
        self.assertTrue(node.answers())


class QuorumQueues(unittest.TestCase):
    def test_tasks_run_while_the_node_of_their_worker_is_killed(self):
        queue = unique()
        first, second = cluster.nodes[1], cluster.nodes[2]
        self.addCleanup(lambda: first.pid() or first.start())
        urls = "%s;%s" % (first.url, second.url)
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "2", url=urls)
        self.addCleanup(worker.stop)
        call = [os.path.join(BIN, "ctask"), "-b", second.url, "call", "-Q", queue, "is_prime"]
        self.assertEqual(subprocess.check_output(call + ["97"], text=True), "true\n")
        first.kill()
        worker.expect("connected again")
        until("another node leads the queue", lambda: not first.leads(queue, asked=second))
        self.assertEqual(subprocess.check_output(call + ["91"], text=True), "false\n")
        first.start()


    def test_a_prefetch_that_changes_while_the_leader_stands_still_holds_no_delivery_up(self):
        """A basic.cancel or basic.consume then blocks its channel with all deliveries on it, until
        the node is back or the others take it for lost, also when the queue has a new leader."""
        queue = unique()
        first, second = cluster.nodes[1], cluster.nodes[2]
        there, bus = Bus(url=first.url), Bus(url=second.url)
        self.addCleanup(bus.close)
        there.channel.queue_declare(queue, durable=True, auto_delete=False,
                                    arguments={"x-queue-type": "quorum"})
        there.close()
        worker = Worker("-Q", queue, "-c", "2", "-l", "trace", url=second.url)
        self.addCleanup(worker.stop)
        bus.results(*[bus.send(queue, "demo.sleep", [0.001]) for _ in range(400)])  # it holds many
        # After a second it is to hold no more than these.
        long = [bus.send(queue, "demo.sleep", [4]) for _ in range(2)]
        for task in long:
            worker.expect("id=%s ready -> running" % task)
        self.addCleanup(first.resume)
        first.pause()
        bus.results(*long, *[bus.send(queue) for _ in range(20)])
        self.assertIn(first.name, second.evaluate("nodes()"), "taken for lost")


class DeadLetters(unittest.TestCase):
    def test_their_node_is_down_and_other_tasks_go_on(self):
        """A queue of dead letters that somebody declared as a classic one, on node 1."""
        queue = unique()
        first, second, third = (cluster.nodes[n] for n in (1, 2, 3))
        self.addCleanup(lambda: first.pid() or first.start())
        bus = Bus(url=first.url)
        bus.channel.queue_declare(queue + ".dead", durable=True, auto_delete=False)
        bus.close()
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "1", url=third.url)
        self.addCleanup(worker.stop)
        client = Producer(second.url, queue)
        self.addCleanup(client.close)
        self.assertIs(client.send("is_prime", 97).value(), True)
        first.kill()
        bad = [client.send("is_prime", "no number") for _ in range(3)]
        self.assertEqual([client.send("is_prime", 97).value() for _ in range(10)], [True] * 10)
        self.assertEqual({handle.wait() for handle in bad}, {ETASK})
        first.start()
        until("all are kept", lambda: first.depth(queue + ".dead") == (3, 0))
        self.assertEqual(worker.stop(), 0)


class Leases(unittest.TestCase):
    def test_the_node_and_the_worker_are_lost_and_both_tasks_come_back(self):
        """The worker has declared their leases on node 1."""
        queue = unique()
        first, second = cluster.nodes[1], cluster.nodes[2]
        self.addCleanup(lambda: first.pid() or first.start())
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "2", "--lease", "8", url=first.url)
        self.addCleanup(worker.stop)
        bus = Bus(url=second.url)
        self.addCleanup(bus.close)
        sent = {bus.send(queue, "demo.sleep", [600]) for _ in range(2)}
        worker.expect("has run for long: it is leased", 2)
        worker.signal(signal.SIGKILL)
        first.kill()
        until("another node leads the queue", lambda: not first.leads(queue, asked=second))
        back = set()
        while back != sent:
            message = bus.take(queue)
            if message.headers.get("x-ctask-again"):  # else node 1 died before the worker's ack came
                back.add(message.headers["id"])
        first.start()


class ClassicReplyQueues(unittest.TestCase):
    def test_a_client_waits_for_nothing_without_end_while_their_node_is_cut_off(self):
        """The other nodes notice only after a minute that it is gone: what is sent there is neither
        taken nor refused."""
        queue = unique()
        second, third = cluster.nodes[2], cluster.nodes[3]
        self.addCleanup(cluster.heal)
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "2", url=third.url)
        self.addCleanup(worker.stop)
        client = Producer("%s;%s" % (second.url, third.url), queue)
        self.addCleanup(client.close)
        self.assertIs(client.send("is_prime", 97).value(), True)
        handles = [client.send("demo.sleep", 3) for _ in range(4)]
        self.assertEqual(client.flush(), 0)
        second.cut()
        healed = time.monotonic() + CUT_FOR
        while time.monotonic() < healed:
            handles.append(client.send("is_prime", 97))
            handles[-1].wait(1)
        cluster.heal()
        for handle in handles:
            handle.wait()
            self.assertTrue(handle.ready())
            if handle.error().code != OK:
                self.assertEqual(handle.error().flags, RETRIABLE, handle.error())
        until("it sends again", lambda: self.sent(client)).value()
        self.assertEqual(worker.stop(), 0)

    def test_a_client_goes_on_and_gets_what_came_while_their_node_was_down(self):
        """Its first reply queue is on node 1. The worker, elsewhere, has a result for it meanwhile."""
        queue = unique()
        first, second, third = (cluster.nodes[n] for n in (1, 2, 3))
        self.addCleanup(lambda: first.pid() or first.start())
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "2", "-l", "debug",
                        url=third.url)
        self.addCleanup(worker.stop)
        client = Producer("%s;%s" % (first.url, second.url), queue)
        self.addCleanup(client.close)
        self.assertIs(client.send("is_prime", 97).value(), True)  # its queue is there
        early = client.send("demo.sleep", 6)
        self.assertEqual(client.flush(), 0)
        first.kill()
        worker.expect(r"ctask\.reply\..*trying again")
        late = until("it sends again", lambda: self.sent(client))
        self.assertIs(late.value(), True)
        self.assertFalse(early.ready())
        first.start()
        early.value()
        self.assertEqual(worker.stop(), 0)
        self.assertRegex(worker.log(), r"kept dead 0, .*results nobody asked for 0, .*dropped 0,")

    def test_results_for_a_node_that_is_down_stop_no_worker(self):
        """They fill what a worker keeps of messages that the broker does not take."""
        queue = unique()
        replies = str(uuid.uuid4())  # a name as Celery gives it
        first, second, third = (cluster.nodes[n] for n in (1, 2, 3))
        self.addCleanup(lambda: first.pid() or first.start())
        bus = Bus(url=first.url)
        bus.channel.queue_declare(replies, durable=True, auto_delete=False)
        bus.close()
        worker = Worker("-Q", queue, "--queue-type", "quorum", "-c", "2", "--prefetch", "4",
                        url=third.url)
        self.addCleanup(worker.stop)
        client = Producer(second.url, queue)
        self.addCleanup(client.close)
        self.assertIs(client.send("is_prime", 97).value(), True)
        first.kill()
        bus = Bus(url=second.url)
        self.addCleanup(bus.close)
        for _ in range(50):
            bus.send(queue, "demo.big", [2 << 20], reply_to=replies)
        worker.expect("no more tasks are taken until it does")
        self.assertIs(client.send("is_prime", 97).value(300), True)
        worker.expect("its result is dropped: .*" + replies)
        first.start()
        until("the kept ones arrive", lambda: first.depth(replies)[0] > 20)
        self.assertEqual(worker.stop(), 0)

    @staticmethod
    def sent(client):
        """A handle of a task that the broker has, or None after a retriable reason."""
        handle = client.send("is_prime", 97)
        if not handle.ready() or handle.error().code == OK:
            return handle
        assert handle.error().flags == RETRIABLE, handle.error()
        return None


if __name__ == "__main__":
    main()
