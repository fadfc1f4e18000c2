"""A million handles whose results are not there yet; then each is asked for, in no order at all."""
import figures
from goals import told

TITLE = "a million outstanding handles: bytes each, cost of a get"


def hoard(bench, n):
    """All are sent before there is a worker."""
    ours = bench.ctask()
    sent = {}

    def go(process, said):
        sent.update(said)
        ours.start()
        process.stdin.write("\n")
        process.stdin.flush()

    bench.broker.declare(ours.queue)
    try:
        sample = ours.measure("hoard", "--count", n, at_sent=go)
    except BaseException:
        ours.abandon()
        raise
    ours.stop()
    return dict(sample, heap_bytes_each=sent["heap_bytes_each"],
                rss_bytes_each=sent["rss_bytes_each"], sending_s=sent["seconds"])


def run(bench):
    many = bench.size or (100000 if bench.quick else 1000000)
    sizes = [n for n in (1000, 10000) if n < many] + [many]
    samples = {n: [hoard(bench, n) for _ in range(1 if n == many else 3)] for n in sizes}
    rows = [{"handles": n, **{key: figures.median([s[key] for s in of]) for key in
                              ("heap_bytes_each", "rss_bytes_each", "own_cpu_us", "rate")}}
            for n, of in samples.items()]
    for r in rows:
        bench.say("  %8d handles: %.0f bytes of heap each (%.0f resident); a get costs %.2f us of "
                  "CPU, %.0f a second" % tuple(r.values()))
    most = rows[-1]
    bench.say("  bytes each %s" % told("handle_bytes", most["heap_bytes_each"]))
    few = rows[-2]
    bench.say("  a get among %d costs %.2f of one among %d" % (
        many, most["own_cpu_us"] / few["own_cpu_us"], few["handles"]))
    bench.record("handles", {"rows": rows}, {str(n): of for n, of in samples.items()})
