"""What can be counted and does not depend on how busy the machine is: system calls and allocations.
Each in a run of its own, since counting slows down, and what is slower does more at a time."""
import mmap
import os
import shutil
import struct

from machine import SCRATCH, TESTS
from measure import children, tree

TITLE = "system calls and allocations a task, by role"
TASKS = 50000


class Places:
    """What allocs.c writes: pid and calls of each process."""
    SIZE = 16 * 1024

    def __init__(self):
        self.path = os.path.join(SCRATCH, "allocs")
        with open(self.path, "wb") as f:
            f.truncate(self.SIZE)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), self.SIZE)
        self.env = {"LD_PRELOAD": os.path.join(TESTS, "allocs.so"), "CTASK_BENCH_ALLOCS": self.path}

    def calls(self):
        return {pid: calls for pid, calls in struct.iter_unpack("=qq", self.map[:]) if pid}


def allocations(contender, *args):
    """Between START and the end of the slice, by role."""
    places = Places()
    before, roles = {}, {}

    def at_start(producer):
        before.update(places.calls())
        roles["producer"] = [producer]
        roles["parent"] = [contender.worker.pid]
        roles["children"] = tree(contender.worker.pid)[1:]

    contender.start(env=places.env)
    try:
        sample = contender.measure(*args, env=places.env, at_start=at_start)
        after = places.calls()
    except BaseException:
        contender.abandon()
        raise
    contender.stop()
    return {role: sum(after.get(p, 0) - before.get(p, 0) for p in pids) / sample["tasks"]
            for role, pids in roles.items()}


def traced(name):
    return ["strace", "-f", "-c", "-o", os.path.join(SCRATCH, "strace." + name)]


def calls_in(name):
    """The column `calls` by system call."""
    found = {}
    with open(os.path.join(SCRATCH, "strace." + name)) as f:
        for line in f:
            words = line.split()
            if len(words) >= 5 and words[3].isdigit():
                found[words[-1]] = int(words[3])
    return found


def system_calls(contender, *args):
    """Of the whole life of both, in which so many tasks are most of it."""
    command, producer = contender.command, contender.producer
    contender.command = lambda: traced("worker") + command()
    contender.producer = lambda *a: traced("producer") + producer(*a)
    contender.main_pid = lambda: children(contender.worker.pid)[0]  # strace is deaf to signals
    contender.slice(*args)
    found = {}
    for role in ("producer", "worker"):
        calls = calls_in(role)
        most = sorted((name for name in calls if name != "total"), key=calls.get)[-4:][::-1]
        found[role] = {"all": calls["total"] / TASKS,
                       "most": {name: calls[name] / TASKS for name in most}}
    return found


def run(bench):
    bench.best_cell()
    kinds = (("ctask", bench.ctask, ["handles", "--count", TASKS]),
             ("bare", bench.bare, ["--count", TASKS]))
    found = {name: {} for name, _, _ in kinds}
    for name, kind, args in kinds:
        found[name]["allocations"] = allocations(kind(), *args)
        bench.say("  %-6s allocations: %s" % (name, ", ".join(
            "%s %.3f" % pair for pair in found[name]["allocations"].items())))
    if not shutil.which("strace"):
        bench.say("  system calls are left out: there is no strace")
    else:
        for name, kind, args in kinds:
            found[name]["system_calls"] = system_calls(kind(), *args)
            for role, of in found[name]["system_calls"].items():
                bench.say("  %-6s system calls, %s: %.3f (%s)" % (name, role, of["all"], ", ".join(
                    "%s %.3f" % pair for pair in of["most"].items())))
    bench.record("counts", found)
