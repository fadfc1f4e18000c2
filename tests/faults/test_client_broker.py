"""What a producer sees while its broker, or it itself, fails: every handle ends, exactly once, and
no call takes longer than it may. The broker is one of our own, since each test disturbs it.
"""
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import bench
import harness
import producer
from harness import until

ECHO = "demo.echo"
REPLIES = r'"(ctask\.reply\.[^"]*)"'
broker = None


def setUpModule():
    global broker
    broker = bench.PrivateBroker().__enter__()


def tearDownModule():
    broker.__exit__()


def queues():
    return broker.evaluate("[binary_to_list(element(4, N)) || N <- rabbit_amqqueue:list_names()]")


def reply_queues():
    return set(re.findall(REPLIES, queues()))


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.queue = harness.unique()
        self.workers = []
        others = reply_queues()  # an earlier client may have left without a goodbye
        self.p = self.open()
        self.p.send(ECHO, 0).forget()  # declares the queues
        self.assertEqual(self.p.flush(), 0)
        self.replies, = reply_queues() - others
        self.take_away()

    def open(self):
        return producer.Producer(broker.url, self.queue)

    def tearDown(self):
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.stop()
        self.p.close()
        for name in re.findall(r'"(t\.[^"]*)"', queues()):
            broker.delete_queue(name)

    def worker(self, *args):
        worker = harness.Worker(*args, queue=self.queue, url=broker.url)
        self.workers.append(worker)
        return worker

    def take_away(self):
        broker.evaluate('{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
                        "rabbit_amqqueue:purge(Q), ok" % self.queue)

    def send(self, n):
        handles = [self.p.send(ECHO, i) for i in range(n)]
        self.assertEqual(self.p.flush(), 0)
        return handles

    def until_replies(self, ready, unacknowledged):
        until("%d and %d replies" % (ready, unacknowledged),
              lambda: broker.depth(self.replies) == (ready, unacknowledged))

    def all_succeed(self, handles):
        self.assertEqual([h.value() for h in handles], list(range(len(handles))))
        for h in handles:
            h.forget()


class Waiting(ClientTest):
    """The results come while nobody drives the client."""

    def setUp(self):
        self.addCleanup(broker.consumer_timeout, 1800)
        broker.consumer_timeout(3)
        super().setUp()
        until("it consumes", lambda: broker.evaluate(
            bench._queue(self.replies) + ", rabbit_amqqueue:info(Q, [consumers])") ==
            "[{consumers,1}]")
        broker.consumer_timeout(1800)  # the worker's channels are not meant

    def test_results_survive_the_consumer_timeout_of_a_client_that_does_not_pump(self):
        handles = self.send(200)
        self.worker()
        self.until_replies(200, 0)  # the broker has closed the channel
        self.all_succeed(handles)
        until("all acknowledged", lambda: self.p.poll() == 0 and
              broker.depth(self.replies) == (0, 0))


class Alarms(ClientTest):
    def check(self, alarm):
        waiting = self.send(50)
        self.worker()
        self.until_replies(0, 50)
        self.workers[0].stop()
        alarm(True)
        self.addCleanup(alarm, False)
        self.p.patience(0.3)
        taken = []
        while True:
            begun = time.monotonic()
            h = self.p.send(ECHO, len(taken))
            self.assertLess(time.monotonic() - begun, 2)
            if h.ready():
                break
            taken.append(h)
            self.p.poll(0.05)
        self.assertEqual(h.wait(0), producer.EBLOCKED, h.error())
        h.forget()
        self.all_succeed(waiting)  # what is there is read all the same
        alarm(False)
        self.worker()
        self.all_succeed(taken)
        self.p.patience(harness.GIVE_UP)
        self.all_succeed(self.send(1))
        until("all acknowledged", lambda: self.p.poll() == 0 and
              broker.depth(self.replies) == (0, 0))

    def test_memory(self):
        self.check(broker.memory_alarm)

    def test_disk(self):
        self.check(broker.disk_alarm)


class Connections(ClientTest):
    def test_the_same_process_gets_its_results_after_the_broker_was_killed_and_started(self):
        handles = self.send(200)
        self.worker()
        until("all replies, taken or not", lambda: sum(broker.depth(self.replies)) == 200)
        self.workers[0].stop()
        late = self.send(200)
        broker.kill()
        broker.start()
        self.worker()
        self.all_succeed(handles)
        self.all_succeed(late)

    def ports(self):
        return sorted(re.findall(r"peer_port,(\d+)", broker.evaluate(
            "[rabbit_networking:connection_info(C, [peer_port]) || "
            "C <- rabbit_networking:connections()]")))

    def test_a_broker_that_hangs_is_not_taken_for_gone_and_holds_no_send_up(self):
        ports = self.ports()
        self.p.patience(0.5)
        broker.pause()
        self.addCleanup(broker.resume)
        text = "x" * (3 << 20)
        large = [self.p.send(ECHO, text) for _ in range(4)]  # more than the kernels take
        handles = []
        end = time.monotonic() + 24  # a broker that is gone is found after 20 to 22
        while time.monotonic() < end:
            begun = time.monotonic()
            handles.append(self.p.send(ECHO, len(handles)))
            self.assertFalse(handles[-1].ready(), handles[-1].error())
            self.assertEqual(self.p.poll(0.2), 0)
            self.assertLess(time.monotonic() - begun, 2)
        broker.resume()
        self.assertEqual(self.p.flush(), 0)
        self.assertEqual(self.ports(), ports)
        self.worker()
        self.all_succeed(handles)
        for h in large:
            self.assertEqual(h.value(), text)

    def test_an_operator_who_closes_all_connections_each_second_loses_nothing(self):
        self.worker()
        self.p.patience(harness.GIVE_UP)
        handles = []
        for _ in range(10):
            end = time.monotonic() + 1
            handles += [self.p.send(ECHO, len(handles) + i) for i in range(300)]
            while time.monotonic() < end:
                self.p.poll(0.1)
            broker.close_connections()
        self.all_succeed(handles)
        self.assertEqual(len(handles), 3000)


