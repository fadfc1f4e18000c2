"""Faults of this machine's everyday life: connections that break, a broker in alarm, a consumer that is
cancelled. Nothing is lost, nothing hangs. (The full catalogue of faults comes in a later version.)"""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import CTL, Bus, BrokerTest, ctl, main, skip, stands, unique, until, url_for  # noqa: E402

import amqp  # noqa: E402

if not CTL:
    skip("needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")


class Faults(BrokerTest):
    def connections_of(self, worker):
        """The broker's pids of a worker's two connections; they are known by name."""
        def look():
            rows = ctl("-q", "list_connections", "pid", "client_properties").splitlines()
            return [r.split("\t")[0] for r in rows if '@' in r and "%d@" % worker.pid in r]
        return until("both connections", lambda: len(look()) == 2 and look())

    def cut(self, worker):
        for pid in self.connections_of(worker):
            ctl("close_connection", pid, "a test cuts it")

    def test_a_worker_whose_connections_are_cut_goes_on(self):
        worker = self.worker("-c", "2")
        ids = [self.bus.send(self.queue, "demo.sleep", [0.02]) for _ in range(300)]
        self.cut(worker)
        worker.expect("connected again")
        self.assertEqual({r["status"] for r in self.seen(ids).values()}, {"SUCCESS"})
        self.assertEqual(self.bus.result(self.bus.send(self.queue))["result"], True)

    def seen(self, ids):
        """Results by id; a second one of a task that was running at the cut is allowed."""
        found = {}
        while set(found) < set(ids):
            body = json.loads(self.bus.take(self.bus.reply_to).body)
            if body["task_id"] in ids:
                found[body["task_id"]] = body
        return found

    def test_a_task_that_runs_during_the_cut_ends_and_its_rerun_knows(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [1.5])
        until("taken", lambda: self.bus.depth(self.queue) == 0)
        self.cut(worker)
        self.assertEqual(self.seen([task])[task]["status"], "SUCCESS")
        worker.expect("connected again")

    def test_an_alarm_holds_results_up_and_loses_none(self):
        worker = self.worker("-c", "2")
        ids = [self.bus.send(self.queue, "demo.stop", []) for _ in range(2)]
        until("they run", lambda: all(map(stands, worker.children())))
        ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            for child in worker.children():
                os.kill(child, signal.SIGCONT)
            worker.expect("the broker takes no messages")
        finally:
            ctl("set_vm_memory_high_watermark", "0.6")
        self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})
        worker.expect("takes messages again")

    def test_a_deleted_queue_is_declared_and_consumed_again(self):
        worker = self.worker("-c", "1")
        self.bus.channel.queue_delete(self.queue)
        worker.expect("was deleted")
        until("it is back", lambda: self.exists(self.queue))
        self.assertEqual(self.bus.result(self.bus.send(self.queue))["result"], True)

    def exists(self, queue):
        channel = self.bus.connection.channel()
        try:
            return channel.queue_declare(queue, passive=True).consumer_count > 0
        except amqp.exceptions.NotFound:
            return False

    def test_a_message_that_the_broker_always_refuses_is_kept(self):
        bob = unique("bob")
        ctl("add_user", bob, "secret")
        try:
            ctl("set_permissions", bob, "^t[.]", ".*", ".*")  # may not declare "forbidden"
            self.worker("-c", "1", url=url_for(bob, "secret"))
            task = self.bus.send(self.queue, "demo.send", ["forbidden", "demo.add", 2, 3])
            self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
            kept = self.bus.take(self.queue + ".dead")
            self.assertEqual(kept.headers["x-ctask-dead-type"], "DeliveryError")
            self.assertEqual(kept.headers["task"], "demo.add")
            until("it is settled", self.settled)
            self.assertEqual(self.workers[0].stop(), 0)
            self.assertEqual(self.bus.depth(self.queue), 0)
        finally:
            ctl("delete_user", bob)

    def test_a_retry_that_the_broker_always_refuses_fails(self):
        """Nothing comes after it, so its caller would wait for ever."""
        worker = self.worker("-c", "1", "-l", "trace")
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)
        task = self.bus.send(self.queue, "demo.retry", [1])
        worker.expect("id=%s ready -> running" % task)
        worker.signal(signal.SIGSTOP)  # or it gives the task to another child meanwhile
        ctl("set_policy", self.queue, "^%s$" % self.queue,
            '{"max-length": 0, "overflow": "reject-publish"}')
        try:
            os.kill(child, signal.SIGCONT)
            worker.signal(signal.SIGCONT)
            result = self.bus.result(task)
            self.assertEqual(result["result"]["exc_type"], "DeliveryError")
            kept = self.bus.take(self.queue + ".dead")
            self.assertEqual(kept.headers["x-ctask-dead-type"], "DeliveryError")
            self.assertEqual(kept.headers["id"], task)
            self.assertEqual(worker.stop(), 0)
            self.assertEqual(self.bus.depth(self.queue), 0)
        finally:
            ctl("clear_policy", self.queue)

    POISON = "amq.rabbitmq.reply-to.x.y"  # the broker closes a connection that publishes to it, with 541

    def assert_others_are_answered(self, worker):
        """While the poison is about, and afterwards without another lost connection."""
        self.answered(worker, 100)
        until("all is settled", lambda: self.settled())
        lost = self.lost(worker)
        self.answered(worker, 20)
        self.assertEqual(self.lost(worker), lost)
        return lost

    def answered(self, worker, n):
        waited = {self.bus.send(self.queue) for _ in range(n)}
        while waited:  # those of before may come again
            body = json.loads(self.bus.take(self.bus.reply_to).body)
            waited.discard(body["task_id"])
            self.assertLess(self.lost(worker), 20)

    @staticmethod
    def lost(worker):
        return worker.log().count("connection for results lost")

    def settled(self):
        rows = ctl("-q", "list_queues", "name", "messages").splitlines()
        return "%s\t0" % self.queue in rows

    def test_a_reply_address_that_closes_the_connection_is_not_answered(self):
        worker = self.worker("-c", "2")
        self.bus.send(self.queue, reply_to=self.POISON)
        self.assertEqual(self.assert_others_are_answered(worker), 0)

    def test_a_result_that_closes_the_connection_harms_no_other(self):
        worker = self.worker("-c", "2", "--reply-pattern=amq.rabbitmq.*")
        task = self.bus.send(self.queue, reply_to=self.POISON)
        self.assertGreaterEqual(self.assert_others_are_answered(worker), 3)
        kept = self.bus.take(self.queue + ".dead")
        self.assertEqual(kept.headers["x-ctask-dead-type"], "DeliveryError")
        self.assertIn("541", kept.headers["x-ctask-dead-reason"])
        self.assertEqual(kept.properties["correlation_id"], task)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("results nobody asked for 0, to no reply address 0, refused 1, dropped 0", worker.log())

    def test_a_queue_name_that_closes_the_connection_harms_no_other(self):
        """A task sends to it: the look at that queue alone ends the connection."""
        worker = self.worker("-c", "2")
        self.bus.send(self.queue, "demo.send", [self.POISON, "demo.add", 2, 3])
        self.assertGreaterEqual(self.assert_others_are_answered(worker), 3)
        kept = self.bus.take(self.queue + ".dead")
        self.assertEqual(kept.headers["x-ctask-dead-type"], "DeliveryError")
        self.assertEqual(kept.headers["task"], "demo.add")

    def test_several_of_them_do_not_add_up(self):
        """Each costs three connections."""
        worker = self.worker("-c", "2")
        for i in range(4):
            self.bus.send(self.queue, "demo.send", [self.POISON + str(i), "demo.add", 2, 3])
        longest = 0
        while not self.settled():
            sent = time.monotonic()
            self.answered(worker, 1)
            longest = max(longest, time.monotonic() - sent)
        self.assertGreaterEqual(self.lost(worker), 12)
        self.assertLess(longest, 6)

    def test_strangers_on_the_queue_are_warned_of(self):
        self.bus.declare(self.queue)
        stranger = Bus()
        stranger.channel.basic_consume(self.queue, callback=lambda m: None)
        self.worker(wait=False).expect("no %s.dead.* Unless somebody has deleted it, they are not "
                                       "ctask workers" % self.queue)
        stranger.close()

    def test_a_stopped_child_does_not_stop_the_others(self):
        worker = self.worker("-c", "2")
        victim = worker.children()[0]
        os.kill(victim, signal.SIGSTOP)
        ids = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(20)]
        found = {self.next_id() for _ in range(19)}
        os.kill(victim, signal.SIGCONT)
        found.add(self.next_id())
        self.assertEqual(found, set(ids))

    def next_id(self):
        return json.loads(self.bus.take(self.bus.reply_to).body)["task_id"]


if __name__ == "__main__":
    main()
