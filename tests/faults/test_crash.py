"""Children that die: by their task's doing, by somebody else's, all the time. A task that ends its
process runs three times and is then kept with what is known of its death; its caller hears of it,
and the tasks beside it never notice."""
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, URL, alive, main, until  # noqa: E402
from poison import BUILD, POISON, PoisonTest  # noqa: E402

SANITIZED = os.environ.get("CTASK_SANITIZED")


class CrashTest(PoisonTest):
    def setUp(self):
        super().setUp()
        self.dead = self.queue + ".dead"

    def die(self, how, *last_words, task="poison.die", **kwargs):
        return self.bus.send(self.queue, task, [self.ledger, how, *last_words], **kwargs)

    def assert_lost(self, task, result=None):
        result = result or self.bus.result(task)
        self.assertEqual(result["status"], "FAILURE")
        self.assertEqual(result["result"]["exc_type"], "WorkerLostError")
        return result["result"]["exc_message"][0]


class Poison(CrashTest):
    # How its process ends: by which signal, or with which status.
    WAYS = {"segv": signal.SIGSEGV, "abort": signal.SIGABRT, "fpe": signal.SIGFPE,
            "bus": signal.SIGBUS, "stack": signal.SIGSEGV, "term": signal.SIGTERM, "exit": 0,
            "_exit": 3, "closefrom": signal.SIGKILL, "junk": signal.SIGKILL,
            "forge": signal.SIGKILL}

    def test_each_poison_runs_three_times_and_nobody_beside_it_notices(self):
        self.bus.declare(self.queue)
        poison, others = {}, []
        for how in self.WAYS:
            poison[how] = self.die(how)
            others += [self.live("%s-%d" % (how, i)) for i in range(30)]
        worker = self.worker("-c", "2")
        results = self.bus.results(*poison.values(), *others)
        for task in others:
            self.assertIs(results[task]["result"], False, "run again")
        starts = self.starts()
        self.assertEqual({how: starts.pop(how) for how in self.WAYS}, {how: 3 for how in self.WAYS})
        self.assertEqual(set(starts.values()), {1})
        self.assertEqual(len(starts), len(others))
        letters = {}
        for _ in poison:
            letter = self.bus.take(self.dead)
            letters[letter.headers["id"]] = letter.headers
        for how, task in poison.items():
            self.assert_told(how, letters[task], self.assert_lost(task, results[task]))
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def assert_told(self, how, headers, text):
        end = self.WAYS[how]
        if SANITIZED and how in ("bus", "stack"):
            end = 1  # the sanitizer's handler leaves so
        if isinstance(end, signal.Signals):
            self.assertEqual(headers["x-ctask-dead-signal"], end, how)
        else:
            self.assertEqual(headers["x-ctask-dead-exit"], end, how)
        if how == "closefrom":
            self.assertIn("closed its line", text)
        elif how in ("junk", "forge"):
            self.assertIn("wrote junk to its line", text)
        else:
            self.assertIn("signal %d " % end if isinstance(end, signal.Signals) else "exit status %d" % end, text)
        self.assertIn("3 attempts", text)
        self.assertIn("peak memory %d KiB" % headers["x-ctask-dead-rss"], text)
        self.assertGreater(headers["x-ctask-dead-rss"], 500)
        self.assertEqual(headers["x-ctask-dead-attempts"], 3)
        self.assertEqual(headers["x-ctask-dead-type"], "WorkerLostError")
        self.assertEqual(headers["x-ctask-dead-reason"], text)

    def test_one_that_ends_its_main_thread_alone(self):
        worker = self.worker("-c", "1")
        text = self.assert_lost(self.die("main-thread"))
        self.assertIn("ended its main thread, after 3 attempts", text)
        self.assertEqual(self.starts(), {"main-thread": 3})
        self.assertEqual(worker.stop(), 0)

    def test_one_that_is_acknowledged_early_runs_once(self):
        worker = self.worker("-c", "1")
        self.assertIn("1 attempt,", self.assert_lost(self.die("segv", task="poison.die_early")))
        self.assertEqual(self.starts(), {"segv": 1})
        self.assertEqual(self.bus.take(self.dead).headers["x-ctask-dead-attempts"], 1)
        self.assertEqual(worker.stop(), 0)

    def test_one_that_is_acknowledged_early_and_stopped_with_its_worker_has_an_end(self):
        worker = self.worker("-c", "1")
        task = self.bus.send(self.queue, "poison.live_early", [self.ledger, "early", 60000000])
        until("it runs", self.starts)
        worker.signal(signal.SIGQUIT)
        self.assertEqual(worker.wait(), 0)
        self.assertIn("1 attempt,", self.assert_lost(task))
        self.assertEqual(self.bus.take(self.dead).headers["x-ctask-dead-attempts"], 1)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_one_that_is_acknowledged_early_and_was_not_begun_goes_back(self):
        for leaving in False, True:
            worker = self.worker("-c", "1", "-l", "trace", "--grace", "1000")
            child, = worker.children()
            os.kill(child, signal.SIGSTOP)
            task = self.bus.send(self.queue, "poison.live_early", [self.ledger, "early"])
            worker.expect("id=%s ready -> running" % task)
            if leaving:
                worker.signal(signal.SIGTERM)
                worker.expect("leaving:")
            os.kill(child, signal.SIGKILL)
            if leaving:
                self.assertEqual(worker.wait(), 0)
                worker = self.worker()
            self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
            self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.starts(), {"early": 2})

    def test_its_last_words_are_kept(self):
        worker = self.worker("-c", "1")
        self.bus.result(self.bus.send(self.queue, "poison.say", ["not of this job\n"]))
        words = "x" * 3000 + "\nd\u00e9j\u00e0\tvu \x1b[2J no end"
        self.assert_lost(self.die("abort", words))
        tail = self.bus.take(self.dead).headers["x-ctask-dead-stderr"]
        self.assertTrue(tail.endswith("xxx\nd\u00e9j\u00e0\tvu \\x1b[2J no end"), tail)
        self.assertNotIn("not of this job", tail)
        self.assertIn(len(tail.encode()), range(2000, 2049))
        worker.expect("task id=.*: .* no end$", 3)
        self.assertEqual(worker.stop(), 0)