PRODUCER = """
import sys
import producer
p = producer.Producer(*sys.argv[1:3])
handles = [p.send(sys.argv[3], i) for i in range(10)]
print(p.flush(), flush=True)
handles[0].wait(-1)
"""


class Gone(ClientTest):
    def test_a_producer_that_is_killed_leaves_a_reply_queue_that_expires_and_hurts_nobody(self):
        others = reply_queues()
        dying = subprocess.Popen(
            [sys.executable, "-c", PRODUCER, broker.url, self.queue, ECHO], text=True,
            stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=":".join(sys.path)))
        self.assertEqual(dying.stdout.readline().strip(), "0")
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        dying.stdout.close()
        theirs, = reply_queues() - others
        self.worker()
        until("its results", lambda: broker.depth(theirs) == (10, 0))
        self.assertIn("1800000", broker.evaluate(bench._queue(theirs) + ", amqqueue:get_arguments(Q)"))
        self.all_succeed(self.send(5))
        broker.delete_queue(theirs)

    def test_a_result_is_lost_with_its_queue_also_where_the_new_one_is_declared_late(self):
        others = reply_queues()
        with bench.FaultProxy(broker.url) as proxy:
            p = producer.Producer(proxy.url, self.queue)
            waits = p.send(ECHO, 1)
            self.assertEqual(p.flush(), 0)
            theirs, = reply_queues() - others
            proxy("accept no")
            proxy("reset")
            broker.delete_queue(theirs)
            proxy("hold queue.declare-ok 1 s2c")
            proxy("accept yes")
            until("it is held", lambda: p.poll(0.1) or proxy.count("s2c hold queue.declare-ok"))
            end = time.monotonic() + 4  # for longer than a client waits for its queue
            while time.monotonic() < end:
                p.poll(0.1)
            proxy("pass")
            self.assertNotEqual(waits.wait(20), 0)
            self.assertIn("the result may be lost", waits.error().text.decode())
            waits.forget()
            p.close()

    def test_handles_that_are_forgotten_at_once_cost_no_memory(self):
        """How many, from CTASK_FORGOTTEN: 1,000,000 is for a person with time."""
        self.worker()
        n = int(os.environ.get("CTASK_FORGOTTEN", 30000))
        self.p.patience(harness.GIVE_UP)

        def burst(count):
            for i in range(count):
                self.p.send(ECHO, i).forget()
            self.assertEqual(self.p.flush(), 0)
            until("all replies taken", lambda: self.p.poll() == 0 and
                  broker.depth(self.queue) == (0, 0) and broker.depth(self.replies) == (0, 0))
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * 4096

        before = burst(5000)
        self.assertLess(burst(n) - before, 2 << 20)

    def test_a_failure_that_is_tried_again_by_itself_ends_once(self):
        h = self.p.send("demo.flaky", 2)
        lost = self.p.send("demo.flaky", 9)
        self.worker()
        self.assertEqual(h.value(), 2)
        self.assertEqual(lost.wait(), producer.ETASK)
        self.assertEqual((lost.error().type, lost.error().text), (b"TimeoutError", b"failure 4"))
        h.forget()
        lost.forget()

    def test_a_second_start_is_told_to_the_caller(self):
        once = self.p.send(ECHO, 1)
        again = self.p.send("demo.sleep", 0.5)
        self.assertEqual(self.p.flush(), 0)
        self.worker()
        self.assertEqual(once.value(), 1)
        until("it runs", lambda: broker.depth(self.queue) == (0, 1))
        self.workers[0].signal(signal.SIGKILL)
        self.worker()
        self.assertEqual(again.value(), 0.5)
        self.assertEqual((once.redelivered(), again.redelivered()), (False, True))

    def test_a_task_that_expired_has_an_outcome(self):
        h = self.p.send(ECHO, 1, expires=0.05)
        self.assertEqual(self.p.flush(), 0)
        time.sleep(0.1)
        self.worker()
        self.assertEqual(h.wait(), producer.ETASK)
        self.assertEqual(h.error().type, b"TaskRevokedError")
        h.forget()


if __name__ == "__main__":
    harness.main()
