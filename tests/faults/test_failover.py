"""Several URLs: two brokers that share nothing, one of them over TLS, end alternately. Workers and
producers go to the one that lives, at once, and back in time; a worker's results go where its tasks came
from."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, GIVE_UP, Bus, Worker, main, skip, unique, until  # noqa: E402

from bench import Clock, PrivateBroker  # noqa: E402

if not shutil.which("openssl"):
    skip("needs the program openssl (Debian: openssl)")

HOME = 905  # seconds after which a process that has moved has tried to go back
CERTS = tempfile.mkdtemp(prefix="ctask-tls-")


def setUpModule():
    global a, b, over_tls
    subprocess.run(["sh", os.path.join(HERE, "../support/certs.sh"), CERTS], check=True)
    a, b = PrivateBroker(), PrivateBroker()
    a.env["CTASK_BROKER_TLS"] = CERTS
    # No `with`: both start at the same time.
    starting = a.start(wait=False), b.start(wait=False)
    a.started(starting[0])
    b.started(starting[1])
    over_tls = a._dev("tls-url").strip() + "/?cafile=" + os.path.join(CERTS, "ca.pem")


def tearDownModule():
    for broker in a, b:
        broker.__exit__()
    shutil.rmtree(CERTS)


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gate:
    """A way to a broker with a gatekeeper: lets in so many connections, and cuts any one of them."""

    def __init__(self, port):
        self.port, self.open, self.pairs = port, True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "amqp://guest:guest@127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            if not self.open:
                client.close()
                continue
            broker = socket.create_connection(("127.0.0.1", self.port))
            self.pairs.append((client, broker))
            for ends in (client, broker), (broker, client):
                threading.Thread(target=self._relay, args=ends, daemon=True).start()

    @staticmethod
    def _relay(source, sink):
        try:
            data = source.recv(65536)
            while data:
                sink.sendall(data)
                data = source.recv(65536)
        except OSError:
            pass
        Gate.cut((source, sink))

    @staticmethod
    def cut(pair):
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def ctask(url, *args, **kwargs):
    return subprocess.run([os.path.join(BIN, "ctask"), "-b", url] + list(args), text=True,
                          capture_output=True, timeout=GIVE_UP, **kwargs)


class Failover(unittest.TestCase):
    def setUp(self):
        self.queue = unique()

    def start_worker(self, url, *args, **kwargs):
        worker = Worker(*args, queue=self.queue, url=url, **kwargs)
        self.addCleanup(worker.stop)
        return worker

    def test_results_go_where_the_tasks_come_from(self):
        """Only `in` loses the first broker; `out` is still well connected to it."""
        gate = Gate(a.port)
        worker = self.start_worker(gate.url + ";" + b.url, "-c", "1")
        self.assertEqual(len(gate.pairs), 2)
        gate.open = False
        gate.cut(gate.pairs[0])  # `out` follows, so it is the second
        worker.expect("connected again")
        bus = Bus(url=b.url)
        self.addCleanup(bus.close)
        ids = [bus.send(self.queue, "is_prime", [97]) for _ in range(20)]
        self.assertEqual({r["result"] for r in bus.results(*ids).values()}, {True})
        self.assertRegex(worker.log(), "connection for results lost: tasks come from 127.0.0.1:%d"
                         % b.port)
        self.assertRegex(worker.log(), "(?m)broker +amqp://.*\n +or +amqp://")
        gate.listener.close()

    def test_the_next_url_is_tried_at_once(self):
        dead = "amqp://guest:guest@127.0.0.1:%d;" % closed_port()
        self.start_worker(dead * 7 + b.url)
        begun = time.monotonic()
        done = ctask(dead * 7 + b.url, "call", "-Q", self.queue, "is_prime", "97")
        self.assertEqual(done.stdout, "true\n", done.stderr)
        self.assertLess(time.monotonic() - begun, 3)

    def test_refusals_name_each(self):
        ports = closed_port(), closed_port()
        wrong = re.sub("guest:guest", "guest:5ecret", b.url)
        for urls, status, words in (
                (["amqp://localhost:%d" % port for port in ports], 69,
                 "cannot reach localhost:%d: .*; cannot reach localhost:%d" % ports),
                ([wrong, "amqp://localhost:%d" % ports[0]], 69,
                 'refused user "guest".*; cannot reach localhost:%d' % ports[0]),
                ([wrong, wrong + "/"], 77, 'refused user "guest".*; .*refused user "guest"'),
                ([b.url, "localhost"], 2, "number 2: the broker URL does not begin"),
                ([b.url] * 9, 2, "more than 8 broker URLs")):
            worker = subprocess.run(
                [os.path.join(BIN, "ctask-worker"), "-A", "primes", "-l", "error", "-b",
                 ";".join(urls)], text=True, capture_output=True, timeout=GIVE_UP)
            for done in worker, ctask(";".join(urls), "call", "is_prime", "97"):
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertRegex(done.stderr, words)
                self.assertNotIn("5ecret", done.stderr)

    def test_plain_words_at_the_tls_port(self):
        port = re.search(r":(\d+)/", over_tls).group(1)
        done = ctask("amqp://guest:guest@127.0.0.1:" + port, "call", "is_prime", "97")
        self.assertEqual(done.returncode, 69)
        self.assertRegex(done.stderr, "TLS is spoken there: use amqps://")

    def test_a_producer_leaves_a_node_that_stands_still(self):
        """The kernel there still takes bytes and connections, and no confirm is awaited."""
        at_a = "amqp://guest:guest@127.0.0.1:%d" % a.port
        worker = self.start_worker(at_a, "-c", "1", "-l", "trace")
        producer = subprocess.Popen([os.path.join(BIN, "ctask"), "-b", at_a + ";" + b.url, "call",
                                     "--timeout", "600", "-Q", self.queue, "demo.sleep", "600"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(producer.wait)
        self.addCleanup(producer.kill)
        worker.expect("ready -> running")
        until("all is confirmed", lambda: a.evaluate(
            "lists:sum([N || C <- rabbit_channel:list(), {_, N} <- rabbit_channel:info(C, "
            "[messages_unconfirmed])])") == "0")
        # The seconds that the broker has agreed to; without heartbeats 0.
        self.assertEqual(a.evaluate(
            "[{T} || C <- rabbit_networking:connections(), [{timeout, T}, {client_properties, P}] <- "
            "[rabbit_networking:connection_info(C, [timeout, client_properties])], "
            'string:find(io_lib:format("~0tp", [P]), "%d") =/= nomatch]' % producer.pid), "[{10}]")
        a.pause()
        self.addCleanup(a.resume)
        since = time.monotonic()
        said = producer.communicate(timeout=GIVE_UP)[1]  # b shares nothing with a
        self.assertIn("the reply queue was deleted, so the result may be lost", said)
        print("after %.0f s" % (time.monotonic() - since))
        worker.signal(signal.SIGQUIT)

    def away(self, start):
        """Whoever `start` starts, with the URLs of both brokers and a clock of its own, is at b when this
        returns, and a is there again. No heartbeats: a clock that leaps would miss some."""
        clock = Clock()
        self.addCleanup(clock.__exit__)
        started = start(";".join("%s/?heartbeat=0" % broker.url for broker in (a, b)), clock.env)
        a.kill()
        return clock, started

    def test_a_worker_goes_back_with_tasks_under_way(self):
        """None of them starts twice, none is lost, and the worker is never without a broker."""
        clock, worker = self.away(lambda urls, env: self.start_worker(
            urls, "-c", "2", "-l", "trace", "--lease=7200", env=env))
        worker.expect("connected again")
        bus, over = Bus(url=b.url), threading.Event()
        self.addCleanup(bus.close)
        sent = []

        def feed():
            while not over.is_set():
                sent.extend(bus.send(self.queue, "demo.sleep", [0.02]) for _ in range(3))
                over.wait(0.05)

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            a.start()
            clock.move(HOME, worker.pid)
            worker.expect("INFO .*back to the broker at 127.0.0.1:%d, the first of the URLs" % a.port)
            worker.expect("connected again", 2)
        finally:
            over.set()
            feeder.join()
        left = []
        while bus.depth(self.queue):
            left.append(bus.take(self.queue))
        self.assertEqual([m.delivery_info["redelivered"] for m in left], [False] * len(left))
        ran = set(sent) - {m.properties["correlation_id"] for m in left}
        results = bus.results(*ran)
        self.assertEqual({r["status"] for r in results.values()}, {"SUCCESS"})
        starts = re.findall(r"id=(\S+) ready -> running", worker.log())
        self.assertEqual(sorted(starts), sorted(ran))
        self.assertEqual(len(re.findall("WARN .*connection lost", worker.log())), 1)
        at_a = Bus(url=a.url)
        self.addCleanup(at_a.close)
        self.assertEqual(at_a.result(at_a.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        until("it has left the other", lambda: b.connections() == 1)  # the bus
        self.assertEqual(worker.stop(), 0)

    def test_a_worker_with_a_long_task_goes_back_when_it_has_none(self):
        """Until then its other child has work."""
        clock, worker = self.away(lambda urls, env: self.start_worker(
            urls, "-c", "2", "-l", "trace", "--lease=7200", env=env))
        worker.expect("connected again")
        a.start()
        bus = Bus(url=b.url)
        self.addCleanup(bus.close)
        task = bus.send(self.queue, "demo.sleep", [10])
        worker.expect("ready -> running")
        clock.move(HOME, worker.pid)
        for _ in range(3):
            bus.result(bus.send(self.queue, "demo.sleep", [1]))
        self.assertEqual(bus.result(task)["status"], "SUCCESS")
        worker.expect("back to the broker")
        log = worker.log()
        self.assertLess(log.index("id=%s running -> settling" % task), log.index("back to the broker"))
        self.assertEqual(len(re.findall("ready -> running", log)), 4)
        self.assertEqual(worker.stop(), 0)

    def test_a_worker_that_holds_a_task_for_later_works_on_while_it_tries(self):
        self.queue += ".#"  # which the broker's delay queues cannot reach, so the worker holds it
        clock, worker = self.away(lambda urls, env: self.start_worker(
            urls, "-c", "2", "-l", "trace", "--lease=7200", env=env))
        worker.expect("connected again")
        a.start()
        bus = Bus(url=b.url)
        self.addCleanup(bus.close)
        bus.send(self.queue, headers={"eta": time.strftime("%Y-%m-%dT%H:%M:%S+00:00",
                                                           time.gmtime(time.time() + 86400))})
        worker.expect("new -> waiting")
        clock.move(HOME, worker.pid)
        until("it tries", a.connections)
        self.assertEqual(bus.result(bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        self.assertEqual(a.connections(), 1)
        self.assertNotIn("back to the broker", worker.log())
        bus.delete(self.queue)

    def test_a_producer_goes_back_between_two_tasks(self):
        self.start_worker(b.url, "-c", "1")
        others = b.connections()
        clock, producer = self.away(lambda urls, env: subprocess.Popen(
            [os.path.join(BIN, "ctask"), "-b", urls, "map", "-q", "-Q", self.queue, "is_prime"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ, **env)))
        self.addCleanup(producer.kill)

        def ask(n):
            producer.stdin.write("%d\n" % n)
            producer.stdin.flush()
            return producer.stdout.readline()

        self.assertEqual(ask(97), "true\n")
        a.start()
        self.start_worker(a.url, "-c", "1")
        at_a = a.connections()
        clock.move(HOME)
        until("it is back", lambda: ask(4) == "false\n" and a.connections() > at_a
              and b.connections() == others)
        self.assertEqual(ask(97), "true\n")
        producer.stdin.close()
        self.assertEqual(producer.wait(GIVE_UP), 0)
        producer.stdout.close()

    def test_they_end_alternately(self):
        """The last one: it leaves only one of them."""
        urls = "%s;%s" % (over_tls, b.url)
        worker = self.start_worker(urls, "-c", "2")
        producer = subprocess.Popen([os.path.join(BIN, "ctask"), "-b", urls, "map", "-q", "-Q",
                                     self.queue, "is_prime"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)

        def ask(n):
            producer.stdin.write("%d\n" % n)
            producer.stdin.flush()
            return producer.stdout.readline()

        self.assertEqual([ask(n) for n in (2, 4, 97)], ["true\n", "false\n", "true\n"])
        a.kill()
        worker.expect("connected again")
        self.assertEqual([ask(n) for n in (2, 4, 97)], ["true\n", "false\n", "true\n"])
        self.assertEqual(b.connections(), 3)  # in, out and the producer
        a.start()
        b.kill()
        worker.expect("connected again", times=2)
        self.assertEqual([ask(n) for n in (2, 4, 97)], ["true\n", "false\n", "true\n"])
        self.assertEqual(a.connections(), 3)
        producer.stdin.close()
        self.assertEqual((producer.wait(GIVE_UP), producer.stdout.read()), (0, ""))
        producer.stdout.close()


if __name__ == "__main__":
    main()
