"""task_map over plain arrays of tiny items, as its default sends them."""
import figures
from goals import judge

TITLE = "task_map over a million no-op items: items a second, memory"
PATIENCE_S = 25  # a map that would take longer gets fewer items


def run(bench):
    look = bench.ctask().slice("arrays", "--count", 20000)
    wanted = bench.size or (100000 if bench.quick else 1000000)
    n = max(20000, min(wanted, int(look["rate"] * PATIENCE_S) // 1000 * 1000))
    samples = [bench.ctask().slice("arrays", "--count", n) for _ in range(min(3, bench.rounds))]
    found = {"items": n, "wanted": wanted, "rate": figures.spread([s["rate"] for s in samples]),
             "max_rss_kib": max(s["max_rss_kib"] for s in samples),
             "own_cpu_us": figures.median([s["own_cpu_us"] for s in samples])}
    if n < wanted:
        bench.say("  %d items instead of %d: it would take too long" % (n, wanted))
    bench.say("  items/s                   %s  %s" % (
        figures.show(found["rate"], "%.0f"), judge("map", found["rate"])))
    bench.say("  producer's CPU            %.3f us an item" % found["own_cpu_us"])
    bench.say("  producer's largest size   %.1f MiB, of which %.1f are the two arrays" % (
        found["max_rss_kib"] / 1024, n * 16 / 2 ** 20))
    bench.record("map", found, samples)
