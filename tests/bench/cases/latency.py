"""One task outstanding: from the call to the value."""
import figures
from contenders import Bare, Celery, Executor, Gearman, Pool, celery_missing, gearman_missing
from goals import GOALS, judge

TITLE = "one outstanding: round trip, p50 and p99"


def run(bench):
    seconds = 1 if bench.quick else 1.5
    warm = ["--seconds", seconds, "--warm", 200]
    alone = ["--window", 1, "--latency"]

    def bare():  # with one outstanding neither prefetch nor pause matter
        return Bare(bench.broker).slice(*warm, *alone)
    core = [("bare", bare), ("ctask", lambda: bench.ctask().slice("alone", *warm)),
            ("bare again", bare)]
    rest = [(kind.name, lambda kind=kind: kind(bench.broker).slice("alone", *warm))
            for kind in (Pool, Executor) + (() if celery_missing() else (Celery,))]
    if not gearman_missing():
        rest.append((Gearman.name, lambda: Gearman(bench.broker).slice("alone", 200, seconds)))
    samples = {name: [] for name, _ in core + rest}
    bench.capture()
    for _ in range(bench.rounds):
        for name, found in bench.in_turn(core, rounds=1).items():
            samples[name] += found
        for name, slice_ in rest:
            samples[name].append(slice_())
    rows = [{"name": name, **{key: figures.median([s[key] for s in found])
                              for key in ("p50_us", "p95_us", "p99_us", "p999_us", "max_us")}}
            for name, found in samples.items()]

    def ratio(key, above, below):
        return figures.ratios([s[key] for s in samples[above]], [s[key] for s in samples[below]])
    found = {"rows": rows, "p50": ratio("p50_us", "ctask", "bare"),
             "p99": ratio("p99_us", "ctask", "bare"),
             "same_p50": ratio("p50_us", "bare again", "bare"),
             "same_p99": ratio("p99_us", "bare again", "bare")}
    if "celery" in samples:
        found["celery_p50"] = ratio("p50_us", "ctask", "celery")
    bench.say("  %-11s %9s %9s %9s %9s %9s  us" % ("", "p50", "p95", "p99", "p99.9", "max"))
    for r in rows:
        bench.say("  %-11s %9.0f %9.0f %9.0f %9.0f %9.0f" % tuple(r.values()))
    for text, key in (("the pair to itself, p50", "same_p50"),
                      ("the pair to itself, p99", "same_p99"), ("ctask to the pair, p50", "p50"),
                      ("ctask to the pair, p99", "p99"), ("ctask to Celery, p50", "celery_p50")):
        if key in found:
            bench.say("  %-25s %s  %s" % (text, figures.show(found[key]),
                      judge(key, found[key]) if key in GOALS else ""))
    bench.record("latency", found, samples)
