"""Children that get nowhere, and no children at all."""
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, GIVE_UP, URL, BrokerTest, Bus, main, stands, until  # noqa: E402


class Watch(BrokerTest):
    def test_children_that_get_nowhere_are_reported_once_and_again_when_they_go_on(self):
        worker = self.worker("-c", "2")
        start = time.monotonic()
        held = self.bus.send(self.queue, "demo.stop", [])
        stopped = until("it stands", lambda: [pid for pid in worker.children() if stands(pid)])[0]
        worker.expect("child pid=%d is stopped .SIGSTOP.. while task id=%s .* runs" % (stopped, held))
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(
            self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        os.kill(stopped, signal.SIGCONT)
        self.assertEqual(self.bus.result(held)["status"], "SUCCESS")
        worker.expect("child pid=%d goes on again" % stopped)
        self.assertEqual(worker.log().count("is stopped"), 1)

    def test_a_child_that_is_to_leave_and_does_not_gives_its_place_to_another(self):
        worker = self.worker("-c", "1", "--max-tasks-per-child", "1")
        first, = worker.children()
        if not self.hears(first):
            self.skipTest("this kernel does not tell what a process waits for")
        task = self.bus.send(self.queue, "demo.sleep", [1])
        until("it runs", lambda: not self.hears(first))
        # The child says that it is done while nobody hears it, and is stopped before it is told.
        worker.signal(signal.SIGSTOP)
        until("it waits for more", lambda: self.hears(first))
        os.kill(first, signal.SIGSTOP)
        worker.signal(signal.SIGCONT)
        self.bus.result(task)
        worker.expect("child pid=%d was told to leave and did not" % first)
        self.assertEqual(
            self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)

    def slow_to_leave(self, worker):
        """The child that is to make room for a fresh process does not leave at once."""
        with open("/proc/%d/wchan" % os.getppid()) as f:
            if f.read() in ("", "0"):
                self.skipTest("this kernel does not tell what a process waits for")
        task = self.bus.send(self.queue, "demo.stop", [])
        pid, = until("it stands", lambda: [pid for pid in worker.children() if stands(pid)])
        # Its task ends while nobody hears it, and it is stopped before it is given another.
        worker.signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        until("it waits for more", lambda: self.hears(pid))
        os.kill(pid, signal.SIGSTOP)
        worker.signal(signal.SIGCONT)
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")

    def alone(self, number):
        return self.bus.send(self.queue, "demo.add", [number, 0], headers={"x-ctask-attempt": 1})

    def test_while_one_waits_for_a_process_of_its_own_others_run(self):
        worker = self.worker("-c", "2")
        self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [0.5]) for _ in range(2)])
        self.slow_to_leave(worker)
        alone = self.alone(1)
        other = self.bus.send(self.queue, "demo.add", [1, 2])
        self.assertEqual(self.bus.result(other)["result"], 3)
        self.assertEqual(self.bus.depth(self.bus.reply_to), 0)
        self.assertNotIn("was told to leave and did not", worker.log())
        self.assertEqual(self.bus.result(alone)["result"], 1)
        worker.expect("was told to leave and did not")

    def test_the_only_child_that_is_slow_to_leave_closes_no_window(self):
        worker = self.worker("-c", "1")
        self.slow_to_leave(worker)
        self.assertEqual(self.bus.result(self.alone(1))["result"], 1)
        worker.expect("was told to leave and did not")
        self.assertNotIn("no child can take a job", worker.log())

    def hears(self, pid):
        """True if a child sleeps over its socket, as it does between jobs."""
        with open("/proc/%d/wchan" % pid) as f:
            return "unix_stream" in f.read()


