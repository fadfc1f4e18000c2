"""The gauntlet's processes: workers and producers that are started again whenever they end, as a
supervisor of a system would do. They are killed by others (faults.py); here it is only written down
who lived when."""
import ctypes
import os
import signal
import subprocess
import threading
import time

PR_SET_PDEATHSIG = 1
RESPAWN = 0.02     # seconds, after a kill
NO_BROKER = 69     # a worker's exit status
NO_BROKER_RESPAWN = 0.2
GIVE_UP = 60
libc = ctypes.CDLL(None)


def die_with_parent():
    """In a child before its exec: nothing of a run that was killed stays behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def stat(pid):
    """(state, birth) of a process; None if there is none."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[0], fields[19]


def birth(pid):
    """Distinguishes it from a later one of the same number; None if it is gone or a zombie."""
    found = stat(pid)
    return found[1] if found and found[0] not in "ZX" else None


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []


def resources(pid):
    """Resident KiB and open descriptors."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("Rss:"))
    return {"rss": rss, "fds": len(os.listdir("/proc/%d/fd" % pid))}


class Keeper:
    """Runs a command again and again until told to stop. One thread, which is its parent."""

    def __init__(self, name, number, command, env, logs, log):
        self.name, self.number, self.command, self.env, self.log = name, number, command, env, log
        self.output = open(os.path.join(logs, "%s-%d.log" % (name, number)), "ab")
        self.process = None
        self.lock = threading.Lock()  # held while a signal is sent: the pid is not reused meanwhile
        self.keep = True
        self.done = threading.Event()
        self.status = None
        self.spared = False  # not to be killed now
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.keep:
            with self.lock:
                self.process = subprocess.Popen(
                    self.command, env=self.env, preexec_fn=die_with_parent,
                    stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)
                self.log.note(self.name + "-start", number=self.number, pid=self.process.pid)
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            with self.lock:
                self.status = self.process.wait()
            self.log.note(self.name + "-exit", number=self.number, pid=self.process.pid,
                          status=self.status)
            if self.name == "producer" and self.status == 0:
                break
            time.sleep(NO_BROKER_RESPAWN if self.status == NO_BROKER else RESPAWN)
        self.done.set()

    @property
    def pid(self):
        return self.process.pid if self.process and self.process.returncode is None else None

    def send_signal(self, number, note=None, **more):
        """Sends it if the process lives; False if not. What is noted is written before."""
        with self.lock:
            pid = self.pid
            if pid is None or birth(pid) is None:
                return False
            if note:
                self.log.note(note, number=self.number, pid=pid, children=children(pid), **more)
            os.kill(pid, number)
            return True

    def stop(self, number=signal.SIGTERM):
        """Ends it for good; returns its exit status, None if it had to be killed for that."""
        self.keep = False
        self.send_signal(number)
        if not self.done.wait(GIVE_UP):
            self.send_signal(signal.SIGKILL)
            self.done.wait()
            self.status = None
        self.output.close()
        return self.status


def left_behind(mark):
    """Processes that have `mark` in their environment: [(pid, name)]."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open("/proc/%s/environ" % name, "rb") as f:
                if mark.encode() not in f.read():
                    continue
            with open("/proc/%s/comm" % name) as f:
                found.append((int(name), f.read().strip()))
        except OSError:
            pass
    return found
