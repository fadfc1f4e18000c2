"""What a task may leave changed in its process: whatever it is, the next task finds the process as it
was, and the log names the one that changed it. docs/hygiene.md has the list."""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BrokerTest, main, until  # noqa: E402
from poison import BUILD  # noqa: E402

MESS = os.path.join(BUILD, "tests/apps/mess.so")

OURS = (1 << 31) - 1  # the signals behind these are libc's own

# What tests/apps/mess.c changes, and what the log says of it.
CHANGES = {
    "directory": "changed the working directory",
    "root": "changed the working directory|changed the root directory",
    "umask": "changed the umask",
    "euid": "changed its user",
    "egid": "changed its group",
    "groups": "changed its supplementary groups",
    "capabilities": "changed its capabilities",
    "keep capabilities": "changed its personality or prctl.2. flags",
    "no new privileges": "set no_new_privs",
    "seccomp": "set no_new_privs|set a system call filter",
    "keyring": "changed its session keyring",
    "limit fsize": "changed its resource limits",
    "limit stack": "changed its resource limits",
    "limit cpu": "changed its resource limits",
    "limit nofile": "changed its resource limits",
    "limit data": "changed its resource limits",
    "blocked signal": "changed which signals are blocked",
    "ignored SIGTERM": "changed which signals are ignored",
    "ignored SIGCHLD": "changed which signals are ignored",
    "handler of SIGPIPE": "changed how signals are handled",
    "handler of SIGALRM": "changed how signals are handled",
    "handler of SIGTERM": "changed how signals are handled",
    "handler of SIGINT": "changed how signals are handled",
    "signal stack": "changed the alternate signal stack",
    "alarm": "leaves an alarm set",
    "ITIMER_VIRTUAL": "leaves ITIMER_VIRTUAL running",
    "ITIMER_PROF": "leaves ITIMER_PROF running",
    "POSIX timer": "leaves a POSIX timer running",
    "nice": "changed its scheduling policy or nice value",
    "policy": "changed its scheduling policy or nice value",
    "affinity": "changed its CPU affinity",
    "memory policy": "changed its memory policy",
    "I/O priority": "changed its I/O priority or timer slack",
    "timer slack": "changed its I/O priority or timer slack",
    "new variable": "changed the environment",
    "changed variable": "changed the environment",
    "overwritten variable": "changed the environment",
    "lost variable": "changed the environment",
    "lost environment": "changed the environment",
    "locale": "changed the locale",
    "locale of thread": "changed the locale",
    "rounding": "changed the rounding mode or traps of floating point",
    "traps": "changed the rounding mode or traps of floating point",
    "tiny is zero": "changed the rounding mode or traps of floating point",
    "death signal": "changed its personality or prctl.2. flags",
    "dumpable": "changed its personality or prctl.2. flags",
    "subreaper": "changed its personality or prctl.2. flags",
    "name": "changed the name of its process",
    "personality": "changed its personality or prctl.2. flags",
    "huge pages": "changed its personality or prctl.2. flags",
    "OOM score": "changed its OOM score",
    "closed output": "closed or replaced its standard output or error",
    "redirected output": "closed or replaced its standard output or error",
    "output does not wait": "closed or replaced its standard output or error",
    "redirected input": "closed or replaced its standard input",
    "files": "leaves files open",
    "thread": "leaves threads running",
    "locked memory": "leaves memory locked",
    "trace": "lets its worker trace it",
    "user namespace": "changed its .*",  # with it, who the process is
    "mount namespace": "changed the root directory or its mount namespace",
    "network namespace": "changed its namespaces",
    "host name namespace": "changed its namespaces",
    "terminal": "has a controlling terminal",
}


