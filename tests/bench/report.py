"""docs/performance.md and its plots, from the lines of JSON that ./dev bench left: `./dev bench report`.

Of each case the last line counts, a full run's before a quick look's. Standard library; the plots need gnuplot.
"""
import json
import os
import shutil
import subprocess
import sys

from goals import judge, told

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "../../docs")
BUILD = os.environ.get("CTASK_BUILD", os.path.join(HERE, "../../build"))
RESULTS = os.path.join(BUILD, "bench/results.jsonl")


# ---- Reading --------------------------------------------------------------------------------------

def read(path):
    """The line of each case that counts."""
    lines = {}
    with open(path) as f:
        for text in f:
            line = json.loads(text)
            before = lines.get(line["case"])
            if not before or before["quick"] or not line["quick"]:
                lines[line["case"]] = line
    return lines


# ---- Writing --------------------------------------------------------------------------------------

def number(x, digits=0):
    return "-" if x is None else "{:,.{}f}".format(x, digits)


def ratio(found, digits=2):
    """As 0.97 (0.95 to 0.99)."""
    if not found:
        return "-"
    if found["rounds"] == 1:
        return number(found["median"], digits)
    return "{0} ({1} to {2})".format(*(number(found[k], digits) for k in ("median", "low", "high")))


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def image(name, text):
    return ["![%s](performance/%s.svg)" % (text, name), ""]


# ---- Plots ----------------------------------------------------------------------------------------

STYLE = """set terminal svg size 720,400 font "sans-serif,13" background "white"
set output "%s"
set grid lc rgb "#dddddd"
set border 3
set tics nomirror
set key %s
set xlabel "%s"
set ylabel "%s"
"""
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")


def plot(name, xlabel, ylabel, curves, log="", yrange="[0:*]", key="top left", more=""):
    """curves: (title, [(x, y)..])."""
    if not shutil.which("gnuplot"):
        return
    folder = os.path.join(DOCS, "performance")
    os.makedirs(folder, exist_ok=True)
    script = STYLE % (os.path.join(folder, name + ".svg"), key, xlabel, ylabel)
    if log:
        script += "set logscale %s\n" % log
    script += "set yrange %s\n%s\n" % (yrange, more)
    for i, (_, points) in enumerate(curves):
        script += "$d%d << E\n%s\nE\n" % (i, "\n".join("%s %s" % p for p in points))
    script += "plot " + ", ".join(
        '$d%d with linespoints lw 2 pt 7 ps 0.5 lc rgb "%s" title "%s"' % (
            i, COLOURS[i % len(COLOURS)], title) for i, (title, _) in enumerate(curves)) + "\n"
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


# ---- Sections: each takes what its case found ---------------------------------------------------

def noop(f):
    yield "## No-ops"
    yield ""
    yield ("A task that returns its argument, 2 children, 4,000 outstanding. CPU in microseconds a "
           "task, by role; switches of context of our own processes.")
    yield ""
    yield from table(
        ("", "tasks/s", "producer", "worker", "broker", "switches a task"),
        [(r["name"], number(r["rate"]), *(number(r["cpu_us"].get(role), 2) for role in
                                          ("producer", "worker", "broker")),
          number(r["voluntary"] + r["involuntary"], 3)) for r in f["rows"]])
    rows = [("the bare pair to itself", ratio(f["same"], 3), ""),
            ("ctask to the bare pair", ratio(f["limit"], 3),
             told("limit", f["limit"])),
            ("broker's CPU a task to the pair's", ratio(f["broker"], 3),
             told("broker", f["broker"])),
            ("our CPU, us a task", ratio(f["own_cpu_us"]),
             told("own_cpu_us", f["own_cpu_us"]))]
    if f.get("celery"):
        rows += [("ctask to Celery, its defaults", ratio(f["celery"]),
                  told("celery", f["celery"])),
                 ("ctask to Celery, tuned", ratio(f["celery_tuned"]), "")]
    yield from table(("ratio", "median of rounds (95 % interval)", "goal"), rows)
    yield ("The pair is fastest here with prefetch %d, %d unconfirmed tasks at a time and a reading "
           "pause of %d us. ctask's task is "
           "%d bytes of properties and %d of body, its result %d and %d." % (
               *f["cell"], *(f["captured"][k] for k in ("task_props", "task_body", "result_props",
                                                        "result_body"))))
    yield ""


