"""The broker's password: nobody reads it in command lines, environments, logs, cores or the memory of
the processes that run tasks; and what a worker does when it is wrong, or changed."""
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import (BIN, CTL, GIVE_UP, BrokerTest, ctl, main, memory_holds, skip, unique,  # noqa: E402
                     until, url_parts)

from bench import Clock  # noqa: E402

if not CTL:
    skip("needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")

USER = unique("tester")
SANITIZED = os.environ.get("CTASK_SANITIZED")  # terabytes of memory, then
PASSWORD = "5ecret" + unique("").replace(".", "")


def setUpModule():
    ctl("add_user", USER, PASSWORD)
    ctl("set_permissions", USER, ".*", ".*", ".*")


def tearDownModule():
    ctl("delete_user", USER)


def url(password=PASSWORD):
    return "amqp://%s:%s@%s:%d" % ((USER, password) + url_parts()[2:])


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Hidden(BrokerTest):
    def assert_hidden(self, worker):
        secret = PASSWORD.encode()
        self.assertNotIn(secret, read("/proc/%d/cmdline" % worker.pid))
        self.assertNotIn(PASSWORD, worker.log())
        if os.geteuid() == 0 and not SANITIZED:
            self.assertTrue(memory_holds(worker.pid, secret), "the test sees nothing")
            self.assertNotIn(secret, read("/proc/%d/environ" % worker.pid))
        children = worker.children()
        self.assertEqual(len(children), 2)
        for child in children:
            self.assertNotIn(secret, read("/proc/%d/environ" % child))
            if not SANITIZED:
                self.assertFalse(memory_holds(child, secret), "in the memory of child %d" % child)

    def test_whichever_way_it_came(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(url() + "\n")
            file.flush()
            for args, variable, env in ((["-b", url()], "", {}), (["--broker=" + url()], "", {}),
                                        ([], url(), {}), ([], "", {"CTASK_BROKER_FILE": file.name})):
                worker = self.worker("-c", "2", *args, url=variable, env=env)
                first = set(worker.children())
                self.assert_hidden(worker)
                # Those were born before there was a connection; these are after a login.
                for child in first:
                    os.kill(child, signal.SIGKILL)
                until("all are replaced", lambda: len(set(worker.children()) - first) == 2)
                self.bus.results(*[self.bus.send(self.queue) for _ in range(10)])
                self.assert_hidden(worker)
                self.assertEqual(worker.stop(), 0)

    def test_a_file_that_everybody_may_read_gets_a_warning(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(url() + "\n")
            file.flush()
            for mode, warnings in (0o600, 0), (0o640, 0), (0o644, 1):
                os.chmod(file.name, mode)
                worker = self.worker("-c", "1", url="", env={"CTASK_BROKER_FILE": file.name})
                worker.stop()
                self.assertEqual(len(re.findall(
                    "WARN .* CTASK_BROKER_FILE=%s can be read by every user" % file.name,
                    worker.log())), warnings)
            # Of no concern when the URL came from elsewhere.
            worker = self.worker("-c", "1", url=url(), env={"CTASK_BROKER_FILE": file.name})
            worker.stop()
            self.assertNotIn("every user", worker.log())

    def test_the_parent_leaves_no_core(self):
        def cores_allowed():
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

        with tempfile.TemporaryDirectory() as folder:
            worker = subprocess.Popen(
                [os.path.join(BIN, "ctask-worker"), "-A", "primes", "-Q", self.queue, "-l", "info"],
                stderr=subprocess.PIPE, text=True, cwd=folder, preexec_fn=cores_allowed,
                env=dict(os.environ, CTASK_BROKER_URL=url()))
            for line in worker.stderr:
                if line.endswith(" ready\n"):
                    break
            os.kill(worker.pid, signal.SIGABRT)
            status = os.waitpid(worker.pid, 0)[1]
            worker.returncode = 0
            worker.stderr.close()
            self.assertEqual(os.WTERMSIG(status), signal.SIGABRT)
            self.assertFalse(os.WCOREDUMP(status))
            self.assertEqual(os.listdir(folder), [])


class Wrong(BrokerTest):
    def test_at_the_start(self):
        for name, there in ("ctask-worker", ["-A", "primes", "-l", "error"]), ("ctask", ["call", "x"]):
            done = subprocess.run(
                [os.path.join(BIN, name), "-b", url("wr0ng")] + there, text=True,
                capture_output=True, timeout=GIVE_UP)
            self.assertEqual(done.returncode, 77)
            self.assertRegex(done.stderr, 'refused user "%s": wrong user name or password.* -b, '
                                          'CTASK_BROKER_URL or CTASK_BROKER_FILE\n$' % USER)
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertNotIn("wr0ng", done.stderr)

    @unittest.skipIf(SANITIZED, "its clock is moved by a preloaded library")
    def test_changed_while_it_runs(self):
        with Clock() as clock:
            worker = self.worker("-c", "1", url=url(), env=clock.env)
            ctl("change_password", USER, "another")
            self.addCleanup(ctl, "change_password", USER, PASSWORD)
            ctl("close_all_user_connections", USER, "changed")
            worker.expect("refused user .*: wrong user name or password")
            clock.move(10, worker.pid)  # too early for another try
            worker.expect("received", 1)
            clock.move(25, worker.pid)  # the second refusal is no news
            ctl("change_password", USER, PASSWORD)
            for times in range(2, 6):
                clock.move(31, worker.pid)
                worker.expect("received", times)
            worker.expect("connected again")
            self.assertEqual(len(re.findall("refused user", worker.log())), 1)
            self.bus.result(self.bus.send(self.queue))


if __name__ == "__main__":
    main()
