"""Three nodes instead of one: workers and producers lose nothing when a node goes."""
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, Worker, main, skip, unique, until  # noqa: E402

from cluster import Cluster  # noqa: E402
from producer import OK, RETRIABLE, Producer  # noqa: E402

if os.geteuid() != 0:
    skip("needs root: a network namespace and its firewall")


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


class ClassicReplyQueues(unittest.TestCase):
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
