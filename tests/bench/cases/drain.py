"""A worker comes to a queue that is full. Nobody wants results, so it is about taking and settling:
the bare consumer acknowledges what it reads and does nothing else."""
import json
import re
import signal
import time

import figures
from contenders import Failed, note
from goals import judge
from machine import QUEUE, until
from measure import Snapshot, memory_kib, tree

TITLE = "a queue of a million drained: rate beside the bare consumer's, memory"


def fill(bench, n):
    """ctask's own producer does it."""
    ours = bench.ctask()
    ours.broker.declare(QUEUE)
    ours.measure("send", "--count", n, "--no-result")
    until("all are in the queue", lambda: bench.broker.look(QUEUE)[0] == n)


def drain(bench, contender, n):
    """Starts the worker, watches the queue until nothing is left in it."""
    began = time.monotonic()
    contender.start()
    pid = contender.worker.pid
    roles = {"worker": tree(pid), "broker": [bench.broker.pid]}
    before = Snapshot(roles)
    curve, memory = [(0.0, n)], []
    left = n
    while left > 0:
        time.sleep(0.05)
        left = bench.broker.look(QUEUE)[0]
        curve.append((time.monotonic() - began, left))
        memory.append(memory_kib(pid, "Rss"))
        if contender.worker.poll() is not None:
            raise Failed("%s: the worker ended" % contender.name)
    cost = Snapshot(roles) - before
    note(cost)
    done = counted(contender)
    contender.stop()
    if done != n:
        raise Failed("%s drained %d tasks of %d" % (contender.name, done, n))
    return {"rate": n / curve[-1][0], "curve": thin(curve, 100), "rss_kib": thin(memory, 20),
            "cpu_us": {role: s / n * 1e6 for role, s in cost["cpu"].items()}}


def counted(contender):
    """How many tasks the worker says it did; waits until it has done what it had taken."""
    if contender.name == "ctask":
        last = -1
        while True:
            contender.worker.send_signal(signal.SIGUSR1)
            time.sleep(0.2)
            counts = re.findall(r"succeeded (\d+)", contender.said())
            if counts and int(counts[-1]) == last:
                return last
            last = int(counts[-1]) if counts else -1
    time.sleep(0.2)
    contender.worker.stdin.close()
    contender.worker.wait(60)
    return json.loads(re.search(r"DONE (.*)", contender.said()).group(1))["acked"]


def thin(values, most):
    step = max(1, len(values) // most)
    return values[::step] + ([values[-1]] if (len(values) - 1) % step else [])


def run(bench):
    n = bench.size or (100000 if bench.quick else 1000000)
    bench.best_cell()
    samples = {"bare": [], "ctask": []}
    for name in ("bare", "ctask", "bare"):
        contender = bench.bare(without=["no-results"]) if name == "bare" else \
            bench.ctask(options=["-l", "info"])
        fill(bench, n)
        try:
            samples[name].append(drain(bench, contender, n))
        except BaseException:
            contender.abandon()
            raise
    found = {"tasks": n,
             "rows": [{"name": name, "rate": figures.median([s["rate"] for s in of]),
                       "cpu_us": of[0]["cpu_us"], "rss_first_kib": of[0]["rss_kib"][0],
                       "rss_last_kib": of[0]["rss_kib"][-1], "curve": of[0]["curve"]}
                      for name, of in samples.items()],
             "same": figures.ratios([samples["bare"][1]["rate"]], [samples["bare"][0]["rate"]]),
             "limit": figures.ratios([samples["ctask"][0]["rate"]] * 2,
                                     [s["rate"] for s in samples["bare"]])}
    for r in found["rows"]:
        bench.say("  %-6s %8.0f tasks/s; worker %.2f us, broker %.2f us a task; parent %d KiB at "
                  "first, %d KiB at the end" % (r["name"], r["rate"], r["cpu_us"]["worker"],
                                                r["cpu_us"]["broker"], r["rss_first_kib"],
                                                r["rss_last_kib"]))
    bench.say("  ctask to the bare consumer %s  %s (the consumer to itself %.3f)" % (
        figures.show(found["limit"]), judge("drain", found["limit"]),
        found["same"]["median"]))
    bench.record("drain", found, samples)
