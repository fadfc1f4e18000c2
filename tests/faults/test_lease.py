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

# A quarter of a lease is what a busy machine may be late before a copy goes home.
LEASE, TIMEOUT = 4, 12
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
        worker = Worker("-l", "trace", "--lease=%d" % lease, *args, queue=self.queue,
                        url=broker.url)
        self.workers.append(worker)
        return worker

    def tearDown(self):
        for worker in self.workers:
            worker.stop()
        self.assertEqual(leases(), set())
        for name in self.queue, self.queue + ".dead":
            try:  # what a quorum queue says of itself may be some seconds old
                until("nothing is left", lambda: broker.depth(name) == (0, 0))
            except AssertionError:
                self.fail(self.left_in(name))
        self.bus.delete(self.queue)
        self.bus.close()

    def left_in(self, queue):
        """What a test has left there, and how it came to that."""
        return "\n".join(["left in %s, %s:" % (queue, broker.depth(queue))] +
                         [str((m.headers, m.delivery_info)) for m in self.all_of(queue)] +
                         [worker.log() for worker in self.workers])

    def all_of(self, queue):
        """The messages that are in the queue now."""
        return list(iter(lambda: self.bus.channel.basic_get(queue, no_ack=True), None))

    def starts(self, task):
        return sum(len(re.findall("id=%s ready -> running" % task, worker.log()))
                   for worker in self.workers)

    def leased(self, worker, task):
        worker.expect("id=%s .* has run for long: it is leased" % task)

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
    @unittest.skipUnless(os.environ.get("CTASK_TEST_LONG"), "takes five minutes: CTASK_TEST_LONG=1")
    def test_a_job_of_five_minutes_under_a_consumer_timeout_of_one_starts_once(self):
        broker.consumer_timeout(60)
        self.addCleanup(broker.consumer_timeout, TIMEOUT)
        worker = self.worker("-c", "1", lease=20)
        since = time.monotonic()
        task = self.bus.send(self.queue, "demo.sleep", [300])
        worker.expect("is renewed", 1)
        while not self.bus.depth(self.bus.reply_to):
            self.assertLess(time.monotonic() - since, 300 + GIVE_UP)
            time.sleep(1)
        print("a result after %.1f s, %d start, %d renewals" % (
            time.monotonic() - since, self.starts(task),
            len(re.findall("is renewed", worker.log()))))
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 1)
        self.assertNotIn("closed", worker.log())

    def test_a_job_longer_than_consumer_timeout_starts_once(self):
        worker = self.worker("-c", "2")
        long = self.bus.send(self.queue, "demo.sleep", [TIMEOUT + LEASE])
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
        task = self.bus.send(self.queue, "demo.sleep", [4 * LEASE])
        worker.expect("its lease is renewed", 2)
        until("the one before is gone", lambda: len(leases()) == 1)
        worker.signal(signal.SIGKILL)
        killed = time.monotonic()
        worker.wait()
        message = self.copy_comes_home(killed)
        self.assertEqual(message.headers["id"], task)
        (left,) = leases()  # whoever gets the copy deletes it; else its x-expires does, after a week
        self.assertEqual(broker.depth(left), (0, 0))
        self.worker("-c", "1")
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertNotIn(left, leases())
        self.assertEqual(self.starts(task), 2)

    def test_a_connection_cut_while_leased_starts_nothing(self):
        broker.consumer_timeout(60)
        self.addCleanup(broker.consumer_timeout, TIMEOUT)
        worker = self.worker("-c", "1", lease=8)  # a connection is back within half of it
        task = self.bus.send(self.queue, "demo.sleep", [20])
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

    def test_an_alarm_after_the_copy_is_confirmed_holds_up_no_acknowledgement(self):
        broker.consumer_timeout(60)
        self.addCleanup(broker.consumer_timeout, TIMEOUT)
        worker = self.worker("-c", "1", lease=8)
        task = self.bus.send(self.queue, "demo.sleep", [14])
        self.addCleanup(broker.memory_alarm, False)
        until("it has a copy", lambda: [n for n in leases() if self.bus.depth(n) == 1])
        broker.memory_alarm(True)
        self.assertNotIn("it is leased", worker.log())
        self.leased(worker, task)
        broker.memory_alarm(False)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 1)

    def test_a_lease_that_went_home_is_not_taken_anew(self):
        """No copy can be renewed under an alarm. The other run answers for the task from then on: a
        crash of this one is nobody's concern."""
        first, second = self.worker("-c", "1"), self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [5 * LEASE])
        until("it starts", lambda: self.starts(task) == 1)
        if self.starts(task) == 1 and "ready -> running" in second.log():
            first, second = second, first
        first.expect("its lease is renewed")  # and is not about to be
        broker.memory_alarm(True)
        second.expect("id=%s ready -> running" % task)
        broker.memory_alarm(False)
        first.expect("id=%s .*: its lease has ended" % task)
        os.kill(first.children()[0], signal.SIGKILL)
        first.expect("child .* is gone")
        self.leased(second, task)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 2)
        until("no lease is left", lambda: not leases())
        self.assertEqual(self.bus.depth(self.bus.reply_to), 0)

    def test_what_waits_behind_a_long_job_is_not_held_against_the_broker(self):
        worker = self.worker("-c", "1", "--prefetch", "10")
        long = self.bus.send(self.queue, "demo.sleep", [TIMEOUT + LEASE])
        until("it starts", lambda: self.starts(long) == 1)
        short = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(9)]
        self.bus.results(long, *short)
        self.assertNotIn("closed", worker.log())
        self.assertEqual([self.starts(task) for task in [long] + short], [1] * 10)

    def test_a_crash_while_leased_goes_home_like_any_crash(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.flagged", [2 * LEASE])
        self.leased(worker, task)
        os.kill(worker.children()[0], signal.SIGKILL)
        worker.expect("id=%s .*it runs again" % task)
        self.assertIs(self.bus.result(task)["result"], True)
        self.assertEqual(self.starts(task), 2)
        until("no lease is left", lambda: not leases())

    def test_a_lease_whose_queue_does_not_answer_is_taken_anew(self):
        """As one on a node that is gone: until then the task was in no other place."""
        worker = self.worker("-c", "1", "--grace", "0")
        task = self.bus.send(self.queue, "demo.sleep", [600])
        self.leased(worker, task)
        until("there is one", lambda: len(leases()) == 1)
        (old,) = leases()
        broker.suspend_queue(old)
        worker.expect("is renewed", len(re.findall("is renewed", worker.log())) + 1)
        until("there is another one", lambda: leases() - {old})
        broker.resume_queue(old)
        self.assertEqual(worker.stop(), 0)
        until("the old one is gone", lambda: old not in leases())
        message = until("it is given back", lambda: self.bus.channel.basic_get(self.queue))
        self.assertEqual((message.headers["id"], message.headers["x-ctask-again"]), (task, True))
        self.bus.channel.queue_purge(self.queue)
        self.bus.channel.basic_ack(message.delivery_tag)

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
        task = self.bus.send(self.queue, "demo.sleep", [2 * LEASE])
        self.leased(worker, task)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(self.starts(task), 1)


class Safe(LeaseTest):
    """The copy is in no other place once the delivery is acknowledged."""

    def setUp(self):
        super().setUp()
        self.bus.delete(self.queue)
        self.bus.channel.queue_declare(self.queue, durable=True, auto_delete=False,
                                       arguments={"x-queue-type": "quorum"})

    def lose(self, worker, task):
        self.leased(worker, task)
        worker.signal(signal.SIGKILL)

    def restart(self):
        broker.start()
        broker.consumer_timeout(TIMEOUT)
        reply_to, self.bus = self.bus.reply_to, Bus(url=broker.url)
        self.bus.reply_to = reply_to

    def test_a_broker_that_is_killed_with_the_worker_takes_nothing_along(self):
        """Nor does one that comes back after the lease's time, when the home queue has no leader yet."""
        for away in 0, 8:
            broker.consumer_timeout(60)
            worker = self.worker("-c", "1", lease=8)
            task = self.bus.send(self.queue, "demo.sleep", [60])
            self.lose(worker, task)
            broker.kill()
            worker.wait()
            time.sleep(away)
            self.restart()
            message = self.bus.take(self.queue)
            if "x-ctask-again" not in message.headers:  # the broker died before the worker's ack came
                message = self.bus.take(self.queue)
            self.assertEqual((message.headers["id"], message.headers["x-ctask-again"]), (task, True))
            (left,) = leases()
            broker.delete_queue(left)
            # The delivery itself may come behind its copy, and at-least-once dead lettering repeats.
            self.assertLessEqual({m.headers["id"] for m in self.all_of(self.queue)}, {task})

    def test_a_task_whose_queue_is_deleted_meanwhile_is_kept(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [60])
        self.lose(worker, task)
        worker.wait()
        self.bus.channel.queue_delete(self.queue)
        self.assertEqual(self.bus.take("ctask.undelivered").headers["id"], task)
        (left,) = leases()
        broker.delete_queue(left)
        self.bus.declare(self.queue)


class Forged(LeaseTest):
    def test_a_header_that_anybody_can_write_deletes_no_queue(self):
        """A worker deletes the queue that a copy of its task came home from."""
        mine = "ctask.lease.payroll"
        self.bus.declare(mine)
        self.worker("-c", "1")
        task = self.bus.send(self.queue, headers={"x-first-death-queue": mine})
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.bus.result(self.bus.send(self.queue))  # its deletes go before the next result
        self.assertEqual(leases(), {mine})
        self.bus.delete(mine)


class Stale(LeaseTest):
    def test_a_late_settle_after_a_406_changes_nothing(self):
        """The channel is closed under a living connection, and the new one counts its deliveries
        from 1 again: the late ack of the first run must not settle the second."""
        broker.consumer_timeout(3)
        self.addCleanup(broker.consumer_timeout, TIMEOUT)
        worker = self.worker("-c", "2", lease=1000)
        task = self.bus.send(self.queue, "demo.sleep", [4.5])  # the second run outlives the look at it
        worker.expect("the broker closed the .*channel.*PRECONDITION_FAILED")
        worker.expect("id=%s ready -> running" % task, 2)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        # When this one is settled, what was settled before it has reached the broker, too.
        self.bus.result(self.bus.send(self.queue))
        until("it is settled", lambda: broker.depth(self.queue)[1] < 2)
        self.assertEqual(broker.depth(self.queue), (0, 1))
        worker.signal(signal.SIGKILL)
        worker.wait()
        self.assertEqual(len(re.findall("the broker closed", worker.log())), 1)
        self.assertNotIn("connection lost", worker.log())
        self.worker("-c", "1", lease=1)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")


if __name__ == "__main__":
    main()