def latency(f):
    yield "## One outstanding"
    yield ""
    yield from table(("us", "p50", "p95", "p99", "p99.9"),
                     [(r["name"], *(number(r[k]) for k in ("p50_us", "p95_us", "p99_us", "p999_us")))
                      for r in f["rows"]])
    rows = [("the bare pair to itself, p50", ratio(f["same_p50"]), ""),
            ("the bare pair to itself, p99", ratio(f["same_p99"]), ""),
            ("ctask to the bare pair, p50", ratio(f["p50"]),
             told("p50", f["p50"])),
            ("ctask to the bare pair, p99", ratio(f["p99"]),
             told("p99", f["p99"]))]
    if f.get("celery_p50"):
        rows.append(("ctask to Celery, p50", ratio(f["celery_p50"], 3),
                     told("celery_p50", f["celery_p50"])))
    yield from table(("ratio", "median of rounds (95 % interval)", "goal"), rows)


def load(f):
    yield "## Latency under load"
    yield ""
    yield ("Tasks at fixed times, at so much of %s a second, which is what ctask did just before. From "
           "when a task was due to its value." % number(f["peak"]))
    yield ""
    yield from table(("load", "", "p50 us", "p95", "p99", "p99.9"),
                     [("%d %%" % r["share"], who, *(number(r[who][k]) for k in (
                         "p50_us", "p95_us", "p99_us", "p999_us")))
                      for r in f["rows"] for who in ("ctask", "bare")])
    yield from image("load", "latency percentiles against load")
    plot("load", "load, % of ctask's most", "latency, us",
         [("%s %s" % (who, name), [(r["share"], r[who][key]) for r in f["rows"]])
          for who in ("ctask", "bare") for name, key in (("p50", "p50_us"), ("p99", "p99_us"),
                                                         ("p99.9", "p999_us"))],
         log="y", yrange="[*:*]", more='set format y "10^{%L}"')


def map_(f):
    yield "## Maps"
    yield ""
    yield ("`task_map` over %s no-op items: %s items/s (%s), %s us of the "
           "producer's CPU an item; the producer's largest size was %s MiB, of which the two arrays "
           "are %s." % (number(f["items"]), ratio(f["rate"], 0), told("map", f["rate"]),
                        number(f["own_cpu_us"], 2), number(f["max_rss_kib"] / 1024, 1),
                        number(f["items"] * 16 / 2 ** 20, 1)))
    yield ""


def talk(f):
    yield "## The talk's list"
    yield ""
    yield ("The same C function in two forked processes that share the list is what two cores can do; "
           "the last column is Python's function in `multiprocessing.Pool(2)`.")
    yield ""
    rows = []
    for name, text in (("x8", "8 times over"), ("x1", "once")):
        of = f[name]
        rows.append((text, number(of["seconds"]["ideal"], 3), number(of["seconds"]["ctask"], 3),
                     ratio(of["efficiency"], 3), ratio(of["same"], 3),
                     number(f["pool_seconds"], 2) if name == "x1" else ""))
    yield from table(("", "ideal, s", "ctask, s", "ideal to ctask", "ideal to itself",
                      "Python's pool, s"), rows)
    yield ("Goals: of the ideal for 8 times %s; times as fast as Python's pool %s (%s)." % (
        told("talk", f["x8"]["efficiency"]), told("pool", f["pool"]), ratio(f["pool"], 1)))
    yield ""


