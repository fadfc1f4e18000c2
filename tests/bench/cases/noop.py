"""Nothing to do, with a result, 4,000 outstanding, two children: the overhead as a number."""
import figures
from contenders import (Celery, CeleryTuned, Executor, Gearman, Pool, celery_missing,
                        gearman_missing)
from goals import GOALS, judge

TITLE = "no-ops with results, 2 children: throughput, CPU and context switches by role"
ROLES = ("producer", "worker", "broker")


def contenders(bench):
    """Name and slice. The pair twice: what differs between the two is what a run cannot tell."""
    seconds = ["--seconds", bench.seconds]
    entries = [("bare", lambda: bench.bare().slice(*seconds)),
               ("ctask", lambda: bench.ctask().slice("handles", *seconds)),
               ("bare again", lambda: bench.bare().slice(*seconds))]
    return entries


def others(bench):
    """Slower ones and those of another kind: once in every second round."""
    args = ["handles", "--seconds", bench.seconds]
    entries = [(kind.name, lambda kind=kind: kind(bench.broker).slice(*args, "--window", "4000"))
               for kind in (Pool, Executor)]
    missing = gearman_missing()
    if missing:
        bench.say("  gearmand is left out: " + missing)
    else:
        entries.append((Gearman.name, lambda: Gearman(bench.broker).slice("handles", 4000,
                                                                          bench.seconds)))
    missing = celery_missing()
    if missing:
        bench.say("  Celery is left out: " + missing)
    else:
        entries += [(kind.name, lambda kind=kind: kind(bench.broker).slice(*args))
                    for kind in (Celery, CeleryTuned)]
    return entries


def cpu_of(sample):
    return sum(us for role, us in sample["cpu_us"].items() if role != "broker")


def row(name, samples):
    middle = {role: figures.median([s["cpu_us"].get(role) for s in samples]) for role in ROLES}
    switched = [figures.median([sum(pair[i] for role, pair in s["switches"].items()
                                    if role != "broker") for s in samples]) for i in (0, 1)]
    return {"name": name, "rate": figures.median([s["rate"] for s in samples]),
            "cpu_us": middle, "own_cpu_us": figures.median([cpu_of(s) for s in samples]),
            "voluntary": switched[0], "involuntary": switched[1],
            "used": figures.median([s["used"] for s in samples]),
            "foreign": figures.median([s["foreign"] for s in samples]),
            "stolen": figures.median([s["stolen"] for s in samples])}


def run(bench):
    bench.best_cell()
    core, rest = contenders(bench), others(bench)
    samples = {name: [] for name, _ in core + rest}
    for i in range(bench.rounds):
        for name, found in bench.in_turn(core, rounds=1).items():
            samples[name] += found
        for name, slice_ in rest if i % 2 == 0 else ():  # nothing near a bound hangs on them
            samples[name].append(slice_())
    ours = [s["rate"] for s in samples["ctask"]][::2]  # the rounds in which these are measured
    rows = [row(name, found) for name, found in samples.items()]
    rate = {name: [s["rate"] for s in found] for name, found in samples.items()}
    same = figures.ratios(rate["bare again"], rate["bare"])
    limit = figures.ratios(rate["ctask"], rate["bare"])
    broker = figures.ratios([s["cpu_us"]["broker"] for s in samples["ctask"]],
                            [s["cpu_us"]["broker"] for s in samples["bare"]])
    own = figures.spread([cpu_of(s) for s in samples["ctask"]])
    found = {"rows": rows, "same": same, "resolution": figures.resolution(same), "limit": limit,
             "broker": broker, "own_cpu_us": own, "cell": bench.cell, "cells": bench.cells,
             "celery": figures.ratios(ours, rate.get("celery", [])),
             "celery_tuned": figures.ratios(ours, rate.get("celery-tuned", [])),
             "captured": bench.captured}
    tell(bench, found)
    bench.record("noop", found, {name: s for name, s in samples.items()})


def tell(bench, found):
    bench.say("  %-13s %9s %9s %9s %9s   %s" % ("", "tasks/s", "producer", "worker", "broker",
                                                "switches a task; cores in use, by others"))
    for r in found["rows"]:
        cells = [r["cpu_us"][role] for role in ROLES]
        bench.say("  %-13s %9.0f %s   %.3f + %.3f; %3.0f %%, %.1f %%" % (
            r["name"], r["rate"], " ".join("%9.2f" % c if c is not None else "%9s" % "-"
                                           for c in cells),
            r["voluntary"], r["involuntary"], 100 * r["used"], 100 * r["foreign"]))
    bench.say("  (producer, worker, broker: CPU in us a task)")
    bench.say("  the pair to itself          %s" % figures.show(found["same"]))
    for text, key in (("ctask to the bare pair", "limit"), ("ctask to Celery", "celery"),
                      ("ctask to Celery, tuned", "celery_tuned"),
                      ("broker's CPU to the pair's", "broker"),
                      ("our CPU, us a task", "own_cpu_us")):
        words = judge(key, found[key]) if key in GOALS else ""
        bench.say("  %-27s %s  %s" % (text, figures.show(found[key]), words))
