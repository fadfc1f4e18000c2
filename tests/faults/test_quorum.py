"""Quorum queues: declared as such when asked for, and crashes of a whole worker cost no neighbour its
run, although the broker counts a hand-out for each message that was prefetched with the culprit."""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, GIVE_UP, Bus, Worker, main, unique, until  # noqa: E402

NEIGHBOURS, CRASHES, LIMIT = 49, 30, 20
UNLIMITED = {"x-delivery-limit": "1000000000"}
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()
    # As RabbitMQ 4.0 has it by itself.
    broker.ctl("set_policy", "limit", r"^quorum\.\w+$", '{"delivery-limit": %d}' % LIMIT,
               "--apply-to", "queues")
    broker.ctl("set_policy", "--priority", "1", "low", r"^quorum\.low\.\w+$", '{"delivery-limit": 3}',
               "--apply-to", "queues")


def tearDownModule():
    broker.__exit__()


def arguments(queue):
    return broker.evaluate('{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, '
                           '<<"%s">>)), amqqueue:get_arguments(Q)' % queue)


class Quorum(unittest.TestCase):
    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique("quorum")

    def tearDown(self):
        self.bus.delete(self.queue)
        self.bus.delete(self.queue + ".dead")
        self.bus.close()

    def worker(self, *args, **kwargs):
        worker = Worker(*args, queue=self.queue, url=broker.url, **kwargs)
        self.addCleanup(worker.stop)
        return worker

    def test_a_worker_too_many_for_an_old_broker_is_told(self):
        """RabbitMQ before 4.0 may lose tasks of a quorum queue with over 32 consumers."""
        self.bus.channel.queue_declare(self.queue, durable=True, auto_delete=False,
                                       arguments={"x-queue-type": "quorum"})
        told = int(broker.ctl("version").split(".")[0]) < 4
        others = Bus(url=broker.url)
        self.addCleanup(others.close)
        for consumers, warned in (31, False), (32, told):
            while self.bus.channel.queue_declare(self.queue, passive=True)[2] < consumers:
                others.channel.basic_consume(self.queue, on_cancel=lambda tag: None)
            worker = self.worker("--queue-type", "quorum")
            worker.expect("ready")
            self.assertEqual("%d other consumers: RabbitMQ before 4.0" % consumers in worker.log(),
                             warned)
            worker.stop()

    @staticmethod
    def declared_as(queue):
        """Its x-queue-type, and its other arguments."""
        found = dict(re.findall(r'\{<<"(.*?)">>,\w+,(?:<<")?(.*?)(?:">>)?\}', arguments(queue)))
        return found.pop("x-queue-type", ""), found

    def test_a_missing_queue_is_declared_as_asked_for(self):
        plain = ["", "classic"]  # 4.0 notes its own choice
        for args, env, wanted in ((["--queue-type=quorum"], {}, ["quorum"]),
                                  (["--queue-type=classic"], {"CTASK_QUEUE_TYPE": "quorum"},
                                   ["classic"]),
                                  ([], {"CTASK_QUEUE_TYPE": "quorum"}, ["quorum"]),
                                  ([], {}, plain)):
            worker = self.worker(*args, env=env)
            for queue, more in (self.queue, {}), (self.queue + ".dead", UNLIMITED):
                kind, others = self.declared_as(queue)
                self.assertIn(kind, wanted)
                self.assertEqual(others, more if kind == "quorum" else {})
            self.assertEqual(worker.stop(), 0)
            self.bus.delete(self.queue)
            self.bus.delete(self.queue + ".dead")

    def test_so_are_reply_and_lease_queues(self):
        """A task that runs for longer than a lease has one queue of either kind."""
        worker = self.worker("-c", "1", "--lease=1", "--queue-type=quorum")
        waiting = subprocess.Popen([os.path.join(BIN, "ctask"), "call", "-Q", self.queue,
                                    "demo.stop"], stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, env=self.env(CTASK_QUEUE_TYPE="quorum"))
        worker.expect("has run for long: it is leased")
        names = re.findall(r'queue,<<"(ctask[.](?:reply|lease)[.].*?)">>',
                           broker.evaluate("rabbit_amqqueue:list_names()"))
        found = {name.split(".")[1]: self.declared_as(name) for name in names
                 if name != self.bus.reply_to}
        self.assertEqual({kind for kind, _ in found.values()}, {"quorum"})
        self.assertEqual(found["reply"][1], dict(UNLIMITED, **{"x-expires": "1800000"}))
        self.assertEqual(found["lease"][1]["x-dead-letter-strategy"], "at-least-once")
        child, = worker.children()
        os.kill(child, signal.SIGCONT)
        self.assertEqual((waiting.wait(GIVE_UP), worker.stop()), (0, 0))
        waiting.stdout.close()

    def test_a_lease_comes_home_from_a_quorum_queue(self):
        worker = self.worker("-c", "1", "-l", "trace", "--lease=1", "--queue-type=quorum")
        task = self.bus.send(self.queue, "demo.flagged", [6])  # it is killed long before
        worker.expect("its lease is renewed")
        self.kill(worker)
        worker = self.worker("-c", "1", "-l", "trace", "--lease=1", "--queue-type=quorum")
        self.assertIs(self.bus.result(task)["result"], True)
        self.assertEqual(worker.stop(), 0)

    def test_reading_the_dead_letters_does_not_use_them_up(self):
        worker = self.worker("--queue-type=quorum")
        dead = self.queue + ".dead"
        self.bus.result(self.bus.send(self.queue, "is_prime", ["no number"]))
        until("it is kept", lambda: self.bus.depth(dead) == 1)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.declared_as(dead), ("quorum", UNLIMITED))
        for _ in range(2 * LIMIT):
            message = until("it is there", lambda: self.bus.channel.basic_get(dead))
            self.bus.channel.basic_reject(message.delivery_tag, requeue=True)
        until("it is back", lambda: self.bus.depth(dead) == 1)

    @staticmethod
    def env(**more):
        return dict(os.environ, CTASK_BROKER_URL=broker.url, **more)

    def call(self, **env):
        return subprocess.run([os.path.join(BIN, "ctask"), "call", "--no-wait", "-Q", self.queue,
                               "is_prime", "97"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=self.env(**env))

    def test_whoever_comes_first_decides_and_the_other_uses_it(self):
        self.assertEqual(self.call(CTASK_QUEUE_TYPE="quorum").returncode, 0)
        self.assertEqual(self.declared_as(self.queue), ("quorum", {}))
        worker = self.worker("--queue-type=classic")
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.declared_as(self.queue), ("quorum", {}))
        wrong = self.call(CTASK_QUEUE_TYPE="stream")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn('CTASK_QUEUE_TYPE is classic or quorum, not "stream"', wrong.stderr)

    @staticmethod
    def kill(worker):
        worker.signal(signal.SIGKILL)
        worker.stop()

    def runs(self, tasks):
        """Waits for a result of each; whether it was flagged, for each of its runs."""
        found = collections.defaultdict(list)
        while set(found) != set(tasks):
            body = json.loads(self.bus.take(self.bus.reply_to).body)
            self.assertEqual(body["status"], "SUCCESS")
            found[body["task_id"]].append(body["result"])
        return found

    def left(self):
        """What is in the queue: id -> whether it is marked as started."""
        until("all are back", lambda: self.bus.depth(self.queue) > 0)
        messages = iter(lambda: self.bus.channel.basic_get(self.queue, no_ack=True), None)
        return {m.headers["id"]: m.headers.get("x-ctask-again", False) for m in messages}

    def test_thirty_crashes_cost_no_neighbour_its_run(self):
        """The worker dies as a whole with all it has prefetched, more often than the broker's limit
        of hand-outs allows."""
        args = ("--prefetch", str(NEIGHBOURS + 1), "--queue-type=quorum", "-l", "trace")
        worker = self.worker("-c", "1", *args)
        culprit = self.bus.send(self.queue, "demo.sleep", [600])
        worker.expect("id=%s ready -> running" % culprit)
        tasks = [self.bus.send(self.queue, "demo.flagged", []) for _ in range(NEIGHBOURS)]
        passed_on = 0
        for _ in range(CRASHES):
            worker.expect("new -> ready", NEIGHBOURS + 1)  # all are handed out
            worker.expect("id=%s ready -> running" % culprit)
            self.kill(worker)
            passed_on += len(re.findall("new -> settling", worker.log()))
            worker = self.worker("-c", "1", *args)
        self.kill(worker)
        worker = self.worker("-c", "8", *args)
        runs = self.runs(tasks)
        self.kill(worker)
        print("%d crashes, %d copies that started a new count" % (CRASHES, passed_on))
        # A kill between a copy's confirm and the ack of its original leaves both.
        left = self.left()
        self.assertIn(culprit, left)
        self.assertEqual({again for task, again in left.items() if task != culprit} - {True}, set())
        self.assertEqual(set(runs), set(tasks))
        self.assertEqual({flag for flags in runs.values() for flag in flags}, {True})
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)

    def test_two_hundred_large_bodies_are_all_kept(self):
        """Over --body-limit they pass through one file, one after the other. Those that wait for it
        stay with the worker: each hand-out counts against the broker's limit."""
        self.queue = unique("quorum.low")
        worker = self.worker("-c", "1", "--body-limit=100000", "--queue-type=quorum")
        body = "x" * 200000
        sent = [self.bus.send(self.queue, body=body) for _ in range(200)]
        small = self.bus.send(self.queue)
        self.assertIs(self.bus.result(small)["result"], True)
        self.assertEqual({r["result"]["exc_type"] for r in self.bus.results(*sent).values()},
                         {"MessageTooLarge"})
        kept = [self.bus.take(self.queue + ".dead") for _ in sent]
        self.assertEqual({len(m.body) for m in kept}, {len(body)})
        self.assertEqual({m.headers["id"] for m in kept}, set(sent))
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)


if __name__ == "__main__":
    main()