def efficiency(f):
    yield "## How long a task has to be"
    yield ""
    yield ("Work of so many microseconds each on 2 children; how much of both cores goes into it, "
           "with whatever else the contender needs of them, the broker included.")
    yield ""

    def length(us):
        return "-" if us is None else number(us / 1000, 2) + " ms"
    yield from table(("", "50 % efficient from", "95 %"),
                     [(r["name"], length(r["t50_us"]), length(r["t95_us"])) for r in f["rows"]])
    at = {r["name"]: r["t95_us"] for r in f["rows"]}
    reached = at["ctask"] and at["executor"] and at["ctask"] <= at["executor"]
    yield ("Goal: 95 %% no later than ProcessPoolExecutor: %s." % ("reached" if reached else "missed"))
    yield ""
    yield from image("efficiency", "efficiency against task length")
    plot("efficiency", "task length, us", "share of 2 cores",
         [(r["name"], list(zip(f["lengths_us"], r["efficiency"]))) for r in f["rows"]],
         log="x", yrange="[0:1.05]", key="bottom right")


def drain(f):
    yield "## A full queue"
    yield ""
    yield ("%s tasks whose results nobody wants; the bare consumer acknowledges what it reads and "
           "does nothing else." % number(f["tasks"]))
    yield ""
    yield from table(("", "tasks/s", "worker, us a task", "broker", "parent's RSS at first, KiB",
                      "in the end"),
                     [(r["name"], number(r["rate"]), number(r["cpu_us"]["worker"], 2),
                       number(r["cpu_us"]["broker"], 2), number(r["rss_first_kib"]),
                       number(r["rss_last_kib"])) for r in f["rows"]])
    yield "ctask to the bare consumer: %s (%s)." % (ratio(f["limit"]), told("drain", f["limit"]))
    yield ""
    yield from image("depth", "rate against queue depth")
    plot("depth", "messages left in the queue", "tasks/s",
         [(r["name"], slopes(r["curve"])) for r in f["rows"]], key="bottom right")


def slopes(curve):
    """Tasks a second in each tenth of the way down."""
    found, n = [], curve[0][1]
    start = curve[0]
    for t, left in curve[1:]:
        if start[1] - left >= n / 12 and t > start[0]:
            found.append(((start[1] + left) / 2, (start[1] - left) / (t - start[0])))
            start = (t, left)
    return found


def handles(f):
    yield "## Outstanding handles"
    yield ""
    yield from table(("handles", "heap, bytes each", "resident", "CPU of a get, us"),
                     [(number(r["handles"]), number(r["heap_bytes_each"]),
                       number(r["rss_bytes_each"]), number(r["own_cpu_us"], 2)) for r in f["rows"]])
    yield "Goal, of heap with the most of them: %s." % told("handle_bytes",
                                                            f["rows"][-1]["heap_bytes_each"])
    yield ""


def window(f):
    yield "## Outstanding results"
    yield ""
    yield from table(("outstanding", "bare, tasks/s", "ctask, tasks/s", "ratio"),
                     [(number(r["window"]), number(r["bare"]), number(r["ctask"]),
                       number(r["ctask"] / r["bare"], 2)) for r in f["rows"]])
    yield from image("window", "throughput against outstanding results")
    plot("window", "outstanding results", "tasks/s",
         [(who, [(r["window"], r[who]) for r in f["rows"]]) for who in ("bare", "ctask")], log="x")


def children(f):
    yield "## Children"
    yield ""
    yield from table(("children", "tasks/s", "of the best", "worker's CPU, us a task",
                      "PSS of all, MiB"),
                     [(r["children"], number(r["rate"]), ratio(r["to_best"]),
                       number(r["worker_us"], 1), number(r["pss_kib"] / 1024, 1))
                      for r in f["rows"]])
    yield from image("children", "throughput against children")
    plot("children", "children", "tasks/s",
         [("ctask", [(r["children"], r["rate"]) for r in f["rows"]])], log="x", key="off")


def payload(f):
    yield "## Payload"
    yield ""
    yield "Tasks that return the text that they were given."
    yield ""
    yield from table(("bytes", "outstanding", "bare, tasks/s", "ctask, tasks/s",
                      "ctask, MB/s each way", "ratio"),
                     [(number(r["bytes"]), number(r["window"]), number(r["bare"]),
                       number(r["ctask"]), number(r["ctask"] * r["bytes"] / 1e6, 1),
                       ratio(r["ratio"])) for r in f["rows"]])
    yield from image("payload", "throughput against payload")
    plot("payload", "payload, bytes", "tasks/s",
         [(who, [(r["bytes"], r[who]) for r in f["rows"]]) for who in ("bare", "ctask")],
         log="xy", yrange="[*:*]", key="bottom left", more='set format x "10^{%L}"')


