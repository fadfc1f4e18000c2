"""Celery both ways: Python producers with C workers, C producers with Python workers."""
import os
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from harness import (BIN, BrokerTest, URL, Worker, ctl, main, skip, unique, until,  # noqa: E402
                     url_parts)

try:
    import celery
    import kombu
except ImportError:
    skip("needs Celery (Debian: python3-celery)")
os.environ["CTASK_TEST_BROKER"] = URL
import pyapp  # noqa: E402

CELERY_MAJOR_MINOR = tuple(int(x) for x in celery.__version__.split(".")[:2])


@unittest.skipIf(CELERY_MAJOR_MINOR < (5, 5), "Celery delays in the broker from 5.5 on")
class NativeDelay(unittest.TestCase):
    """A Python producer with quorum queues, whose countdowns wait in the broker. It declares no
    delay queue itself: it relies on a worker, which is ours."""

    def setUp(self):
        self.host = unique("vhost")
        ctl("add_vhost", self.host)
        ctl("set_permissions", "-p", self.host, url_parts()[0], ".*", ".*", ".*")
        self.url = "%s/%s" % (URL, self.host)
        self.queue = unique()
        self.app = celery.Celery("native", broker=self.url, backend="rpc://")
        topic = kombu.Exchange(self.queue, type="topic")
        queue = kombu.Queue(self.queue, topic, routing_key=self.queue,
                            queue_arguments={"x-queue-type": "quorum"})
        self.app.conf.task_queues = [queue]
        with self.app.connection() as connection:
            queue.bind(connection.default_channel).declare()
        self.worker = Worker(queue=self.queue, url=self.url)

    def tearDown(self):
        self.worker.stop()
        self.app.close()
        ctl("delete_vhost", self.host)

    def test_the_first_countdown_arrives_with_c_workers_alone(self):
        until("our worker has declared all", lambda: "ctask.due\texchange\t%s\tqueue" % self.queue in
              ctl("list_bindings", "-q", "-p", self.host, "--no-table-headers", "source_name",
                  "source_kind", "destination_name", "destination_kind"))
        later = self.app.send_task("is_prime", [97], queue=self.queue, countdown=4)
        self.assertIs(later.get(timeout=60), True)


class PythonProducer(BrokerTest):
    """app.send_task and .delay, executed by ctask-worker."""

    def setUp(self):
        super().setUp()
        self.worker("-c", "2")

    def send(self, name, *args, **kwargs):
        return pyapp.app.send_task(name, args, kwargs, queue=self.queue)

    def test_a_result(self):
        self.assertIs(self.send("is_prime", 112272535095293).get(timeout=30), True)
        self.assertEqual(self.send("demo.add", 2, 3).get(timeout=30), 5)

    def test_delay(self):
        pyapp.is_prime.queue = self.queue
        self.assertIs(pyapp.is_prime.delay(91).get(timeout=30), False)

    def test_keyword_arguments(self):
        self.assertIs(self.send("is_prime", n=97).get(timeout=30), True)

    def test_a_failure_with_its_type_and_message(self):
        result = self.send("demo.fail", "ValueError", "no luck")
        with self.assertRaisesRegex(ValueError, "no luck"):
            result.get(timeout=30)
        self.assertEqual(result.state, "FAILURE")

    def test_wrong_arguments_are_a_type_error(self):
        with self.assertRaises(TypeError):
            self.send("is_prime", "ninety-seven").get(timeout=30)

    def test_a_retry(self):
        self.assertIsNotNone(self.send("demo.retry", 2, 0.05))
        result = self.send("demo.retry", 2, 0.05)
        result.get(timeout=30)
        self.assertEqual(result.state, "SUCCESS")

    def test_a_countdown_and_an_expiry_as_python_writes_them(self):
        later = pyapp.app.send_task("is_prime", [97], queue=self.queue, countdown=0.5, expires=600)
        self.assertIs(later.get(timeout=30), True)

    def test_a_hundred_at_once(self):
        results = [self.send("is_prime", n) for n in range(100)]
        primes = [n for n, r in enumerate(results) if r.get(timeout=30)]
        self.assertEqual(primes[:10], [2, 3, 5, 7, 11, 13, 17, 19, 23, 29])

    def test_starmap_map_and_chunks(self):
        starmap = pyapp.c_add.starmap([(1, 2), (3, 4)]).apply_async(queue=self.queue)
        self.assertEqual(starmap.get(timeout=30), [3, 7])
        one_each = pyapp.is_prime.map([96, 97]).apply_async(queue=self.queue)
        self.assertEqual(one_each.get(timeout=30), [False, True])
        chunks = pyapp.c_add.chunks(zip(range(10), range(10)), 4).apply_async(queue=self.queue)
        self.assertEqual(chunks.get(timeout=30), [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]])

    def test_the_first_failure_of_a_starmap_is_its_own(self):
        result = pyapp.c_fail.starmap([("ValueError", "one"), ("OSError", "two")]).apply_async(
            queue=self.queue)
        with self.assertRaisesRegex(ValueError, "one"):
            result.get(timeout=30)

    def test_a_chain_is_kept_not_cut(self):
        add = pyapp.app.signature("demo.add", queue=self.queue)
        result = (add.clone((1, 2)) | add.clone((4,))).apply_async()
        with self.assertRaises(NotImplementedError):
            result.get(timeout=30)
        with self.assertRaises(NotImplementedError):
            result.parent.get(timeout=30)
        self.assertEqual(self.bus.take(self.queue + ".dead").headers["x-ctask-dead-type"],
                         "NotImplementedError")


