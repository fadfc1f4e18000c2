"""What a running job may use up: time, memory, what the kernel limits. A time limit ends a job once,
whatever its child does at that moment, and what was finished in time counts."""
import os
import re
import resource
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, BrokerTest, main, until  # noqa: E402
from poison import BUILD  # noqa: E402


MESS = os.path.join(BUILD, "tests/apps/mess.so")
SANITIZED = os.environ.get("CTASK_SANITIZED")


def exceptions(results):
    return {task_id: body["result"]["exc_type"] for task_id, body in results.items()
            if body["status"] == "FAILURE"}


class TimeLimits(BrokerTest):
    def limited(self, hard, soft, task="demo.sleep", args=(60,)):
        return self.bus.send(self.queue, task, args, headers={"timelimit": [hard, soft]})

    def test_a_task_over_its_hard_limit_is_killed_and_kept(self):
        worker = self.worker("-c", "2")
        doomed = self.limited(0.2, None)
        beside = self.bus.send(self.queue, "demo.sleep", [0.5])
        results = self.bus.results(doomed, beside)
        failure = results[doomed]["result"]
        self.assertEqual(failure["exc_type"], "TimeLimitExceeded")
        self.assertEqual(failure["exc_module"], "billiard.exceptions")
        self.assertIn("0.2 s", failure["exc_message"][0])
        self.assertEqual(results[beside]["status"], "SUCCESS")
        dead = self.bus.take(self.queue + ".dead")
        self.assertEqual(dead.headers["id"], doomed)
        self.assertEqual(dead.headers["x-ctask-dead-type"], "TimeLimitExceeded")
        after = self.bus.send(self.queue, "demo.add", [1, 2])
        self.assertEqual(self.bus.result(after)["result"], 3)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_the_message_goes_before_the_table_and_the_table_before_the_worker(self):
        self.worker("-c", "3", "--time-limit", "0.3")
        sent = {
            "worker": self.bus.send(self.queue, "demo.sleep", [60]),
            "table": self.bus.send(self.queue, "demo.brief", [60]),
            "message": self.limited(0.4, None, "demo.brief"),
            "longer": self.limited(60, None, "demo.sleep", [0.5]),
            "null": self.limited(None, None, "demo.brief", [60]),
        }
        results = self.bus.results(*sent.values())
        self.assertEqual(results[sent["longer"]]["status"], "SUCCESS")
        for name, limit in (("worker", "0.3 s"), ("table", "0.2 s"), ("message", "0.4 s"),
                            ("null", "0.2 s")):
            self.assertIn(limit, results[sent[name]]["result"]["exc_message"][0], name)

    def test_a_limit_that_says_nothing_sensible_is_refused(self):
        self.worker()
        sent = [self.bus.send(self.queue, headers={"timelimit": odd})
                for odd in ([], [1], [1, 2, 3], [-1, None], ["5", None], "5", [None, [1]])]
        self.assertEqual(list(exceptions(self.bus.results(*sent)).values()),
                         ["InvalidTaskError"] * len(sent))

    def test_a_stopped_child_is_killed_at_its_limit(self):
        worker = self.worker("-c", "1")
        result = self.bus.result(self.limited(0.5, 0.1, "demo.stop", ()))
        self.assertEqual(result["result"]["exc_type"], "TimeLimitExceeded")
        after = self.bus.send(self.queue, "demo.add", [1, 2])
        self.assertEqual(self.bus.result(after)["result"], 3)
        self.assertEqual(worker.stop(), 0)

    def test_a_task_over_its_soft_limit_is_asked_once_and_its_child_replaced(self):
        worker = self.worker("-c", "1")
        first = worker.children()
        result = self.bus.result(self.limited(None, 0.2, "demo.obey"))
        self.assertEqual(result["result"]["exc_type"], "SoftTimeLimitExceeded")
        worker.expect(r"task id=\S+ demo.obey runs for over 0.2 s, its soft time limit")
        # The next task of the same worker is not asked: it meets another process.
        after = self.bus.send(self.queue, "demo.obey", [0.3])
        self.assertEqual(self.bus.result(after)["status"], "SUCCESS")
        self.assertNotEqual(worker.children(), first)
        # One that does not listen runs on.
        deaf = self.limited(None, 0.1, "demo.sleep", [0.5])
        self.assertEqual(self.bus.result(deaf)["status"], "SUCCESS")
        self.assertEqual(worker.log().count("its soft time limit"), 2)

    def test_limits_hold_while_the_worker_leaves(self):
        worker = self.worker("-c", "1", "-l", "trace")
        doomed = self.limited(1, None)
        worker.expect("ready -> running")
        worker.signal(signal.SIGTERM)
        self.assertEqual(self.bus.result(doomed)["result"]["exc_type"], "TimeLimitExceeded")
        self.assertEqual(worker.wait(), 0)

    def test_limit_and_completion_race_to_exactly_one_end(self):
        """The tasks take as long as they may. Each ends once, here or there, and none of those that
        succeeded is also kept dead."""
        runs = 2000
        worker = self.worker("-c", "8")
        sent = [self.bus.send(self.queue, "demo.sleep", [0.02],
                              headers={"timelimit": [0.0195 + i % 10 * 0.0002, None]})
                for i in range(runs)]
        results = self.bus.results(*sent)  # which fails at a second result of one task
        killed = exceptions(results)
        self.assertEqual(set(killed.values()), {"TimeLimitExceeded"})
        self.assertLess(len(killed), runs, "no task was in time: that is no race")
        self.assertEqual(worker.stop(), 0)
        dead = [self.bus.take(self.queue + ".dead").headers["id"] for _ in killed]
        self.assertEqual(sorted(dead), sorted(killed))
        for queue in self.queue, self.queue + ".dead", self.bus.reply_to:
            self.assertEqual(self.bus.depth(queue), 0, queue)
        counts = re.search(r"succeeded (\d+), failed (\d+)", worker.log())
        self.assertEqual([int(n) for n in counts.groups()], [runs - len(killed), len(killed)])
        print("%d of %d were killed" % (len(killed), runs))