class Output(CrashTest):
    def test_what_a_task_prints_is_in_the_log_with_its_name_and_harmless(self):
        worker = self.worker("-c", "1")
        for out in False, True:
            task = self.bus.send(self.queue, "poison.say", [
                "plain\n<4>warned\n2026 ERROR \x1b[2J forged \u009b\nno newline", 1, out])
            self.bus.result(task)
            start = "child pid=%d task id=%s poison.say: " % (worker.children()[0], task)
            worker.expect("INFO .* " + start + "plain$")
            worker.expect("WARN .* " + start + "warned$")
            worker.expect("INFO .* " + start + r"2026 ERROR \\x1b\[2J forged \\xc2\\x9b$")
            worker.expect("INFO .* " + start + "no newline$")
        self.assertNotIn("\x1b", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_what_a_task_prints_last_is_named_also_when_nobody_wants_its_result(self):
        worker = self.worker("-c", "1")
        for _ in range(20):
            task = self.bus.send(self.queue, "poison.say", ["unfinished"], reply_to=False)
            worker.expect("INFO .* task id=%s poison.say: unfinished$" % task)
        self.assertEqual(worker.stop(), 0)

    def test_a_child_that_prints_without_end_does_not_fill_the_log(self):
        worker = self.worker("-c", "1")
        lines = self.bus.send(self.queue, "poison.say", ["line\n", 200000])
        wide = self.bus.send(self.queue, "poison.say", ["w" * 1000, 2000])
        self.bus.results(lines, wide)
        worker.expect(r"\(\d+ lines, \d+ bytes of output left out\)", 2)
        self.assertEqual(worker.stop(), 0)
        log = worker.log()
        self.assertLess(len(log), 1000000)
        left_out = sum(int(n) for n in re.findall(r"\((\d+) lines, ", log))
        self.assertEqual(left_out + log.count(": line\n") + log.count(": www"), 202000)

    def test_a_log_that_takes_nothing_stops_nobody(self):
        reader, writer = os.pipe()
        os.close(reader)
        self.bus.declare(self.queue)
        for log in os.open("/dev/full", os.O_WRONLY), writer:
            process = subprocess.Popen(
                [os.path.join(BIN, "ctask-worker"), "-A", "primes," + POISON, "-Q", self.queue,
                 "-c", "1", "-l", "trace"], stdin=subprocess.DEVNULL, stderr=log,
                env=dict(os.environ, CTASK_BROKER_URL=URL))
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            os.close(log)
            self.bus.result(self.bus.send(self.queue))
            ids = [self.bus.send(self.queue, "poison.say", ["loud\n", 1000]) for _ in range(20)]
            self.assertEqual({r["status"] for r in self.bus.results(*ids).values()}, {"SUCCESS"})
            process.terminate()
            self.assertEqual(process.wait(60), 0)


class Offspring(CrashTest):
    def beget(self):
        """A process in the group of a child, and a daemon, of a worker with one child."""
        return [self.bus.result(self.bus.send(self.queue, "poison.beget", [daemon]))["result"]
                for daemon in (False, True)]

    def test_what_a_task_left_behind_ends_with_its_child(self):
        worker = self.worker("-c", "1")
        for end in signal.SIGKILL, signal.SIGSEGV:
            left = self.beget()
            self.assertTrue(all(map(alive, left)))
            os.kill(worker.children()[0], end)
            until("they are gone", lambda: not any(map(alive, left)))
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertEqual(worker.stop(), 0)

    def test_and_with_a_worker_that_leaves(self):
        worker = self.worker("-c", "1")
        left = self.beget()
        self.assertEqual(worker.stop(), 0)
        until("they are gone", lambda: not any(map(alive, left)))

    def test_its_group_ends_with_a_worker_that_is_killed(self):
        worker = self.worker("-c", "1")
        left, daemon = self.beget()
        self.addCleanup(os.kill, daemon, signal.SIGKILL)  # out of reach, as documented
        worker.signal(signal.SIGKILL)
        worker.wait()
        until("it is gone", lambda: not alive(left))

    def test_a_process_that_was_there_before_the_worker_is_not_its_business(self):
        worker = self.worker("-c", "1", under=["sh", "-c", 'sleep 600 & exec "$@"', "sh"])
        helper = [pid for pid in worker.children() if b"sleep" in open(
            "/proc/%d/cmdline" % pid, "rb").read()][0]
        self.addCleanup(os.kill, helper, signal.SIGKILL)
        self.assert_lost(self.die("segv"))
        self.assertTrue(alive(helper))
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        self.assertTrue(alive(helper))


class Killed(CrashTest):
    def test_a_task_whose_process_somebody_kills_runs_again(self):
        worker = self.worker("-c", "1")
        task = self.live("it", 300000)
        for times in range(1, 6):  # more often than a crash is forgiven
            until("it runs", lambda: self.starts()["it"] == times)
            os.kill(worker.children()[0], signal.SIGKILL)
        self.assertIs(self.bus.result(task)["result"], True)
        self.assertEqual(self.starts(), {"it": 6})
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.dead), 0)

    def test_but_not_for_ever(self):
        self.worker("-c", "1")
        task = self.die("kill", headers={"x-ctask-attempt": 96})
        self.assertIn("signal 9 (Killed), after 100 attempts", self.assert_lost(task))
        self.assertEqual(self.starts(), {"kill": 4})
        headers = self.bus.take(self.dead).headers
        self.assertEqual(headers["x-ctask-dead-signal"], 9)
        self.assertNotIn("x-ctask-crashes", headers)

    def test_when_the_machine_is_out_of_memory_it_was_the_task(self):
        """The kernel's count is a file of ours, in a name space of its own."""
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            self.skipTest("needs the right to unshare(1) its mounts")
        stat = tempfile.NamedTemporaryFile("w", prefix="ctask-vmstat-")
        self.addCleanup(stat.close)

        def killed(times):
            stat.seek(0)
            stat.write("nr_free_pages 1\noom_kill %d\nzone_reclaim 0\n" % times)
            stat.flush()
        killed(7)
        worker = self.worker("-c", "1", under=[
            "unshare", "-m", "sh", "-c", 'mount --bind "$0" /proc/vmstat && exec "$@"', stat.name])
        task = self.live("it", 10000000)
        for times in range(1, 4):
            until("it runs", lambda: self.starts()["it"] == times)
            killed(7 + times)
            os.kill(worker.children()[0], signal.SIGKILL)
        self.assertIn("signal 9 (Killed), after 3 attempts", self.assert_lost(task))
        self.assertEqual(self.bus.take(self.dead).headers["x-ctask-crashes"], 2)

    def test_children_killed_at_random_cost_no_task(self):
        worker = self.worker("-c", "4")
        tasks = {self.live("n%d" % i, 5000): "n%d" % i for i in range(2000)}
        done = threading.Event()

        def kill():
            """After each 20 starts; those that run again among them are a few."""
            seen = 0
            while not done.wait(0.01):
                now = os.path.getsize(self.ledger)
                if now - seen < 20 * len("n1234\n"):
                    continue
                seen = now
                children = worker.children()
                with contextlib.suppress(IndexError, ProcessLookupError):  # it may be gone by now
                    os.kill(random.choice(children), signal.SIGKILL)
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            results = self.bus.results(*tasks)
        finally:
            done.set()
            killer.join()
        self.assertEqual({r["status"] for r in results.values()}, {"SUCCESS"})
        starts = self.starts()
        for task, name in tasks.items():
            if starts[name] > 1:
                self.assertIs(results[task]["result"], True, "run again without saying so")
        self.assertEqual(len(starts), 2000)
        self.assertGreater(sum(starts.values()), 2000, "none was hit")
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.dead) + self.bus.depth(self.queue), 0)

    def test_idle_ones_are_replaced_at_once(self):
        """A worker does not conclude from them that its children cannot live."""
        worker = self.worker("-c", "1")
        for _ in range(12):
            child = until("a child", worker.children)[0]
            os.kill(child, signal.SIGKILL)
            worker.expect("child pid=%d is gone" % child)
        self.assertIs(self.bus.result(self.bus.send(self.queue))["result"], True)
        self.assertNotIn("no child can take a job", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_one_that_dies_after_its_last_word_is_done(self):
        worker = self.worker("-c", "1")
        for i in range(30):
            child, = until("a living child",  # the last one may be listed until it is buried
                           lambda: [k for k in worker.children() if not self.is_dead(k)])
            task = self.bus.send(self.queue, "poison.last_word", [self.ledger, "n%d" % i])
            until("it is dead and not heard yet", lambda: self.is_dead(child))
            worker.signal(signal.SIGCONT)
            self.assertIs(self.bus.result(task)["result"], False)
        starts = self.starts()
        self.assertEqual(starts.pop("hit"), 30)
        self.assertEqual(set(starts.values()), {1})
        self.assertEqual(len(starts), 30)
        self.assertEqual(worker.stop(), 0)

    @staticmethod
    def is_dead(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True


class Parent(CrashTest):
    def test_a_killed_parent_leaves_nothing_and_its_tasks_run_elsewhere(self):
        first = self.worker("-c", "3")
        tasks = [self.live("n%d" % i, 1000000) for i in range(3)]
        until("they run", lambda: len(self.starts()) == 3)
        children = first.children()
        for child in children:
            self.assertEqual(self.tcp(child), set(), "a child holds a socket of the broker's")
        self.worker("-c", "3")
        first.signal(signal.SIGKILL)
        first.wait()
        until("all gone", lambda: not any(map(alive, children)))
        until("they run again", lambda: set(self.starts().values()) == {2})
        self.assertEqual({r["result"] for r in self.bus.results(*tasks).values()}, {True})

    @staticmethod
    def tcp(pid):
        """The TCP sockets of a process."""
        inodes = set()
        for table in "tcp", "tcp6":
            with open("/proc/%d/net/%s" % (pid, table)) as f:
                inodes |= {"socket:[%s]" % line.split()[9] for line in f.readlines()[1:]}
        folder = "/proc/%d/fd/" % pid
        return inodes & {os.readlink(folder + fd) for fd in os.listdir(folder)}


if __name__ == "__main__":
    main()
