"""The worker when what it stands on fails: connections that go at the worst moment, children that
die in numbers, signals meant for others, a broker that stops taking messages. It loses nothing, it
sleeps when it has nothing to do, and what it holds has a ceiling."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, CTL, URL, BrokerTest, ctl, main, skip, until, unique, url_for, url_parts  # noqa: E402

if not CTL:
    skip("needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")

# Where the heartbeat does not wake the worker, what it forgets to do it never does.
QUIET = URL.rstrip("/") + "/?heartbeat=0"
TOLD = 60000  # reports of a task: twice what may be under way


class Proxy:
    """Between a worker and the broker: cuts, refuses, or withholds what the broker says."""

    def __init__(self):
        self.broker = url_parts()[2:]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        user, password, _, _ = url_parts()
        self.url = url_for(user, password, self.port)
        self.pairs, self.frozen, self.closed = [], False, False
        self.refused, self.accepted = 0, []  # how many, and when
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            if self.closed:
                self.refused += 1
                client.close()
                continue
            self.accepted.append(time.monotonic())
            pair = (client, socket.create_connection(self.broker))
            self.pairs.append(pair)
            threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, client, broker):
        try:
            while True:
                ends = [client] if self.frozen else [client, broker]
                for end in select.select(ends, [], [], 0.01)[0]:
                    data = end.recv(65536)
                    if not data:
                        raise OSError
                    (broker if end is client else client).sendall(data)
        except (OSError, ValueError):
            client.close()
            broker.close()

    def cut(self, closed=False):
        self.closed = closed
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []


def cpu(worker):
    with open("/proc/%d/stat" % worker.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rest(BrokerTest):
    def assert_sleeps(self, worker):
        before = cpu(worker)
        time.sleep(1.5)
        self.assertLess(cpu(worker) - before, 0.5, "it spins:\n" + worker.log())

    def test_it_sleeps_while_the_broker_is_gone_and_long_tasks_run(self):
        proxy = Proxy()
        worker = self.worker("-c", "2", "-l", "trace", url=proxy.url)
        for _ in range(2):
            self.bus.send(self.queue, "demo.sleep", [20])
        worker.expect("ready -> running", 2)
        time.sleep(1.2)  # now they are long
        proxy.cut(closed=True)
        worker.expect("connection lost")
        self.assert_sleeps(worker)
        worker.signal(signal.SIGQUIT)
        worker.wait()

    def test_it_sleeps_while_results_wait_for_a_broker_that_is_gone(self):
        proxy = Proxy()
        worker = self.worker("-c", "1", url=proxy.url)
        self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [0.001]) for _ in range(300)])
        proxy.frozen = True
        for _ in range(60):
            self.bus.send(self.queue, "demo.sleep", [0.05])
        time.sleep(0.3)
        proxy.frozen = False
        until("some are done", lambda: self.bus.depth(self.bus.reply_to) > 3)
        proxy.cut(closed=True)
        worker.expect("connection lost")
        self.assert_sleeps(worker)
        worker.signal(signal.SIGQUIT)
        worker.wait()

    def test_the_windows_of_many_queues_come_to_rest(self):
        queues = [self.queue] + [unique() for _ in range(5)]
        worker = self.worker("-c", "1", queue=",".join(queues))

        def consumers():
            rows = ctl("-q", "list_consumers", "queue_name", "consumer_tag").splitlines()
            return sorted(row for row in rows if row.split("\t")[0] in queues)
        for seconds in 0, 6:  # at the start, and when tasks are known to be long
            self.bus.result(self.bus.send(self.queue, "demo.sleep", [seconds]))
            until("they rest", lambda: len(consumers()) == 6 and consumers() == consumers())
        self.assertEqual(worker.stop(), 0)
        self.bus.delete(*queues[1:])


class Return(BrokerTest):
    def test_what_one_connection_finds_the_other_knows(self):
        """After some refusals each waits for seconds, by chance; results must not wait longer than
        deliveries."""
        proxy = Proxy()
        worker = self.worker("-c", "1", url=proxy.url)
        proxy.cut(closed=True)
        until("both wait", lambda: proxy.refused >= 6)
        del proxy.accepted[:]
        proxy.closed = False
        until("both are back", lambda: len(proxy.accepted) == 2)
        first, second = proxy.accepted
        self.assertLess(second - first, 1.0)
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)


class Death(BrokerTest):
    def test_a_crash_is_told_at_once(self):
        worker = self.worker("-c", "1", url=QUIET)
        crash = self.bus.send(self.queue, "demo.crash", ["abort"])
        start = time.monotonic()
        self.assertEqual(self.bus.result(crash)["result"]["exc_type"], "WorkerLostError")
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(worker.stop(), 0)

    def test_tasks_that_crash_together_do_not_take_the_worker_with_them(self):
        self.bus.declare(self.queue)
        crashes = [self.bus.send(self.queue, "demo.crash", ["abort"]) for _ in range(24)]
        worker = self.worker("-c", "12")
        found = self.bus.results(*crashes)
        self.assertEqual({r["result"]["exc_type"] for r in found.values()}, {"WorkerLostError"})
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)

    def test_what_a_lost_connection_brought_is_not_failed_for_its_child(self):
        """The broker has handed it out again: that run decides."""
        proxy = Proxy()
        worker = self.worker("-c", "1", "-l", "trace", url=proxy.url)
        task = self.bus.send(self.queue, "demo.sleep", [4])
        worker.expect("ready -> running")
        child = worker.children()[0]
        proxy.cut()
        worker.expect("connected again")
        os.kill(child, signal.SIGKILL)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)

    def begun_twice(self, *args):
        """A task that its child reads only when its connection is lost and it is here again."""
        proxy = Proxy()
        worker = self.worker("-c", "1", "-l", "trace", url=proxy.url)
        child, = worker.children()
        os.kill(child, signal.SIGSTOP)
        task = self.bus.send(self.queue, *args)
        worker.expect("id=%s .* -> running" % task)
        proxy.cut()
        worker.expect("id=%s new ->" % task, 2)
        os.kill(child, signal.SIGCONT)
        return worker, task

    def test_what_a_lost_connection_brought_is_not_retried(self):
        """It is in the queue again, and a copy beside it would be a second task."""
        worker, task = self.begun_twice("demo.retry", [1])
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        worker.expect("id=%s running -> settling" % task, 3)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(worker.log().count("id=%s ready -> running" % task), 3)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_what_a_lost_connection_brought_is_not_passed_on(self):
        worker, task = self.begun_twice("nobody.knows")
        goes_round = "id=%s settling -> (moving|waiting)" % task  # waiting: for the delay queues
        worker.expect(goes_round)
        self.assertEqual(worker.stop(), 0)
        until("it is in its queue again", lambda: self.bus.depth(self.queue) == 1)
        self.assertEqual(len(re.findall(goes_round, worker.log())), 1)

    def test_messages_of_a_task_that_is_forgotten_end_nowhere(self):
        """Several are unconfirmed when its connection is lost, and then its child dies."""
        proxy = Proxy()
        worker = self.worker("-c", "1", url=proxy.url)
        task = self.bus.send(self.queue, "demo.progress", [400, 0.005])
        until("it has begun", lambda: self.bus.depth(self.bus.reply_to) > 0)
        proxy.frozen = True
        seen = self.bus.depth(self.bus.reply_to)
        until("some unconfirmed", lambda: self.bus.depth(self.bus.reply_to) > seen + 10)
        proxy.cut()
        worker.expect("connection lost")
        os.kill(worker.children()[0], signal.SIGKILL)
        worker.expect("child .* is gone: signal 9")
        proxy.frozen = False
        worker.expect("connected again")
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(worker.stop(), 0)


class Signals(BrokerTest):
    def test_a_storm_of_signals_does_not_hold_up_tasks(self):
        worker = self.worker("-c", "2", "-l", "error", wait=False)
        self.bus.result(self.bus.send(self.queue_declared()))
        storm = [subprocess.Popen([sys.executable, "-c",
                                   "import os\nwhile True: os.kill(%d, 10)" % worker.pid],
                                  stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            ids = [self.bus.send(self.queue) for _ in range(20)]
            start = time.monotonic()
            self.bus.results(*ids)
            self.assertLess(time.monotonic() - start, 20)
        finally:
            for process in storm:
                process.kill()
                process.wait()
        self.assertEqual(worker.stop(), 0)

    def queue_declared(self):
        self.bus.declare(self.queue)
        return self.queue

    def start(self, prepare, *args):
        process = subprocess.Popen(
            [os.path.join(BIN, "ctask-worker"), "-A", "primes,demo", "-Q", self.queue, *args],
            env=dict(os.environ, CTASK_BROKER_URL=URL), stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=prepare, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertIs(self.bus.result(self.bus.send(self.queue_declared()))["result"], True)
        return process

    def test_sigchld_ignored_by_who_started_it_costs_no_child(self):
        process = self.start(lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN), "-c", "1")
        crash = self.bus.send(self.queue, "demo.crash", ["abort"])
        self.assertEqual(self.bus.result(crash)["result"]["exc_type"], "WorkerLostError")
        process.terminate()
        self.assertEqual(process.wait(60), 0)

    def test_nohup_is_obeyed(self):
        process = self.start(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), "-c", "1")
        process.send_signal(signal.SIGHUP)
        self.assertEqual(self.bus.result(self.bus.send(self.queue, "demo.sleep", [0.2]))["status"],
                         "SUCCESS")
        self.assertIsNone(process.poll())
        process.terminate()
        self.assertEqual(process.wait(60), 0)

    def test_a_closed_terminal_or_a_stopped_service_lets_tasks_finish(self):
        for number in signal.SIGHUP, signal.SIGTERM, signal.SIGINT:
            process = self.start(None, "-c", "1")
            idle = self.ticks(process)
            task = self.bus.send(self.queue, "demo.spin", [1.0])
            until("it computes", lambda: self.ticks(process) > idle)
            os.killpg(process.pid, number)
            status = json.loads(self.bus.take(self.bus.reply_to).body)
            self.assertEqual((status["task_id"], status["status"]), (task, "SUCCESS"), number)
            self.assertEqual(process.wait(60), 0)

    @staticmethod
    def ticks(process):
        """What its child has computed."""
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
            child = f.read().split()[0]
        with open("/proc/%s/stat" % child) as f:
            return int(f.read().rsplit(")", 1)[1].split()[11])

    def test_closed_standard_descriptors_do_no_harm(self):
        process = self.start(lambda: [os.close(fd) for fd in (0, 1, 2)], "-c", "2", "-l", "trace")
        crash = self.bus.send(self.queue, "demo.crash", ["abort"])
        ids = [self.bus.send(self.queue) for _ in range(50)]
        self.bus.results(crash, *ids)
        process.terminate()
        self.assertEqual(process.wait(60), 0)


class Leaving(BrokerTest):
    def test_an_unknown_task_does_not_keep_it(self):
        """The confirm of its RETRY comes after SIGTERM: it goes back now, and no round is counted."""
        proxy = Proxy()
        worker = self.worker("-c", "1", "-l", "trace", url=proxy.url)
        self.bus.send(self.queue, "demo.sleep", [3])
        worker.expect("ready -> running")  # or the child would see to the other one first
        self.bus.send(self.queue, "nobody.knows")
        worker.expect("does not run: NotRegistered")
        proxy.frozen = True
        until("both are told", lambda: self.bus.depth(self.bus.reply_to) == 2)
        worker.signal(signal.SIGTERM)
        worker.expect("leaving:")
        start = time.monotonic()
        proxy.frozen = False
        self.assertEqual(worker.wait(), 0)
        self.assertLess(time.monotonic() - start, 10)
        self.assertNotIn("x-ctask-unknown", self.bus.take(self.queue).headers)


class Ceiling(BrokerTest):
    def test_a_task_that_sends_without_end_waits_for_the_broker(self):
        proxy = Proxy()
        worker = self.worker("-c", "1", url=proxy.url)
        task = self.bus.send(self.queue, "demo.progress", [TOLD, 0])
        until("it has begun", lambda: self.bus.depth(self.bus.reply_to) > 0)
        proxy.frozen = True
        child = worker.children()[0]

        def waits():
            before = self.voluntary(child)
            time.sleep(0.5)
            return self.voluntary(child) == before
        until("the task waits", waits)
        self.assertLess(self.bus.depth(self.bus.reply_to), TOLD / 2)
        proxy.frozen = False
        until("the rest", lambda: self.bus.depth(self.bus.reply_to) > TOLD - 10)
        worker.stop()
        self.bus.channel.queue_purge(self.bus.reply_to)
        self.assertIn("succeeded 1", worker.log())
        del task

    @staticmethod
    def voluntary(pid):
        """How much CPU it had."""
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[11:13]


if __name__ == "__main__":
    main()
