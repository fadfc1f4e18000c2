"""How long no task at all ended. On a cluster beside how long the broker itself stood still for probes
that are not ctask; else without outages and alarms."""
from evidence import Times as Spans
from judge import Judge

GAP = 5.0      # seconds
BEFORE = 10.0  # a gap begins at most so long after its fault


class Gaps(Judge):
    def gaps(self):
        e = self.e
        if not e.run.get("cluster"):
            self.gap()
            return
        stood = Spans((x["begin"], x["end"]) for x in e.all("standstill") + self.starved())
        ends = sorted(t for t in e.first_ends.values() if e.faulty_from <= t < e.sent_until)
        gaps = [(begin, end) for begin, end in zip(ends, ends[1:]) if end - begin > GAP]
        own = [gap for gap in gaps if stood.outside(*gap) > GAP]
        self.figure("gap", max((b - a for a, b in zip(ends, ends[1:])), default=0.0),
                    "longest time in which no task ended, s")
        self.figure("broker_gaps", len(gaps) - len(own),
                    "gaps over %g s in which the broker itself stood still" % GAP)
        self.none_of("gaps", ["%.1f s, %s" % (end - begin, self.gap_after(begin))
                              for begin, end in own], "gaps over %g s of our own" % GAP)

    def starved(self):
        """The times in which a probe's consumer got nothing, though nothing had happened to its node."""
        return [x for x in self.e.all("starved")
                if not any(down["node"] == x["node"] and down["at"] <= x["end"] and
                           self.e.node_back(down) >= x["begin"] for down in self.e.all("node-down"))]

    def gap(self):
        e = self.e
        ends = sorted(t for t in e.first_ends.values()
                      if e.faulty_from <= t < min(e.sent_until, e.faulty_to))
        longest = max((e.bad.outside(a, b) for a, b in zip(ends, ends[1:])), default=0.0)
        demand = self.limit("gap", longest <= GAP, "<= %g" % GAP,
                            "no task ended for %.1f s" % longest)
        self.figure("gap", longest, "longest time in which no task ended, s", demand)

    def gap_after(self, at):
        before = [x for x in self.e.all("node-down", "alarm") if at - BEFORE <= x["at"] <= at]
        return "%.1f s after %s" % (at - before[-1]["at"], before[-1].get("how", "alarm")) \
            if before else "without a fault"
