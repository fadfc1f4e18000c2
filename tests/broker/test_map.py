"""Maps whose items travel together: what their caller sees when one of them misbehaves."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, BrokerTest, URL, main, until  # noqa: E402

APP = "demo," + os.path.join(BIN, "../tests/apps/maps.so")


class Map(BrokerTest):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def map(self, task, lines, *options):
        """Status, the lines of the output, those of stderr."""
        done = subprocess.run(
            [os.path.join(BIN, "ctask"), "map", "-q", "-Q", self.queue, *options, task],
            input="".join(line + "\n" for line in lines), capture_output=True, text=True,
            env=dict(os.environ, CTASK_BROKER_URL=URL), timeout=100)
        return done.returncode, done.stdout.splitlines(), sorted(done.stderr.splitlines())

    def received(self, worker):
        """How many messages it got; it is gone then."""
        worker.stop()
        return int(worker.expect(r"received \d+").split("received ")[1].split(",")[0])

    def test_results_come_in_order_and_few_messages_are_sent(self):
        worker = self.worker("-c", "2")
        numbers = [str(n) for n in range(5000)]
        self.assertEqual(self.map("demo.echo", numbers, "--chunk=500"), (0, numbers, []))
        self.assertLess(self.received(worker), 5000)  # 10, but on a busy machine

    def test_auto_puts_together_what_is_quick(self):
        worker = self.worker("-c", "2")
        numbers = [str(n) for n in range(30000)]
        self.assertEqual(self.map("demo.echo", numbers), (0, numbers, []))
        self.assertLess(self.received(worker), 30000)

    def test_as_completed_each_line_comes_once(self):
        self.worker("-c", "2")
        status, out, err = self.map("demo.echo", [str(n) for n in range(1000)], "--chunk=70",
                                    "--as-completed")
        self.assertEqual((status, err), (0, []))
        self.assertEqual(sorted(int(line.split("\t")[0]) for line in out), list(range(1, 1001)))

    def test_failures_are_the_items_own(self):
        self.worker("-c", "1")
        status, out, err = self.map("demo.add", ["[1, 2]", "[9223372036854775807, 1]", "[3, 4]"],
                                    "--chunk=3")
        self.assertEqual((status, out), (1, ["3", "", "7"]))
        self.assertEqual(len(err), 1)
        self.assertIn("line 2: OverflowError", err[0])

    def test_items_that_failed_are_one_line_in_the_log(self):
        worker = self.worker("-c", "1")
        lines = ["[1, 2]", "[9223372036854775807, 1]", "[9223372036854775807, 2]"]
        self.map("demo.add", lines, "--chunk=3")
        worker.expect(r"INFO .* task id=\S+ demo.add failed in part: OverflowError: 2 of 3 items, "
                      r"the first \S+:1: .*\(attempt 1, \d+\.\d+ s\)$")
        worker.stop()
        self.assertEqual(worker.log().count("OverflowError"), 1)

    def test_arguments_that_do_not_fit_are_kept_one_by_one(self):
        self.worker("-c", "1")
        status, out, err = self.map("demo.add", ["[1, 2]", "[1]", "[3, 4]"], "--chunk=3")
        self.assertEqual((status, out), (1, ["3", "", "7"]))
        self.assertIn("line 2: TypeError", err[0])
        dead = self.bus.take(self.queue + ".dead")
        self.assertEqual(dead.headers["task"], "demo.add")
        self.assertTrue(dead.body.startswith("[[1],{},"), dead.body)
        self.assertRegex(dead.headers["id"], r"^[0-9a-f-]{36}:1$")

    def test_retries_are_the_items_own(self):
        self.worker("-c", "2")
        self.assertEqual(self.map("demo.retry", ["0", "2", "[1, 0.2]", "0"], "--chunk=4"),
                         (0, ["0", "2", "1", "0"], []))
        self.assertEqual(self.map("demo.flaky", ["0", "2", "1", "0"], "--chunk=4"),
                         (0, ["0", "2", "1", "0"], []))

    def test_only_the_one_that_crashes_fails(self):
        worker = self.worker("-c", "2")
        status, out, err = self.map("demo.crash", ['"a"', '"segv"', '"b"'] * 4, "--chunk=12")
        self.assertEqual((status, out), (1, [""] * 12))
        for i in range(12):
            self.assertIn("WorkerLostError" if i % 3 == 1 else "ValueError",
                          next(line for line in err if "line %d:" % (i + 1) in line))
        worker.expect("is kept in", times=4)
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 4)

    def test_a_large_one_is_taken_apart_in_parts(self):
        """Not in one step that floods the queue: a call that comes meanwhile is answered first."""
        n, worker = 3000, self.worker("-c", "2", "-l", "trace")
        whole = self.bus.send(self.queue, "celery.starmap", [],
                              {"task": {"task": "demo.echo"}, "it": [[i] for i in range(n)]},
                              headers={"x-ctask-map": "demo.echo", "x-ctask-attempt": 1,
                                       "x-ctask-crashes": 1})
        worker.expect(r"id=%s:\S+ ready -> running" % whole)
        others = {self.bus.send(self.queue) for _ in range(5)}
        items = {}
        while others or len(items) < n:
            body = json.loads(self.bus.take(self.bus.reply_to).body)
            if body["task_id"] in others:
                others.remove(body["task_id"])
                self.assertLess(len(items), n // 2)
            else:
                items[body["task_id"]] = body["result"]
        self.assertEqual(items, {"%s:%d" % (whole, i): i for i in range(n)})

    def test_those_that_had_run_run_again_and_know_it(self):
        self.worker("-c", "1", app=APP)
        status, out, err = self.map("maps.fragile", ["false", "true", "false"], "--chunk=3")
        self.assertEqual((status, out), (1, ["true", "", "true"]))
        self.assertEqual(len(err), 1)

    def test_only_the_one_that_is_too_slow_fails(self):
        self.worker("-c", "2")
        status, out, err = self.map("demo.brief", ["0.01", "5", "0.02"], "--chunk=3")
        self.assertEqual((status, out), (1, ["0.01", "", "0.02"]))
        self.assertIn("line 2: TimeLimitExceeded", err[0])

    def test_long_ones_are_spread_also_if_they_travel_together(self):
        worker = self.worker("-c", "4", "-l", "trace")
        self.assertEqual(self.map("demo.sleep", ["0.15"] * 12, "--chunk=12"),
                         (0, ["0.15"] * 12, []))
        worker.expect(r"task id=\S+:1 demo.sleep succeeded")  # alone
        worker.expect(r"task id=\S+:11 demo.sleep succeeded")

    def test_without_results_all_is_done_too(self):
        worker = self.worker("-c", "1")
        status, out, _ = self.map("demo.send", ['["%s.sink", "x", %d]' % (self.queue, n)
                                                for n in range(20)], "--chunk=7", "--no-wait")
        self.assertEqual(status, 0)
        self.assertEqual(len(set(out)), 20)
        for _ in range(20):
            self.bus.take(self.queue + ".sink")
        worker.stop()
        self.bus.channel.queue_delete(self.queue + ".sink")

    def test_items_of_an_unknown_task_fail_each(self):
        self.worker("-c", "1", "--fail-unknown")
        status, out, err = self.map("demo.nothing", ["1", "2"], "--chunk=2")
        self.assertEqual((status, out), (1, ["", ""]))
        self.assertEqual(len(err), 2)
        self.assertIn("NotRegistered: no worker of queue %s knows task demo.nothing" % self.queue, err[0])
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 1)

    def send_items(self, task, items):
        """As a producer of ours does."""
        return self.bus.send(self.queue, "celery.starmap", [], {"task": {"task": task}, "it": items},
                             headers={"x-ctask-map": task})

    def test_a_worker_that_is_lost_leaves_them_to_another(self):
        path = os.path.join(self.directory, "begun")
        first = self.worker("-c", "1", app=APP)
        task_id = self.send_items("maps.second", [[path], [path]])
        until("the first item runs", lambda: os.path.exists(path))
        first.process.kill()
        first.wait()
        self.worker("-c", "1", app=APP)
        result = self.bus.result(task_id)
        self.assertEqual(result["result"], [task_id + ":0", task_id + ":1"])
        self.assertTrue(result["redelivered"])

    def test_nothing_is_lost_and_nothing_told_twice_when_processes_are_killed(self):
        numbers = [str(n) for n in range(60000)]
        worker = self.worker("-c", "2", app=APP)
        call = subprocess.Popen(
            [os.path.join(BIN, "ctask"), "map", "-q", "-Q", self.queue, "--chunk=20", "maps.same"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, CTASK_BROKER_URL=URL))
        feeder = threading.Thread(target=lambda: (call.stdin.write("\n".join(numbers) + "\n"),
                                                  call.stdin.close()))
        feeder.start()
        out = []
        for line in call.stdout:
            out.append(line.rstrip("\n"))
            if len(out) in (5000, 10000, 15000, 20000):
                for pid in worker.children()[:1]:
                    os.kill(pid, signal.SIGKILL)
            if len(out) == 30000:
                worker.process.kill()
                worker.wait()
                worker = self.worker("-c", "2", app=APP)
        feeder.join()
        call.stdout.close()
        self.assertEqual(call.wait(), 0)
        self.assertEqual(out, numbers)

    def test_a_reply_lists_values_and_what_is_special(self):
        self.worker("-c", "1")
        result = self.bus.result(self.send_items("demo.add", [[1, 2], [2**63 - 1, 1], [3, 4]]))
        self.assertEqual((result["status"], result["result"]), ("SUCCESS", [3, None, 7]))
        failed, = [note for note in result["items"] if "status" in note]
        self.assertEqual((failed["item"], failed["status"], failed["result"]["exc_type"]),
                         (1, "FAILURE", "OverflowError"))

    def test_a_worker_that_leaves_sends_on_what_has_not_begun(self):
        path = os.path.join(self.directory, "begun")
        first = self.worker("-c", "1", app=APP)
        task_id = self.send_items("maps.patient", [[path], [""], [""]])
        until("the first item runs", lambda: os.path.exists(path))
        first.signal(signal.SIGTERM)
        first.expect("leaving")
        first.signal(signal.SIGTERM)
        first.wait()
        self.worker("-c", "1", app=APP)
        self.assertEqual(self.bus.result(task_id)["result"], ["asked"])
        self.assertEqual(self.bus.result(task_id + ":1+2")["result"], ["done", "done"])


if __name__ == "__main__":
    main()
