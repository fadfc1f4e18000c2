"""What safety costs: the bare pair without one of its guarantees, then without all of them."""
import figures

TITLE = "the bare pair without each guarantee: the price list of safety"
WITHOUT = (("tasks written to be kept", ["transient-tasks"]),
           ("results written to be kept", ["transient-results"]),
           ("confirmed tasks", ["no-confirms-tasks"]),
           ("confirmed results", ["no-confirms-results"]),
           ("ack after the result's confirm", ["early-ack"]),
           ("mandatory", ["not-mandatory"]))
ALL = [flag for _, flags in WITHOUT for flag in flags]


def run(bench):
    # Without confirms nothing but the window bounds what is in the broker, so it is the same for all.
    seconds = ["--seconds", bench.seconds, "--window", bench.best_cell()[1]]
    entries = [("all guarantees", lambda: bench.bare().slice(*seconds))]
    entries += [(name, lambda flags=flags: bench.bare(without=flags).slice(*seconds))
                for name, flags in WITHOUT + (("any of them", ALL),)]
    entries.append(("again", entries[0][1]))
    samples = bench.in_turn(entries, rounds=1)
    base = [s["rate"] for s in samples["all guarantees"]]
    rows = [{"without": name, "rate": figures.median([s["rate"] for s in of]),
             "ratio": figures.ratios([s["rate"] for s in of], base),
             "broker_us": figures.median([s["cpu_us"]["broker"] for s in of])}
            for name, of in samples.items()]
    for r in rows:
        word = "" if r["without"] in ("all guarantees", "again") else "without "
        bench.say("  %-42s %8.0f tasks/s  %s  broker %.1f us" % (
            word + r["without"], r["rate"], figures.show(r["ratio"]), r["broker_us"]))
    bench.record("prices", {"rows": rows}, samples)
