"""Who is measured: each starts a worker, knows its processes by role, and has a producer that says
START and END on its standard output, between which the machine is looked at."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from machine import (BIN, GIVE_UP, HERE, QUEUE, SCRATCH, TESTS, URL, end_at_exit, forget,
                     free_port, listens, until)
from measure import Snapshot, tree

PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's Celery
APP = os.path.join(TESTS, "apps/bench.so")
BYTES = os.path.join(SCRATCH, "bytes")


SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class Failed(Exception):
    pass


def note(cost):
    """Counts a slice, and whether it was disturbed."""
    Contender.slices += 1
    Contender.disturbed += cost["foreign"] > Contender.DISTURBED


class Contender:
    """One slice: with worker: sample = run_slice(...). `name` is how it is called in the report."""
    queue = QUEUE
    name = "?"
    env = {}
    worker = None

    def __init__(self, broker):
        self.broker = broker

    # ---- Its worker

    def command(self):
        """The worker's command line; None: it has none."""
        return None

    def start(self, env=None):
        command = self.command()
        if not command:
            return
        if self.broker.has_consumer(self.queue):
            raise Failed("a stray worker consumes from " + self.queue)
        self.log = open(self.log_path(), "w")
        self.worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.log,
                                       stderr=self.log, cwd=HERE,
                                       env=dict(os.environ, **self.env, **(env or {})))
        end_at_exit(self._kill)
        until("%s consumes" % self.name, self._consumes)

    def log_path(self):
        return os.path.join(SCRATCH, self.name.replace(" ", "-") + ".log")

    def said(self):
        """What the worker has written so far."""
        with open(self.log_path()) as f:
            return f.read()

    def _consumes(self):
        if self.worker.poll() is not None:
            raise Failed("%s: the worker ended: %s" % (self.name, self.said()[-500:]))
        return self.broker.has_consumer(self.queue)

    def stop(self):
        """Ends the worker; its queue has to be empty then."""
        if self.worker:
            self.worker.stdin.close()
            if not self.ends_with_stdin():
                os.kill(self.main_pid(), signal.SIGTERM)
            if self.worker.wait(60):
                raise Failed("%s: the worker's status is %d" % (self.name, self.worker.returncode))
            forget(self._kill)
            self.worker = None
            self.log.close()
        left = self.broker.drop(self.queue)
        if left:
            raise Failed("%s left %d messages" % (self.name, left))

    def abandon(self):
        """After a failure: no question whether anything is left."""
        if self.worker:
            self._kill()
            forget(self._kill)
            self.worker = None
        self.broker.drop(self.queue)

    def main_pid(self):
        return self.worker.pid

    def ends_with_stdin(self):
        return False

    def _kill(self):
        self.worker.kill()
        self.worker.wait()

    # ---- Its producer

    def producer(self, *args):
        raise NotImplementedError

    def roles(self, producer):
        roles = {"producer": [producer], "broker": [self.broker.pid]}
        if self.worker:
            roles["worker"] = tree(self.worker.pid)
        return roles

    def measure(self, *args, env=None, at_start=None, at_sent=None):
        """Runs the producer once; what END says, with the cost of what was between. at_start is given
        the producer's pid, at_sent its process and what SENT says."""
        process = subprocess.Popen(self.producer(*args), stdin=subprocess.PIPE, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=HERE,
                                   env=dict(os.environ, CTASK_QUEUE=self.queue, **self.env,
                                            **(env or {})))
        guard = threading.Timer(GIVE_UP, process.kill)
        guard.start()
        try:
            return self._follow(process, at_start, at_sent)
        finally:
            guard.cancel()
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()

    def _follow(self, process, at_start, at_sent):
        sample, done = None, False
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "START":
                before = Snapshot(self.roles(process.pid))
                if at_start:
                    at_start(process.pid)
            elif word == "SENT" and at_sent:
                at_sent(process, json.loads(rest))
            elif word == "END":
                cost = Snapshot(self.roles(process.pid)) - before
                sample = dict(json.loads(rest), contender=self.name)
                sample.update(per_task(sample, cost))
            done = done or word == "DONE"
        if process.wait() or not sample or not done:
            raise Failed("%s: %s" % (self.name, process.stderr.read()[-500:] or "no answer"))
        return sample

    # Slices in which other programs had more of the machine than that are taken again, so often;
    # the calmest one counts.
    DISTURBED = 0.05
    tries = 1
    slices = disturbed = 0

    def slice(self, *args, **kwargs):
        found = []
        while len(found) < self.tries:
            found.append(self.slice_once(*args, **kwargs))
            if found[-1]["foreign"] <= self.DISTURBED:
                break
        for _ in found[1:]:
            Contender.slices -= 1
            Contender.disturbed -= 1
        return min(found, key=lambda sample: sample["foreign"])

    def slice_once(self, *args, **kwargs):
        """Worker, producer, and nothing left behind."""
        time.sleep(0.3)  # what went before has settled
        self.start()
        try:
            sample = self.measure(*args, **kwargs)
        except BaseException:
            self.abandon()
            raise
        self.stop()
        return sample


def per_task(sample, cost):
    n = sample["tasks"] or 1
    note(cost)
    return {"cpu_us": {role: s / n * 1e6 for role, s in cost["cpu"].items()},
            "switches": {role: [v / n for v in pair] for role, pair in cost["switched"].items()},
            "used": cost["used"], "foreign": cost["foreign"], "stolen": cost["stolen"]}


