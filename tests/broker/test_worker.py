"""The worker against a real broker: runs, survives its children, leaves as it is told."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, BrokerTest, URL, Worker, alive, main, until, unique, url_for, url_parts  # noqa: E402


class Running(BrokerTest):
    def test_a_task_runs_and_its_result_comes_back(self):
        self.worker()
        result = self.bus.result(self.bus.send(self.queue, args=[112272535095293]))
        self.assertEqual(result["status"], "SUCCESS")
        self.assertIs(result["result"], True)
        self.assertGreater(result["runtime"], 0)

    def test_tasks_sent_before_any_worker_wait_for_one(self):
        self.bus.declare(self.queue)
        ids = [self.bus.send(self.queue, args=[n]) for n in range(100)]
        self.worker()
        self.assertEqual(len(self.bus.results(*ids)), 100)

    def test_keyword_arguments_arrive(self):
        self.worker()
        result = self.bus.result(self.bus.send(self.queue, args=[], kwargs={"n": 97}))
        self.assertIs(result["result"], True)

    def test_two_queues_are_both_consumed(self):
        other = unique()
        self.worker(queue=self.queue + "," + other)
        ids = [self.bus.send(q, args=[97]) for q in (self.queue, other)]
        self.assertEqual(len(self.bus.results(*ids)), 2)
        self.workers[0].stop()
        self.bus.delete(other)

    def test_an_eta_waits_in_the_worker_and_holds_nothing_up(self):
        self.worker("-c", "1")
        soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 6)) + "+00:00"
        later = [self.bus.send(self.queue, headers={"eta": soon}) for _ in range(50)]
        now = self.bus.send(self.queue)
        start = time.time()
        first = json.loads(self.bus.take(self.bus.reply_to).body)
        self.assertEqual(first["task_id"], now)
        self.assertEqual(len(self.bus.results(*later)), 50)
        self.assertGreater(time.time(), start + 1)

    def test_a_worker_holds_a_thousand_etas_and_not_all_of_them(self):
        self.queue += ".*"  # a name that the broker's delay queues cannot lead to
        self.bus.declare(self.queue)
        due = time.time() + 12
        eta = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(due)) + "+00:00"
        ids = [self.bus.send(self.queue, headers={"eta": eta}) for _ in range(1500)]
        self.worker("-c", "1")
        until("a thousand are held", lambda: self.bus.depth(self.queue) <= 500)
        self.assertGreater(self.bus.depth(self.queue), 400)
        self.assertLess(time.time(), due, "too slow a machine to see it")
        self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})

    def test_a_retry_runs_again_and_says_so(self):
        self.worker()
        task = self.bus.send(self.queue, "demo.retry", [2, 0.05])
        states = []
        while not states or states[-1]["status"] != "SUCCESS":
            states.append(json.loads(self.bus.take(self.bus.reply_to).body))
        self.assertEqual([s["status"] for s in states], ["RETRY", "RETRY", "SUCCESS"])
        self.assertEqual({s["task_id"] for s in states}, {task})

    def test_an_expired_task_is_revoked(self):
        self.worker()
        result = self.bus.result(
            self.bus.send(self.queue, headers={"expires": "2020-01-01T00:00:00+00:00"}))
        self.assertEqual(result["status"], "REVOKED")
        self.assertEqual(result["result"]["exc_type"], "TaskRevokedError")

    def test_a_task_sent_by_a_task_runs(self):
        worker = self.worker("-l", "trace")
        parent = self.bus.send(self.queue, "demo.send", [self.queue, "demo.add", 2, 3])
        self.assertEqual(self.bus.result(parent)["status"], "SUCCESS")
        worker.expect("ready -> running", 2)
        self.workers[0].stop()
        self.assertIn("succeeded 2", self.workers[0].log())


class Log(BrokerTest):
    RUN = r" \(attempt %d, \d+\.\d+ s\)$"

    def lines_of(self, worker, task):
        return [line for line in worker.log().splitlines() if task in line]

    def test_a_failure_is_one_line_that_says_all_and_a_success_is_none(self):
        worker = self.worker("-c", "1")
        fine = self.bus.send(self.queue, "demo.echo", ["x"])
        failed = self.bus.send(self.queue, "demo.fail", ["ValueError", "no\nway \x1b[2J" + "." * 9000])
        flaky = self.bus.send(self.queue, "demo.flaky", [1])
        self.bus.results(fine, failed, flaky)
        worker.stop()
        line, = self.lines_of(worker, failed)
        self.assertRegex(line, r"INFO .* task id=%s demo.fail failed: ValueError: "
                               r"no\\x0away \\x1b\[2J\.{200,500}" % failed + self.RUN % 1)
        line, = self.lines_of(worker, flaky)
        self.assertRegex(line, "INFO .* task id=%s demo.flaky failed and runs again: "
                               "TimeoutError: failure 1" % flaky + self.RUN % 1)
        self.assertEqual(self.lines_of(worker, fine), [])

    def test_at_debug_each_task_is_one_line(self):
        worker = self.worker("-c", "2", "-l", "debug")
        fine = [self.bus.send(self.queue, "demo.echo", ["x"]) for _ in range(20)]
        failed = self.bus.send(self.queue, "demo.fail", [])
        again = self.bus.send(self.queue, "demo.retry", [1])
        self.bus.results(failed, again, *fine)
        worker.stop()
        for task in fine:
            line, = self.lines_of(worker, task)
            self.assertRegex(line, "DEBUG .* task id=%s demo.echo succeeded" % task + self.RUN % 1)
        line, = self.lines_of(worker, failed)
        self.assertRegex(line, "INFO .* demo.fail failed: RuntimeError: as asked" + self.RUN % 1)
        first, second = self.lines_of(worker, again)
        self.assertRegex(first, "INFO .* demo.retry failed and runs again: ConnectionError: .*" +
                         self.RUN % 1)
        self.assertRegex(second, "DEBUG .* demo.retry succeeded" + self.RUN % 2)

    def test_a_warning_names_the_task(self):
        worker = self.worker("-c", "1", "--fail-unknown")
        crash = self.bus.send(self.queue, "demo.crash", ["segv"])
        refused = self.bus.send(self.queue, "demo.add", ["x"])
        unknown = self.bus.send(self.queue, "no.such." + 200 * "x")
        self.bus.results(crash, refused)
        worker.expect("task id=%s .* is kept in" % unknown)
        worker.stop()
        for task, name in (crash, "demo.crash"), (refused, "demo.add"), (unknown, "no.such.xxxx"):
            lines = self.lines_of(worker, task)
            self.assertTrue(lines)
            for line in lines:
                self.assertIn("task id=%s %s" % (task, name), line)
                self.assertLess(len(line), 1000)
        line, = self.lines_of(worker, refused)
        self.assertRegex(line, "WARN .* is kept in %s.dead: TypeError: .*" % self.queue + self.RUN % 1)
        by = r"(signal 11 \(.*\)|exit status 1)"  # the latter when ASan catches the signal
        worker.expect(r"WARN .* child pid=\d+ is gone: %s, running task id=%s demo.crash$"
                      % (by, crash))


class Children(BrokerTest):
    def test_a_crash_fails_its_own_task_only(self):
        worker = self.worker("-c", "2")
        before = set(worker.children())
        tasks = [self.bus.send(self.queue, "demo.sleep", [0.3]) for _ in range(3)]
        crash = self.bus.send(self.queue, "demo.crash", ["segv"])
        results = self.bus.results(crash, *tasks)
        self.assertEqual(results[crash]["result"]["exc_type"], "WorkerLostError")
        self.assertIn("SIGSEGV", results[crash]["result"]["exc_message"][0].upper() + "SIGSEGV")
        self.assertEqual({results[t]["status"] for t in tasks}, {"SUCCESS"})
        until("the child is replaced", lambda: len(worker.children()) == 2 and
              set(worker.children()) != before)
        self.assertEqual(self.bus.take(self.queue + ".dead").headers["x-ctask-dead-type"],
                         "WorkerLostError")

    def test_a_run_of_crashes_does_not_stop_the_worker(self):
        worker = self.worker("-c", "1")
        crashes = [self.bus.send(self.queue, "demo.crash", ["abort"]) for _ in range(25)]
        last = self.bus.send(self.queue)
        results = self.bus.results(last, *crashes)
        self.assertEqual(results[last]["result"], True)
        self.assertEqual({results[c]["result"]["exc_type"] for c in crashes}, {"WorkerLostError"})
        until("all kept", lambda: self.bus.depth(self.queue + ".dead") == 25)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("children lost 75", worker.log())

    def test_children_are_replaced_after_their_number_of_tasks(self):
        worker = self.worker("-c", "1", "--max-tasks-per-child", "10")
        first = worker.children()
        ids = [self.bus.send(self.queue, args=[n]) for n in range(45)]
        self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})
        until("another child", lambda: set(worker.children()) - set(first))
        self.assertEqual(worker.stop(), 0)
        self.assertIn("children lost 0", worker.log())

    def test_children_do_not_outlive_a_killed_parent(self):
        worker = self.worker("-c", "2")
        self.bus.send(self.queue, "demo.sleep", [60])
        until("a busy child", lambda: self.bus.depth(self.queue) == 0)
        children = worker.children()
        worker.signal(signal.SIGKILL)
        worker.wait()
        until("all gone", lambda: not any(map(alive, children)))

    def test_what_a_killed_worker_was_running_runs_elsewhere(self):
        first = self.worker("-c", "1")
        task = self.bus.send(self.queue, "demo.sleep", [1.0])
        until("taken", lambda: self.bus.depth(self.queue) == 0)
        second = self.worker("-c", "1")
        first.signal(signal.SIGKILL)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertEqual(second.stop(), 0)


class Fairness(BrokerTest):
    def test_a_long_task_does_not_keep_a_short_one_from_an_idle_worker(self):
        one = self.worker("-c", "1")
        warm = [self.bus.send(self.queue, "demo.sleep", [0]) for _ in range(200)]
        self.bus.results(*warm)  # the window is wide open now
        long = self.bus.send(self.queue, "demo.sleep", [8])
        short = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(20)]
        until("hoarded", lambda: self.bus.depth(self.queue) == 0)
        two = self.worker("-c", "1")
        start = time.monotonic()
        self.assertEqual(len(self.bus.results(*short)), 20)
        self.assertLess(time.monotonic() - start, 5, "the short ones waited for the long one")
        self.bus.result(long)
        one.stop()
        two.stop()
        self.assertIn("succeeded 20", two.log())


class Leaving(BrokerTest):
    def test_sigterm_finishes_what_runs_and_gives_back_the_rest(self):
        worker = self.worker("-c", "1", "--prefetch", "10", "-l", "trace")
        running = self.bus.send(self.queue, "demo.sleep", [1.0])
        rest = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(9)]
        worker.expect("ready -> running")
        until("all taken", lambda: self.bus.depth(self.queue) == 0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(self.bus.result(running)["status"], "SUCCESS")
        self.assertEqual(worker.wait(), 0)
        until("given back", lambda: self.bus.depth(self.queue) == 9)
        self.worker()
        self.assertEqual(len(self.bus.results(*rest)), 9)

    def test_the_third_signal_kills_and_gives_back(self):
        worker = self.worker("-c", "1", "-l", "trace")
        task = self.bus.send(self.queue, "demo.sleep", [3])
        worker.expect("ready -> running")
        for _ in range(3):
            worker.signal(signal.SIGINT)
            time.sleep(0.05)  # signals of one kind do not queue
        self.assertEqual(worker.wait(), 0)
        until("given back", lambda: self.bus.depth(self.queue) == 1)
        self.worker()
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")

    def test_grace_ends(self):
        worker = self.worker("-c", "1", "--grace", "0.2", "-l", "trace")
        self.bus.send(self.queue, "demo.sleep", [30])
        worker.expect("ready -> running")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        until("given back", lambda: self.bus.depth(self.queue) == 1)
        self.bus.channel.queue_purge(self.queue)


class Starting(BrokerTest):
    def run_worker(self, *args, url=URL):
        done = subprocess.run([os.path.join(BIN, "ctask-worker"), *args], capture_output=True,
                              text=True, env=dict(os.environ, CTASK_BROKER_URL=url), timeout=60)
        return done.returncode, done.stderr

    def assert_refused(self, status, words, *args, **kwargs):
        got, err = self.run_worker(*args, **kwargs)
        self.assertEqual(got, status, err)
        said = [line for line in err.splitlines() if "ctask-worker: " in line]
        self.assertEqual(len(said), 1, "one sentence, not: " + err)
        self.assertRegex(said[0], words)

    def test_wrong_starts_say_what_to_do(self):
        self.assert_refused(69, "refused", "-A", "primes", url="amqp://127.0.0.1:1")
        self.assert_refused(77, "password", "-A", "primes", url=url_for("guest", "no"))
        self.assert_refused(77, "virtual host", "-A", "primes", url=URL.rstrip("/") + "/nowhere")
        self.assert_refused(2, "-A", url=URL)
        self.assert_refused(2, "nosuchapp", "-A", "nosuchapp")
        self.assert_refused(2, "twice", "-A", "primes,primes")
        self.assert_refused(2, "number", "-A", "primes", "-c", "0")
        self.assert_refused(2, "grace", "-A", "primes", "--grace", "soon")
        self.assert_refused(2, "unrecognized option", "-A", "primes", "--no-such-option")
        self.assert_refused(2, "port|URL|url", "-A", "primes", "-b", "amqp://h:notaport/")

    def test_the_password_is_not_in_ps(self):
        worker = Worker("-b", URL, queue=self.queue)
        with open("/proc/%d/cmdline" % worker.pid) as f:
            self.assertNotIn(url_parts()[1] + "@", f.read())
        self.assertNotIn(":%s@" % url_parts()[1], worker.log())
        worker.stop()


if __name__ == "__main__":
    main()
