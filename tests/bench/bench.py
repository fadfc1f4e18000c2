"""The benchmarks: `./dev bench` runs all cases, `./dev bench noop latency` these; see README.md.

A case measures its contenders in turn, prints what it found, and appends one line of JSON to
$CTASK_BENCH_DIR/results.jsonl, of which report.py makes docs/performance.md.
"""
import argparse
import importlib
import json
import os
import subprocess
import time

import figures
from contenders import BYTES, Bare, Celery, Contender, Ctask, Failed, capture
from machine import QUEUE, ROOT, SCRATCH, Broker, environment

# In the order in which they are run.
CASES = ("noop", "latency", "map", "talk", "efficiency", "drain", "handles", "footprint", "children",
         "payload", "window", "load", "counts", "prices")
# What the bare pair is tried with: deliveries and confirms it has outstanding, then its pauses.
WINDOWS = [(prefetch, unconfirmed) for prefetch in (256, 1000, 4000)
           for unconfirmed in (256, 1000, 4000)]
PAUSES_US = (0, 300, 1000)


class Bench:
    """What a case is given."""

    def __init__(self, options):
        self.quick = options.quick
        self.rounds = options.rounds or (3 if options.quick else 7)
        self.seconds = 1.5 if options.quick else 3.0
        self.size = options.size
        self.out = options.out
        Contender.tries = 1 if options.quick else 2
        self.broker = Broker()
        self.broker.drop(QUEUE, Celery.queue)  # of a run that was broken off
        self.cell = None
        self.captured = None

    # ---- The pair

    def capture(self):
        """Once a run: the bytes that the bare pair sends."""
        if not self.captured:
            self.captured = capture(self.broker, BYTES, "--argument", "123456")
        return self.captured

    def best_cell(self):
        """The windows and the reading pause with which the bare pair is fastest here and today: it
        is the limit, so it is given its best."""
        if not self.cell:
            self.capture()
            self.cells = []
            prefetch, unconfirmed, _ = self.fastest([(p, u, 300) for p, u in WINDOWS])
            self.cell = self.fastest([(prefetch, unconfirmed, us) for us in PAUSES_US], orders=4)
            self.say("  bare pair at its best: prefetch %d, %d unconfirmed, pauses of %d us" %
                     self.cell)
        return self.cell

    def fastest(self, cells, orders=2):
        rates = {cell: [] for cell in cells}
        for i in range(1 if self.quick else orders):
            for cell in cells[::-1] if i % 2 else cells:
                sample = Bare(self.broker, cell).slice("--seconds", self.seconds)
                rates[cell].append(sample["rate"])
        for cell, values in rates.items():
            self.cells.append({"cell": cell, "rate": figures.median(values)})
            self.say("  bare pair, prefetch %4d, unconfirmed %4d, pause %4d us: %6.0f tasks/s" % (
                *cell, figures.median(values)))
        return max(rates, key=lambda cell: figures.median(rates[cell]))

    def bare(self, name="bare", **kwargs):
        return Bare(self.broker, self.best_cell(), name=name, **kwargs)

    def ctask(self, *args, **kwargs):
        return Ctask(self.broker, *args, **kwargs)

    # ---- Rounds

    def in_turn(self, entries, rounds=None):
        """Entries: (name, function that gives a sample). In each round all of them forward, then all
        backward; a name's sample of a round is the mean of its two. Returns {name: [sample..]}."""
        found = {name: [] for name, _ in entries}
        for _ in range(rounds or self.rounds):
            once = {name: [] for name, _ in entries}
            for name, slice_ in list(entries) + list(entries)[::-1]:
                once[name].append(slice_())
            for name, pair in once.items():
                found[name].append(mean(pair))
        return found

    # ---- What is told

    def say(self, text=""):
        print(text, flush=True)

    def record(self, case, found, raw=None):
        line = {"case": case, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": commit(), "quick": self.quick, "broker": self.broker.version,
                "machine": environment(), "slices": Contender.slices,
                "disturbed": Contender.disturbed, "found": found, "raw": raw or []}
        with open(self.out, "a") as f:
            f.write(json.dumps(line) + "\n")


def mean(samples):
    """Numbers, and dictionaries and lists of them, are averaged; the rest is the first one's."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: mean([s[key] for s in samples]) for key in first}
    if isinstance(first, list):
        return [mean(list(values)) for values in zip(*samples)]
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return sum(samples) / len(samples)
    return first


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "?"


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all; `list` lists them")
    parser.add_argument("--quick", action="store_true", help="a look: shorter slices, 3 rounds")
    parser.add_argument("--rounds", type=int, help="of contenders in turn (7)")
    parser.add_argument("--size", type=int, help="tasks in the cases drain, handles and map (10^6)")
    parser.add_argument("--out", default=os.path.join(SCRATCH, "results.jsonl"))
    options = parser.parse_args()
    modules = {name: importlib.import_module("cases." + name) for name in CASES}
    if "list" in options.cases:
        for name in CASES:
            print("%-11s %s" % (name, modules[name].TITLE))
        return
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error("no such case: %s (`./dev bench list`)" % ", ".join(sorted(unknown)))
    os.makedirs(SCRATCH, exist_ok=True)
    os.makedirs(os.path.dirname(os.path.abspath(options.out)), exist_ok=True)
    bench = Bench(options)
    failed = []
    for name in options.cases or CASES:
        began = time.monotonic()
        Contender.slices = Contender.disturbed = 0
        bench.say("%s: %s" % (name, modules[name].TITLE))
        try:
            modules[name].run(bench)
        except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as e:
            failed.append(name)
            bench.say("  FAILED: %s" % e)
        bench.say("  (%.0f s; of %d slices %d were disturbed by other programs)\n" % (
            time.monotonic() - began, Contender.slices, Contender.disturbed))
    if failed:
        raise SystemExit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
