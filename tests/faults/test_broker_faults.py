"""A broker that restarts, dies, hangs, runs out of memory or loses a queue, under load: no task is
lost, and workers take up their work within seconds of its port opening.

One node of its own for the whole file (it takes six seconds to start); the load is churn, which
checks each result against its own arithmetic."""
import json
import os
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import BUILD, PrivateBroker  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import Bus, Worker, main, unique, until  # noqa: E402


def setUpModule():
    global broker
    broker = PrivateBroker()
    broker.start()


def tearDownModule():
    broker.__exit__()


class BrokerFault(unittest.TestCase):
    def setUp(self):
        self.queue = unique()
        self.workers = []
        bus = Bus(url=broker.url)
        bus.declare(self.queue)
        bus.close()

    def tearDown(self):
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.stop()

    def worker(self, *args, url=None):
        worker = Worker(*args, queue=self.queue, url=url or broker.url)
        self.workers.append(worker)
        return worker

    def load(self, tasks):
        load = subprocess.Popen(
            [os.path.join(BUILD, "tests/churn"), self.queue, str(tasks), "1"],
            env=dict(os.environ, CTASK_BROKER_URL=broker.url), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(load.stderr.close)
        self.addCleanup(load.stdout.close)
        self.addCleanup(load.kill)
        return load

    def assert_all_right(self, load, tasks):
        out, err = load.communicate(timeout=400)
        self.assertEqual(json.loads(out), {"right": tasks, "wrong": 0, "failed": 0}, err)
        until("the queue is empty", lambda: broker.depth(self.queue) == (0, 0))
        for worker in self.workers:
            self.assertEqual(worker.stop(), 0)

    def consuming_again(self, workers):
        """Waits until each has said so and the broker has its consumers; returns when."""
        for worker, times in workers:
            worker.expect("connected again", times)
        until("they consume", lambda: int(broker.evaluate(
            "length(rabbit_amqqueue:consumers_all(<<\"/\">>))")) >= len(workers))
        return time.monotonic()


class Away(BrokerFault):
    def test_stopped_and_killed_under_load_it_loses_nothing(self):
        """B1, B2. How soon they consume again is for the gauntlet to judge."""
        tasks = 60000
        workers = [self.worker("-c", "1") for _ in range(2)]
        load = self.load(tasks)
        for i, (name, end) in enumerate((("stopped", broker.stop), ("killed", broker.kill)), 1):
            until("it is under load", lambda: sum(broker.depth(self.queue)) > 0)
            end()
            for worker in workers:
                worker.expect("connection lost", i)
            starting = broker.start(wait=False)
            opened = broker.answers_at()
            broker.started(starting)
            usable = time.monotonic()
            consuming = self.consuming_again([(w, i) for w in workers])
            print("%s: logins %.2f s after its port opened, consuming after %.2f s" % (
                name, usable - opened, consuming - opened), file=sys.stderr)
        self.assert_all_right(load, tasks)

    def test_hung_it_is_left_and_found_again(self):
        """B3: stopped by a signal for longer than two heartbeats; its kernel still takes bytes."""
        tasks = 3000
        worker = self.worker("-c", "1", url=broker.url + "/?heartbeat=1")
        load = self.load(tasks)
        until("it is under load", lambda: sum(broker.depth(self.queue)) > 0)
        broker.pause()
        begun = time.monotonic()
        worker.expect("connection lost.*silent")
        worker.expect("connection for results lost.*silent")
        took = time.monotonic() - begun
        print("hung broker noticed after %.2f s" % took, file=sys.stderr)
        self.assertLess(took, 3 + 3)  # what is promised, and a busy machine
        broker.resume()
        self.assert_all_right(load, tasks)


class Alarm(BrokerFault):
    def test_acks_and_deliveries_go_on_while_it_takes_no_messages(self):
        """B9, B10: results wait, the connection that consumes is not blocked, and all resumes by
        itself."""
        worker = self.worker("-c", "2")
        bus = Bus(url=broker.url)
        for alarm in broker.memory_alarm, broker.disk_alarm:
            with_result = [bus.send(self.queue, "demo.add", [i, 1]) for i in range(50)]
            bus.results(*with_result)
            for _ in range(200):
                bus.send(self.queue, "demo.sleep", [0.005], reply_to=False)
            late = bus.send(self.queue, "demo.add", [20, 3])
            alarm(True)
            until("tasks without a result are done and settled",
                  lambda: sum(broker.depth(self.queue)) <= 1)
            alarm(False)
            self.assertEqual(bus.result(late)["result"], 23)
            until("all is settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(worker.stop(), 0)
        bus.close()


class Queue(BrokerFault):
    def test_deleted_under_its_consumers_it_is_declared_and_consumed_again(self):
        """B13."""
        worker = self.worker("-c", "1")
        bus = Bus(url=broker.url)
        for times in 1, 2, 3:
            broker.delete_queue(self.queue)
            # It may be about to open a further consumer, which the broker then refuses.
            worker.expect("was deleted|NOT_FOUND - no queue", times)
            until("it is consumed", self.consumers)
            self.assertEqual(bus.result(bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        self.assertEqual(worker.stop(), 0)
        bus.close()

    def consumers(self):
        try:
            return int(broker.evaluate(
                '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
                "length(rabbit_amqqueue:consumers(Q))" % self.queue))
        except RuntimeError:
            return 0

    def test_closed_connections_come_back(self):
        """B11."""
        tasks = 3000
        worker = self.worker("-c", "1")
        load = self.load(tasks)
        for times in 1, 2, 3:
            until("it is under load", lambda: sum(broker.depth(self.queue)) > 0)
            broker.close_connections()
            worker.expect("connection lost", times)
            worker.expect("connected again", times)
        self.assert_all_right(load, tasks)


if __name__ == "__main__":
    main()