class Memory(BrokerTest):
    def rss(self, pid):
        with open("/proc/%d/statm" % pid) as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def test_a_task_that_takes_too_much_while_it_runs_is_killed_three_times_and_kept(self):
        worker = self.worker("-c", "1", "--max-memory-per-child", "100M")
        self.bus.result(self.bus.send(self.queue, "demo.hold", [50 << 20, 1.5]))  # may have that
        before = self.rss(worker.pid)
        task = self.bus.send(self.queue, "demo.hold", [200 << 20, 60])
        failure = self.bus.result(task)["result"]
        self.assertEqual(failure["exc_type"], "WorkerLostError")
        self.assertIn("--max-memory-per-child=100M", failure["exc_message"][0])
        self.assertIn("3 attempts", failure["exc_message"][0])
        peak = int(re.search(r"peak memory (\d+) KiB", failure["exc_message"][0]).group(1))
        self.assertGreater(peak, 100 << 10)
        self.assertEqual(len(re.findall("it is killed", worker.log())), 3)
        self.assertEqual(self.bus.take(self.queue + ".dead").headers["id"], task)
        self.assertLess(self.rss(worker.pid), before + (2 << 20))

    def test_a_child_that_has_too_much_after_a_task_is_replaced(self):
        limit = 100 << 20
        worker = self.worker("-c", "1", "--max-memory-per-child", str(limit))
        for _ in range(3):
            first, = worker.children()
            # A little over the limit, so that the task ends before anybody has looked at its child.
            size = limit - self.rss(first) + (8 << 20)
            leak = self.bus.result(self.bus.send(self.queue, "demo.leak", [size]))
            self.assertEqual(leak["result"], size)  # its first one
            worker.expect(r"child pid=%d occupies \d+ MiB" % first)
            until("it is replaced", lambda: self.only_child(worker) not in (None, first))

    @staticmethod
    def only_child(worker):
        """None while the old one and its successor are there, or neither."""
        children = worker.children()
        return children[0] if len(children) == 1 else None


class Rlimits(BrokerTest):
    @unittest.skipIf(SANITIZED, "a sanitizer needs terabytes of address space")
    def test_children_have_the_limits_that_were_asked_for_and_leave_no_cores(self):
        worker = self.worker("-c", "1", "--rlimit", "nofile=64,as=600M,cpu=7", "--rlimit",
                             "stack=1M")
        self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))
        child, = worker.children()
        with open("/proc/%d/limits" % child) as f:
            limits = {name.strip(): (soft, hard) for name, soft, hard in
                      re.findall(r"^Max (.+?)  +(\S+) +(\S+)", f.read(), re.M)}
        self.assertEqual(limits["open files"], ("64", "64"))
        self.assertEqual(limits["address space"], (str(600 << 20),) * 2)
        self.assertEqual(limits["stack size"], (str(1 << 20),) * 2)
        self.assertEqual(limits["cpu time"], ("7", "8"))
        self.assertEqual(limits["core file size"][0], "0")
        with open("/proc/%d/oom_score_adj" % child) as f, open("/proc/self/oom_score_adj") as ours:
            self.assertEqual(int(f.read()), min(int(ours.read()) + 500, 1000))
        too_much = self.bus.result(self.bus.send(self.queue, "demo.leak", [700 << 20]))
        self.assertEqual(too_much["result"]["exc_type"], "MemoryError")

    def test_what_one_task_has_computed_does_not_count_for_the_next(self):
        worker = self.worker("-c", "1", "--rlimit", "cpu=1", app="demo," + MESS)
        for _ in range(4):
            task = self.bus.send(self.queue, "mess.spin", [0.4])
            self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
            worker.expect("task id=%s mess.spin: has used a tenth of --rlimit=cpu" % task)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("children lost 0", worker.log())

    def test_one_wrong_value_is_one_clear_sentence(self):
        for option, value, says in (
                ("--rlimit", "nofile", "takes as, core,"), ("--rlimit", "files=3", "takes as, core,"),
                ("--rlimit", "as=1X", "sizes as 256M"), ("--rlimit", "as=", "sizes as 256M"),
                ("--rlimit", "nofile=-1", "sizes as 256M"), ("--rlimit", "cpu=1,", "takes as, core,"),
                ("--rlimit", "as=17179869184G", "sizes as 256M"),
                ("--max-memory-per-child", "0", "takes a size"),
                ("--max-memory-per-child", "lots", "takes a size"),
                ("--max-memory-per-child", "200000", "a number alone means bytes, not KiB"),
                ("--time-limit", "-1", "takes seconds"), ("--time-limit", "inf", "takes seconds"),
                ("--soft-time-limit", "5m", "takes seconds")):
            run = subprocess.run([os.path.join(BIN, "ctask-worker"), "-A", "demo", option, value],
                                 capture_output=True, text=True)
            self.assertEqual(run.returncode, 2, value)
            first, *rest = run.stderr.splitlines()
            self.assertIn(option + " ", first)
            self.assertIn(says, first)
            self.assertTrue(all(line.startswith(("Try", "Usage")) for line in rest), run.stderr)


if __name__ == "__main__":
    main()
