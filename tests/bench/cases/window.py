"""How many tasks have to be outstanding."""
import figures

TITLE = "throughput against outstanding results"
WINDOWS = (1, 4, 16, 64, 256, 1000, 4000, 16000)


def run(bench):
    bench.best_cell()
    seconds = 1 if bench.quick else 1.5
    rows, raw = [], {}
    for window in WINDOWS:
        args = ["--window", window, "--warm", window, "--seconds", seconds]
        samples = bench.in_turn([("bare", lambda: bench.bare().slice(*args)),
                                 ("ctask", lambda: bench.ctask().slice("handles", *args))], rounds=1)
        rows.append({"window": window, **{name: of[0]["rate"] for name, of in samples.items()}})
        bench.say("  %6d outstanding: bare %7.0f, ctask %7.0f tasks/s, ratio %.3f" % (
            window, rows[-1]["bare"], rows[-1]["ctask"], rows[-1]["ctask"] / rows[-1]["bare"]))
        raw[str(window)] = samples
    bench.record("window", {"rows": rows}, raw)
