"""Tasks that hand back what they got, from 100 bytes to a megabyte, both ways."""
import os

import figures
from contenders import Bare, capture
from machine import SCRATCH

TITLE = "payloads of 100 bytes to 1 MB, there and back"
SIZES = (100, 1000, 10000, 100000, 1000000)
IN_FLIGHT = 32 << 20  # bytes, at most


def run(bench):
    cell = bench.best_cell()
    rows, raw = [], {}
    for size in SIZES:
        echo = ["--task", "bench.echo", "--argument", size]
        path = os.path.join(SCRATCH, "bytes.%d" % size)
        capture(bench.broker, path, *echo)
        window = max(8, min(4000, IN_FLIGHT // size))
        args = ["--window", window, "--warm", window, "--seconds", bench.seconds]

        def bare():
            pair = Bare(bench.broker, cell)
            pair.bytes = path
            return pair.slice(*args)
        samples = bench.in_turn([("bare", bare), ("ctask", lambda: bench.ctask().slice(
            "handles", *echo, *args))], rounds=1)
        rate = {name: [s["rate"] for s in of] for name, of in samples.items()}
        rows.append({"bytes": size, "window": window, "bare": figures.median(rate["bare"]),
                     "ctask": figures.median(rate["ctask"]),
                     "ratio": figures.ratios(rate["ctask"], rate["bare"]),
                     "own_cpu_us": figures.median([s["cpu_us"]["producer"] + s["cpu_us"]["worker"]
                                                   for s in samples["ctask"]])})
        r = rows[-1]
        bench.say("  %7d bytes: bare %7.0f, ctask %7.0f tasks/s = %6.1f MB/s each way; ratio %s; our "
                  "CPU %.1f us a task" % (size, r["bare"], r["ctask"], r["ctask"] * size / 1e6,
                                          figures.show(r["ratio"]), r["own_cpu_us"]))
        raw[str(size)] = samples
    bench.record("payload", {"rows": rows}, raw)
