"""What a worker needs when nothing is to be done."""
import os
import subprocess
import time

import figures
from goals import judge
from machine import URL
from measure import children, memory_kib, switches, tree

TITLE = "memory after 10,000 tasks, exec to consume-ok, wake-ups a second when idle"
STARTS = 9


def start_ms(bench):
    """From exec to the line that says that it consumes."""
    ours = bench.ctask(options=["-l", "info"])
    began = time.monotonic()
    worker = subprocess.Popen(ours.command(), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              text=True, env=dict(os.environ, CTASK_BROKER_URL=URL))
    for line in worker.stderr:
        if " ready" in line:
            break
    took = time.monotonic() - began
    worker.terminate()
    worker.communicate()
    return took * 1e3


def wakeups(pid):
    """Of a worker and its children so far: who sleeps once is woken once."""
    return sum(switches(p)[0] for p in tree(pid))


def run(bench):
    idle_s = 5 if bench.quick else 20
    ours = bench.ctask()
    ours.start()
    try:
        ours.measure("handles", "--count", 10000)
        below = children(ours.worker.pid)
        parent, child = memory_kib(ours.worker.pid), [memory_kib(p) for p in below]
        time.sleep(2)
        before = wakeups(ours.worker.pid)
        time.sleep(idle_s)
        woken = wakeups(ours.worker.pid) - before
    except BaseException:
        ours.abandon()
        raise
    ours.stop()
    bench.broker.declare(ours.queue)
    starts = [start_ms(bench) for _ in range(STARTS)]
    bench.broker.drop(ours.queue)
    found = {"parent_kib": parent, "child_kib": max(child) if all(child) else None,
             "wakeups_per_s": woken / idle_s, "start_ms": figures.median(starts), "starts": starts}
    for text, key, unit in (("PSS of the parent", "parent_kib", "KiB"),
                            ("PSS of the larger child", "child_kib", "KiB"),
                            ("exec to consume-ok, median of %d" % STARTS, "start_ms", "ms"),
                            ("wake-ups a second, idle", "wakeups_per_s", "")):
        value = found[key]
        bench.say("  %-33s %8s %-4s %s" % (text, "?" if value is None else "%.1f" % value, unit,
                                           judge(key, value)))
    bench.record("footprint", found)
