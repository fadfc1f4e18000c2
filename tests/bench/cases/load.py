"""Latency while so many tasks a second arrive, whatever becomes of them: each is timed from when it
was due, so that a producer that falls behind does not hide it."""
import figures

TITLE = "latency percentiles against load"
SHARES = (10, 30, 50, 70, 90)
KEYS = ("p50_us", "p95_us", "p99_us", "p999_us", "max_us")


def run(bench):
    bench.best_cell()
    seconds = 1.5 if bench.quick else 3
    peak = figures.median([bench.ctask().slice("handles", "--seconds", seconds)["rate"]
                           for _ in range(2)])
    rows, raw = [], {}
    for share in SHARES:
        rate = int(peak * share / 100)
        args = ["--rate", rate, "--seconds", seconds, "--warm", rate // 2, "--window", 60000]
        samples = bench.in_turn([
            ("bare", lambda: bench.bare().slice(*args, "--latency")),
            ("ctask", lambda: bench.ctask().slice("map", *args))], rounds=1)
        rows.append({"share": share, "rate": rate,
                     **{name: {key: of[0][key] for key in KEYS} for name, of in samples.items()}})
        for name in samples:
            bench.say("  %3d %% = %6d/s %-6s p50 %7.0f  p95 %7.0f  p99 %7.0f  p99.9 %7.0f us" % (
                share, rate, name, *(rows[-1][name][key] for key in KEYS[:4])))
        raw[str(share)] = samples
    bench.record("load", {"peak": peak, "rows": rows}, raw)