class Hygiene(BrokerTest):
    def worker(self, *args, **kwargs):
        return super().worker("-c", "1", "--prefetch", "1000", *args, app="demo," + MESS,
                              env={"LC_ALL": "C", "MESS": "1"}, **kwargs)

    def warm(self):
        """From here on tasks are known to be short."""
        self.bus.results(*[self.bus.send(self.queue, "mess.make", ["nothing"])
                           for _ in range(400)])

    def in_a_row(self, worker, *calls, **last):
        """They come together, so that each stands behind the one before it. Their results."""
        worker.signal(signal.SIGSTOP)
        ids = [self.bus.send(self.queue, task, args, **(last if i == len(calls) - 1 else {}))
               for i, (task, *args) in enumerate(calls)]
        until("they are on their way", lambda: self.bus.depth(self.queue) == 0)
        worker.signal(signal.SIGCONT)
        results = self.bus.results(*ids)
        return [results[i] for i in ids]

    def blamed(self, worker):
        """The lines of the log about children that are replaced: (task's id, what is said)."""
        return re.findall(r"WARN .* task id=(\S+) mess\.\w+: (.*): child pid=\d+ is replaced",
                          worker.log())

    def state(self):
        return self.bus.result(self.bus.send(self.queue, "mess.state"))["result"]

    def test_what_a_task_changes_the_next_one_does_not_find(self):
        worker = self.worker()
        self.warm()
        clean = self.state()
        self.assertEqual(self.state(), clean)
        self.assertEqual(self.blamed(worker), [], "replaced without need")
        cannot, expected = {}, []
        for how, words in CHANGES.items():
            made, told = self.in_a_row(worker, ("mess.make", how), ("mess.state",))
            with self.subTest(how):
                if made["result"] is None:
                    expected.append((made["task_id"], words))
                else:  # this user, or this machine, cannot
                    cannot[how] = made["result"]
                self.assertEqual(told["result"].splitlines(), clean.splitlines())
        blamed = self.blamed(worker)
        self.assertEqual([made for made, _ in blamed], [made for made, _ in expected])
        for (_, said), (_, words) in zip(blamed, expected):
            self.assertRegex(said, "^(%s)$" % words)
        print("not possible here: %s" % cannot)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("children lost 0", worker.log())

    def test_what_one_of_many_short_tasks_changes_is_found_within_10_ms(self):
        worker = self.worker("--prefetch", "5000")
        self.warm()
        nothing = ("mess.make", "nothing")
        suspects = []
        while not suspects:  # the one task of the row may be one of those that are looked after
            self.in_a_row(worker, *[nothing] * 50, ("mess.make", "umask"), *[nothing] * 4000)
            suspects = re.findall(r"changed the umask \(it, or one of the (\d+) tasks before it\)",
                                  worker.log())
        self.assertLess(int(suspects[0]), 2500)  # a task takes more than 4 us
        self.assertEqual(worker.stop(), 0)

    def behind_a_killer(self, worker, **kwargs):
        """How a task ends in a row behind one that leaves a timer which kills. Of tasks as short as
        these not each is looked after, but for the first ones after a pause."""
        calls = [("mess.make", "nothing")] * 50 + [("mess.make", "ITIMER_PROF now")]
        return self.in_a_row(worker, *calls, ("mess.spin", 0.1), **kwargs)[-1]["status"]

    def test_who_is_killed_by_what_another_left_runs_again_and_the_log_names_the_others(self):
        worker = self.worker()
        self.warm()
        killed = "mess.spin: its process is gone 1 times"
        for _ in range(20):  # the killer may be one of those that are looked after
            self.assertEqual(self.behind_a_killer(worker), "SUCCESS")
            if killed in worker.log():
                break
        worker.expect(killed + r", perhaps by what a short task before it left; it runs again")
        self.assertEqual(worker.stop(), 0)

    def test_and_then_runs_behind_no_other(self):
        """Once more and it would be given up."""
        worker = self.worker()
        self.warm()
        twice = {"x-ctask-attempt": 2, "x-ctask-crashes": 2}
        self.assertEqual(self.behind_a_killer(worker, headers=twice), "SUCCESS")
        before = worker.children()
        self.bus.result(self.bus.send(self.queue, "mess.make", ["nothing"], headers=twice))
        self.assertNotIn(worker.children()[0], before, "it ran where others had")
        self.assertEqual(worker.stop(), 0)

    def test_programs_that_a_task_starts_ignore_nothing(self):
        self.worker(under=["sh", "-c", "trap '' QUIT USR2 TTOU; exec \"$@\"", "sh"])
        result = self.bus.result(self.bus.send(self.queue, "mess.program"))["result"]
        self.assertEqual(int(result.split()[1], 16) & OURS, 0)


if __name__ == "__main__":
    main()