def footprint(f):
    yield "## Footprint"
    yield ""
    yield from table(("", "found", "goal"), [
        (text, number(f[key], digits), told(key, f[key])) for text, key, digits in (
            ("PSS of the parent after 10,000 tasks, KiB", "parent_kib", 0),
            ("PSS of the larger child, KiB", "child_kib", 0),
            ("exec to consume-ok, median of 9, ms", "start_ms", 1),
            ("wake-ups a second of an idle worker", "wakeups_per_s", 2))])


def counts(f):
    yield "## Counted"
    yield ""
    yield "A task; system calls under `strace`, where batches are larger than else."
    yield ""
    rows = []
    for name, of in f.items():
        rows += [(name, "allocations", role, number(n, 3), "") for role, n in
                 of["allocations"].items()]
        rows += [(name, "system calls", role, number(c["all"], 3),
                  ", ".join("%s %.3f" % pair for pair in c["most"].items()))
                 for role, c in of.get("system_calls", {}).items()]
    yield from table(("", "", "role", "a task", "of which"), rows)


def prices(f):
    yield "## What safety costs"
    yield ""
    yield ("The bare pair without one of its guarantees, with as many tasks outstanding as its best "
           "has unconfirmed.")
    yield ""
    yield from table(("without", "tasks/s", "to all of them", "broker, us a task"),
                     [("none left out" if r["without"] == "all guarantees" else
                       "none left out, again" if r["without"] == "again" else r["without"],
                       number(r["rate"]), ratio(r["ratio"]), number(r["broker_us"], 1))
                      for r in f["rows"]])


SECTIONS = (("noop", noop), ("latency", latency), ("load", load), ("map", map_), ("talk", talk),
            ("efficiency", efficiency), ("drain", drain), ("handles", handles), ("window", window),
            ("children", children), ("payload", payload), ("footprint", footprint),
            ("counts", counts), ("prices", prices))


def page(lines):
    one = next(iter(lines.values()))
    machine = one["machine"]
    yield "# Performance"
    yield ""
    yield ("What `./dev bench` found with RabbitMQ %s beside the clients on %d cores (%s). "
           "[tests/bench/README.md](../tests/bench/README.md) says how it is measured and what the "
           "bare pair is; rates hold for that machine, ratios rather more widely. `./dev bench "
           "report` makes this page." % (one["broker"], machine["cores"], machine["cpu"].strip()))
    yield ""
    runs = sorted({(line["at"][:10], line["commit"]) for line in lines.values()})
    yield "Measured: %s." % ", ".join("%s at %s" % run for run in runs)
    missing = [name for name, _ in SECTIONS if name not in lines]
    if missing:
        yield "Not measured: %s." % ", ".join(missing)
    yield ""
    slices, disturbed = (sum(line.get(k, 0) for line in lines.values())
                         for k in ("slices", "disturbed"))
    yield ("In %d of %d slices other programs had more than 5 %% of the machine; read figures with "
           "their spread." % (disturbed, slices))
    yield ""
    if any(line["quick"] for line in lines.values()):
        yield "From quick looks: %s." % ", ".join(n for n, l in lines.items() if l["quick"])
        yield ""
    for name, section in SECTIONS:
        if name in lines:
            yield from section(lines[name]["found"])


def main():
    lines = read(sys.argv[1] if len(sys.argv) > 1 else RESULTS)
    if not shutil.which("gnuplot"):
        print("no gnuplot: the plots stay as they are (./dev packages bench)", file=sys.stderr)
    text = "\n".join(page(lines)).rstrip() + "\n"
    with open(os.path.join(DOCS, "performance.md"), "w") as f:
        f.write(text)
    print("docs/performance.md: %s" % ", ".join(name for name, _ in SECTIONS if name in lines))


if __name__ == "__main__":
    main()