# ---- ctask ----------------------------------------------------------------------------------------

class Ctask(Contender):
    name = "ctask"

    def __init__(self, broker, children=2, options=()):
        super().__init__(broker)
        self.children, self.options = children, options

    def command(self):
        return [os.path.join(BIN, "ctask-worker"), "-A", "primes," + APP, "-Q", self.queue,
                "-c", str(self.children), "-l", "warning", "-b", URL, *self.options]

    def producer(self, *args):
        return [os.path.join(TESTS, "bench-producer"), *map(str, args)]


# ---- The bare pair --------------------------------------------------------------------------------

class Bare(Contender):
    """Cell: (prefetch, unconfirmed tasks at a time, pause in microseconds). Without: what is left
    out, as "early-ack"."""
    name = "bare"

    def __init__(self, broker, cell=(1000, 1000, 0), without=(), name=None):
        super().__init__(broker)
        self.cell, self.flags = cell, ["--" + flag for flag in without]
        self.name = name or self.name
        self.bytes = BYTES

    def common(self, role):
        return [os.path.join(TESTS, "bench-bare"), role, "--url", URL, "--queue", self.queue,
                "--bytes", self.bytes, "--pause", str(self.cell[2]), *self.flags]

    def command(self):
        return self.common("work") + ["--prefetch", str(self.cell[0])]

    def ends_with_stdin(self):
        return True

    def producer(self, *args):
        return self.common("produce") + ["--unconfirmed", str(self.cell[1]), *map(str, args)]


def capture(broker, path, *args):
    """Has ctask send one task of that kind and writes down its bytes and those of its result."""
    aside = QUEUE + ".capture"
    ours = Ctask(broker)
    env = dict(os.environ, CTASK_QUEUE=aside)
    subprocess.run([os.path.join(TESTS, "bench-producer"), "send", "--count", "1", *map(str, args)],
                   check=True, stdout=subprocess.DEVNULL, env=env)
    ours.start()
    try:
        out = subprocess.run([os.path.join(TESTS, "bench-bare"), "capture", "--url", URL, "--queue",
                              QUEUE, "--from", aside, "--bytes", path],
                             check=True, capture_output=True, text=True, timeout=60).stdout
    finally:
        ours.stop()
        broker.drop(aside)
    return json.loads(out.split(" ", 1)[1])


# ---- Python ---------------------------------------------------------------------------------------

class Celery(Contender):
    """As Debian has it: prefork, rpc://, everything else by default; or as its manual says for speed."""
    name = "celery"
    queue = "bench.celery"
    options = ()
    env = {"PYTHONDONTWRITEBYTECODE": "1"}

    def command(self):
        return [PYTHON, "-m", "celery", "-A", "celery_side", "worker", "-c", "2", "-Q", self.queue,
                *self.options]

    def producer(self, *args):
        return [PYTHON, "-B", "celery_side.py", *map(str, args)]


class CeleryTuned(Celery):
    name = "celery-tuned"
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR",
               "--prefetch-multiplier", "128")


class Pool(Contender):
    """multiprocessing.Pool, which has no broker."""
    name = "pool"
    env = {"PYTHONDONTWRITEBYTECODE": "1"}

    def producer(self, *args):
        return [PYTHON, "-B", "pools.py", self.name, *map(str, args)]

    def roles(self, producer):
        return {"producer": [producer], "worker": tree(producer)[1:]}

    def stop(self):
        pass

    def abandon(self):
        pass


class Executor(Pool):
    """concurrent.futures.ProcessPoolExecutor."""
    name = "executor"


class Parallel(Pool):
    """ipyparallel: two engines, a controller between."""
    name = "ipyparallel"
    env = dict(Pool.env, PYTHONPATH=HERE, IPYTHONDIR=os.path.join(SCRATCH, "ipython"))


class Gearman(Contender):
    """A job server in C, with two workers. It keeps jobs in memory."""
    name = "gearman"
    program = os.path.join(TESTS, "bench-gearman")

    def start(self, env=None):
        self.port = free_port()
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                 "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen([shutil.which("gearmand", path=SBIN), "-L", "127.0.0.1", "-p",
                                        str(self.port), "--log-file", "none"], **quiet)
        self.workers = []
        end_at_exit(self._kill)
        until("gearmand listens", lambda: listens(self.port))
        self.workers = [subprocess.Popen([self.program, "work", str(self.port)], **quiet)
                        for _ in range(2)]

    def stop(self):
        self._kill()
        forget(self._kill)

    abandon = stop

    def _kill(self):
        for process in self.workers + [self.server]:
            process.kill()
            process.wait()

    def producer(self, *args):
        mode, first, seconds = args
        return [self.program, mode, str(self.port), str(first), str(seconds)]

    def roles(self, producer):
        return {"producer": [producer], "worker": [w.pid for w in self.workers],
                "broker": [self.server.pid]}


def gearman_missing():
    if not shutil.which("gearmand", path=SBIN):
        return "gearman-job-server is not installed"
    if not os.path.exists(Gearman.program):
        return "libgearman-dev was not installed when this was built"


def python_missing(module):
    done = subprocess.run([PYTHON, "-c", "import " + module], capture_output=True)
    return "python3-%s is not installed" % module if done.returncode else None


def celery_missing():
    return python_missing("celery")


def parallel_missing():
    return python_missing("ipyparallel")