class NoChildren(BrokerTest):
    BARREN = "no child can take a job"
    ALIVE = "a child can take jobs again"

    def not_as_root(self):
        """In front of a command: root may have any number of processes."""
        if os.geteuid() != 0:
            return ()
        other = ("setpriv", "--reuid=64123", "--regid=64123", "--clear-groups")
        command = [*other, os.path.join(BIN, "ctask-worker"), "--version"]
        if subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("another user cannot run what is built here")
        return other

    def hands_its_tasks_back(self, worker, sent):
        """All that it has not run, once there is somebody who could run it."""
        worker.expect(self.BARREN)
        until("no consumer", lambda: not self.bus.channel.queue_declare(
            self.queue, passive=True).consumer_count)
        other, taken = Bus(), []
        tag = other.channel.basic_consume(self.queue, callback=taken.append)
        while len(taken) < sent - self.bus.depth(self.bus.reply_to):
            other.connection.drain_events(timeout=GIVE_UP)
        other.channel.basic_cancel(tag)
        other.close()

    def test_a_worker_whose_children_die_at_once_takes_no_tasks(self):
        worker = self.worker("-c", "1", "--prefetch", "10")
        barren = threading.Event()

        def kill_all():
            """By a signal that is a child's own doing; who is killed by SIGKILL is replaced at once."""
            while not barren.is_set():
                for child in worker.children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGABRT)
                time.sleep(0.001)

        killer = threading.Thread(target=kill_all)
        killer.start()
        worker.expect("is gone: signal 6", times=2)
        sent = [self.bus.send(self.queue, "demo.add", [i, 1]) for i in range(5)]
        try:
            self.hands_its_tasks_back(worker, len(sent))
        finally:
            barren.set()
            killer.join()
        self.assertEqual(sorted(r["result"] for r in self.bus.results(*sent).values()),
                         [1, 2, 3, 4, 5])
        # One that was killed late, on a busy machine, was a child for a moment.
        until("each time it is over", lambda: worker.log().count(self.BARREN) ==
              worker.log().count(self.ALIVE))

    def test_a_worker_that_cannot_fork_takes_no_tasks_until_it_can(self):
        as_user = self.not_as_root()
        worker = self.worker("-c", "2", under=as_user)

        def processes(most):
            subprocess.run([*as_user, "prlimit", "--pid", str(worker.pid), "--nproc=%d:" % most],
                           check=True)

        processes(0)
        for child in worker.children():
            os.kill(child, signal.SIGKILL)
        worker.expect("cannot start a child: Resource temporarily unavailable")
        sent = [self.bus.send(self.queue, "demo.add", [i, 1]) for i in range(5)]
        self.hands_its_tasks_back(worker, len(sent))
        processes(1000)
        worker.expect(self.ALIVE)
        self.assertEqual(sorted(r["result"] for r in self.bus.results(*sent).values()),
                         [1, 2, 3, 4, 5])
        self.assertEqual(worker.log().count(self.BARREN), 1, worker.log())

    def test_a_job_that_its_child_never_read_was_not_begun(self):
        worker = self.worker("-c", "1", "-l", "trace")
        for size in 1, 1000000:  # also more than the socket takes
            child, = worker.children()
            os.kill(child, signal.SIGSTOP)
            task = self.bus.send(self.queue, "demo.echo", ["x" * size])
            worker.expect("id=%s ready -> running" % task)
            os.kill(child, signal.SIGKILL)
            worker.expect("id=%s running -> ready" % task)
            self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertNotIn("runs again", worker.log())

    def test_with_few_descriptors_it_runs_with_the_children_that_fit(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, hard))
        try:
            worker = self.worker("-c", "64", url=URL.rstrip("/") + "/?heartbeat=1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        worker.expect("cannot start a child: Too many open files")
        self.assertGreater(len(worker.children()), 4)
        sent = [self.bus.send(self.queue, "demo.sleep", [0.1]) for _ in range(200)]
        # Bodies that want a file too. What cannot have one goes back and is tried later.
        large = [self.bus.send(self.queue, "demo.echo", ["x" * (5 << 20)]) for _ in range(10)]
        beats = self.bus.send(self.queue, "demo.sleep", [3])
        results = self.bus.results(*sent, *large, beats)
        self.assertEqual({results[i]["status"] for i in sent + [beats]}, {"SUCCESS"})
        self.assertEqual({results[i]["result"]["exc_type"] for i in large}, {"MessageTooLarge"})
        self.assertNotIn("connection lost", worker.log())
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)


if __name__ == "__main__":
    main()