class PythonWorker(BrokerTest):
    """task_delay and `ctask call`, executed by a Celery worker."""

    @classmethod
    def setUpClass(cls):
        cls.python_queue = unique("py")
        cls.celery = subprocess.Popen(
            ["/usr/bin/python3", "-m", "celery", "-A", "pyapp", "worker", "-Q", cls.python_queue,
             "-c", "1", "-l", "INFO", "--without-gossip", "--without-mingle"],
            cwd=HERE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            env=dict(os.environ, PYAPP_QUEUE=cls.python_queue, C_FORCE_ROOT="1", PYTHONDONTWRITEBYTECODE="1"))
        for line in cls.celery.stderr:
            if "ready" in line:
                break
        cls.drain = __import__("threading").Thread(target=cls.celery.stderr.read, daemon=True)
        cls.drain.start()

    @classmethod
    def tearDownClass(cls):
        cls.celery.send_signal(signal.SIGTERM)
        cls.celery.wait(30)
        cls.drain.join()
        cls.celery.stderr.close()

    def call(self, *args):
        done = subprocess.run([os.path.join(BIN, "ctask"), "call", "-Q", self.python_queue,
                               "--timeout", "30", *args], capture_output=True, text=True,
                              env=dict(os.environ, CTASK_BROKER_URL=URL), timeout=60)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def test_a_result(self):
        self.assertEqual(self.call("py.add", "2", "3"), (0, "5", ""))

    def test_keyword_arguments(self):
        self.assertEqual(self.call("py.add", "2", "-k", "b=40"), (0, "42", ""))

    def test_values_of_all_kinds(self):
        status, out, err = self.call("py.echo", "1", "-2.5", "true", "null", "word", "[1,[2]]",
                                     '{"a":"\u00e4"}')
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(__import__("json").loads(out),
                         [[1, -2.5, True, None, "word", [1, [2]], {"a": "\u00e4"}], {}])

    def test_a_failure_with_its_type_and_message(self):
        status, out, err = self.call("py.fail", "no luck")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("ValueError", err)
        self.assertIn("no luck", err)

    def test_a_retry(self):
        self.assertEqual(self.call("py.retry", "2"), (0, "2", ""))

    def test_a_name_that_python_does_not_know(self):
        status, out, err = self.call("py.nothing")
        self.assertEqual(status, 1)
        self.assertIn("NotRegistered", err)

    def map(self, task, lines, *options):
        done = subprocess.run([os.path.join(BIN, "ctask"), "map", "-q", "-Q", self.python_queue,
                               "--timeout", "30", *options, task], capture_output=True, text=True,
                              input="".join(line + "\n" for line in lines),
                              env=dict(os.environ, CTASK_BROKER_URL=URL), timeout=60)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    def test_a_map_with_chunks(self):
        lines = ["[%d, 1]" % n for n in range(10)]
        for chunk in ("1", "4", "auto"):
            self.assertEqual(self.map("py.add", lines, "--chunk=" + chunk),
                             (0, [str(n + 1) for n in range(10)], []))

    def test_the_failure_of_a_chunk_is_that_of_its_items(self):
        status, out, err = self.map("py.add", ["[1, 2]", '[1, "x"]', "[3, 4]", "[5, 6]"],
                                    "--chunk=3")
        self.assertEqual((status, out), (1, ["", "", "", "11"]))
        self.assertEqual(["TypeError" in line for line in err], [True] * 3)

    def test_the_python_worker_survived_it_all(self):
        self.assertIsNone(self.celery.poll())


if __name__ == "__main__":
    main()
