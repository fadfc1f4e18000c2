"""No-ops again, with few and with very many children."""
import figures
from goals import judge
from measure import memory_kib, tree

TITLE = "throughput and memory with 1, 2, 8, 50 and 200 children"
CHILDREN = (1, 2, 8, 50, 200)


def slice_of(bench, n, memory):
    ours = bench.ctask(children=n)

    def look(_):  # once: it is work for the kernel
        if n not in memory:
            memory[n] = sum(memory_kib(p) or 0 for p in tree(ours.worker.pid))
    return ours.slice("handles", "--seconds", bench.seconds, at_start=look)


def run(bench):
    memory = {}
    entries = [(n, lambda n=n: slice_of(bench, n, memory)) for n in CHILDREN]
    samples = bench.in_turn(entries, rounds=min(bench.rounds, 2))
    best = [max(of) for of in zip(*([s["rate"] for s in samples[n]] for n in CHILDREN))]
    rows = [{"children": n, "rate": figures.median([s["rate"] for s in samples[n]]),
             "to_best": figures.ratios([s["rate"] for s in samples[n]], best),
             "worker_us": figures.median([s["cpu_us"]["worker"] for s in samples[n]]),
             "pss_kib": memory[n]} for n in CHILDREN]
    for r in rows:
        words = judge("children", r["to_best"]) if r["children"] <= 50 else ""
        bench.say("  %4d children %9.0f tasks/s, %s of the best, worker %.1f us a task, PSS of all "
                  "%.1f MiB  %s" % (r["children"], r["rate"], figures.show(r["to_best"], "%.2f"),
                                    r["worker_us"], r["pss_kib"] / 1024, words))
    bench.record("children", {"rows": rows}, {str(n): of for n, of in samples.items()})
