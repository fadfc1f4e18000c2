"""How long a task has to be for two children to be of use: work of so many microseconds each, and
how much of both cores went into it, whatever else (the broker) needs of them."""
import math

import figures
from contenders import (Celery, Executor, Parallel, Pool, celery_missing,
                        parallel_missing)

TITLE = "task length at which 2 children are 50 % and 95 % efficient"
LENGTHS_US = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
CHILDREN = 2
MOST = {"celery": 1500, "ipyparallel": 1500}
MOST_TASKS = 10000


def count(bench, contender, length):
    """As many as fill both cores for a while, so that start and end are little beside it; of tiny ones
    not more than it can do meanwhile."""
    full = CHILDREN * (0.5e6 if bench.quick else 3e6) / length
    return max(40, int(min(full, MOST.get(contender.name, MOST_TASKS))))


def curve(bench, contender):
    """Efficiency by length; the worker lives on between."""
    found = []
    contender.start()
    try:
        for length in LENGTHS_US:
            n = count(bench, contender, length)
            sample = contender.measure("handles", "--task", "bench.spin", "--argument", length,
                                       "--count", n, "--window", 1000)
            found.append(n * length / 1e6 / (CHILDREN * sample["seconds"]))
    except BaseException:
        contender.abandon()
        raise
    contender.stop()
    return found


def length_at(efficiencies, share):
    """Where the curve crosses a share, between two lengths on a scale of powers; None: it does not.
    From above, so that a lucky slice of short tasks does not count."""
    crossing = None
    points = list(zip(LENGTHS_US, efficiencies))
    for (t0, e0), (t1, e1) in zip(points, points[1:]):
        if e0 < share <= e1:
            part = (share - e0) / (e1 - e0)
            crossing = math.exp(math.log(t0) + part * (math.log(t1) - math.log(t0)))
    return LENGTHS_US[0] if crossing is None and efficiencies[0] >= share else crossing


def run(bench):
    kinds = {"ctask": bench.ctask, "pool": lambda: Pool(bench.broker),
             "executor": lambda: Executor(bench.broker)}
    for kind, missing in ((Parallel, parallel_missing()), (Celery, celery_missing())):
        if missing:
            bench.say("  %s is left out: %s" % (kind.name, missing))
        else:
            kinds[kind.name] = lambda kind=kind: kind(bench.broker)
    curves = {name: [] for name in kinds}
    for name in list(kinds) + ([] if bench.quick else ["executor", "ctask"]):
        curves[name].append(curve(bench, kinds[name]()))
    rows = []
    for name, of in curves.items():
        middle = [figures.median(values) for values in zip(*of)]
        rows.append({"name": name, "efficiency": middle, "t50_us": length_at(middle, 0.5),
                     "t95_us": length_at(middle, 0.95)})
    bench.say("  %-9s %8s %8s   share of 2 cores at %s us" % (
        "", "50 %", "95 %", ", ".join(map(str, LENGTHS_US))))
    for r in rows:
        bench.say("  %-9s %8s %8s   %s" % (
            r["name"], *("%.0f us" % t if t else "-" for t in (r["t50_us"], r["t95_us"])),
            " ".join("%.2f" % e for e in r["efficiency"])))
    at = {r["name"]: r["t95_us"] for r in rows}
    good = at["ctask"] and (not at["executor"] or at["ctask"] <= at["executor"])
    bench.say("  ctask at 95 %% no longer than ProcessPoolExecutor: %s" % (
        "reached" if good else "missed"))
    bench.record("efficiency", {"lengths_us": LENGTHS_US, "rows": rows}, curves)
