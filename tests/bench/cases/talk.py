"""The talk's list of numbers: is each a prime?"""
import os

import figures
from contenders import Contender, Pool
from goals import judge
from machine import LIST, TESTS

TITLE = "the talk's list, 8 times over and once: beside two forked processes and Python's pool"


class Ideal(Contender):
    """The same function in two forked processes."""
    name = "ideal"

    def producer(self, *args):
        return [os.path.join(TESTS, "bench-ideal"), *map(str, args)]

    def roles(self, producer):
        return {"producer": [producer]}

    def stop(self):
        pass

    def abandon(self):
        pass


def run(bench):
    def times(repeat):
        return [("ideal", lambda: Ideal(bench.broker).slice(LIST, repeat, 2)),
                ("ctask", lambda: bench.ctask().slice("list", "--list", LIST, "--repeat", repeat)),
                ("ideal again", lambda: Ideal(bench.broker).slice(LIST, repeat, 2))]
    found = {}
    raw = {}
    for repeat in (8, 1):
        samples = raw["x%d" % repeat] = bench.in_turn(times(repeat), min(bench.rounds, 5))
        seconds = {name: [s["seconds"] for s in of] for name, of in samples.items()}
        found["x%d" % repeat] = {
            "seconds": {name: figures.median(of) for name, of in seconds.items()},
            "efficiency": figures.ratios(seconds["ideal"], seconds["ctask"]),
            "same": figures.ratios(seconds["ideal again"], seconds["ideal"])}
    python = [Pool(bench.broker).slice("list", "--list", LIST)
              for _ in range(1 if bench.quick else 2)]
    found["pool_seconds"] = figures.median([s["seconds"] for s in python])
    ours = [s["seconds"] for s in raw["x1"]["ctask"]]
    found["pool"] = figures.ratios([found["pool_seconds"]] * len(ours), ours)
    for name in ("x8", "x1"):
        f = found[name]
        bench.say("  %s: ideal %.3f s, ctask %.3f s; ideal to ctask %s %s; ideal to itself %s" % (
            name, f["seconds"]["ideal"], f["seconds"]["ctask"], figures.show(f["efficiency"]),
            judge("talk", f["efficiency"]) if name == "x8" else "",
            figures.show(f["same"])))
    bench.say("  x1: Python's pool %.2f s; to ctask %s %s" % (
        found["pool_seconds"], figures.show(found["pool"], "%.1f"),
        judge("pool", found["pool"])))
    raw["pool"] = python
    bench.record("talk", found, raw)
