"""How long things took: rescues, the way back to the broker, tasks a second. Judged only in runs that
are long enough for it."""
from evidence import FOR_EVER
from judge import Judge, percentile
import ledger

RESCUE = 1.0            # seconds until a killed worker's task starts elsewhere
CONSUMING = 5.0         # after the broker's port opened
SPEED = 0.7             # of without faults
OFFERED = 0.9           # of what is offered has to be done without faults
SETTLES = 1.0           # at the beginning of the fault-free part, not counted


class Times(Judge):
    def rescue(self):
        """From the kill of a parent to the next start of what it ran; if another parent was killed
        before that, which may have had it next, from that kill. Not judged where the broker was down
        or in alarm, or a worker stood still that may have got it. The longest is judged where no
        other parent was killed within that second."""
        e = self.e
        kills = {x["pid"]: x["at"] for x in e.all("parent-kill")}
        times = sorted(kills.values())
        every, alone = [], []
        for starts in e.repeated.values():
            for s, after in zip(starts, starts[1:]):
                at = kills.get(s.worker)
                if e.number_of.get(s.worker) == e.run["workers"]:
                    continue  # it has a queue of its own, and leases
                if at is None or not s.at <= at <= (s.end or FOR_EVER) or after.at < at:
                    continue
                if s.kind in ledger.POISON or any(x.begin <= at for x in e.losses["child", s.pid]):
                    continue  # its child was gone before: a copy of it waits at the queue's end
                if e.bad.touch(at, at + RESCUE) or e.stopped.touch(at, at + RESCUE):
                    continue
                every.append(after.at - max(t for t in times if at <= t <= after.at))
                if not any(at < t <= at + RESCUE for t in times):
                    alone.append(after.at - at)
        self.figure("rescues", len(every), "rescues measured (undisturbed: %d)" % len(alone))
        p99, worst = percentile(every, 0.99), max(alone, default=0.0)
        self.figure("rescue_p50", percentile(every, 0.5), "rescue after a killed parent, p50, s")
        demand = self.limit("rescue", p99 <= RESCUE and worst <= RESCUE, "<= %g" % RESCUE,
                            "a rescue took %.2f s (p99 %.2f s)" % (worst, p99))
        self.figure("rescue_p99", p99, "rescue after a killed parent, p99, s", demand)
        self.figure("rescue_max", worst, "rescue, longest undisturbed, s", demand)

    def consuming(self):
        """From the opening of the broker's port to the first start in each place of a worker that
        nothing else happened to meanwhile."""
        e, waits = self.e, []
        for port in [x["at"] for x in e.all("broker-port")]:
            for number in range(e.run["workers"]):
                first = self.first_start(number, port)
                trouble = self.first_trouble(number, port)
                if first < trouble:
                    waits.append(first - port)
                elif min(trouble, e.sent_until) - port > CONSUMING:
                    waits.append(min(trouble, e.sent_until) - port)
        p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
        self.figure("restarts", len(e.all("broker-down")), "restarts of the broker")
        self.figure("consuming_p50", p50, "consuming after its port opened, p50, s")
        demand = self.limit("consuming", p99 <= CONSUMING, "<= %g" % CONSUMING,
                            "consuming took %.2f s (p99)" % p99)
        self.figure("consuming_p99", p99, "consuming after its port opened, p99, s", demand)

    def first_start(self, number, after):
        found = [next((t for t in times if t > after), FOR_EVER)
                 for pid, times in self.e.worker_starts.items()
                 if self.e.number_of.get(pid) == number]
        return min(found, default=FOR_EVER)

    def first_trouble(self, number, after):
        """The next kill or stop there, the time itself if it stands still, or the broker's next."""
        e = self.e
        found = [x["at"] for x in e.all("parent-kill", "stop")
                 if x["number"] == number and x["at"] > after]
        found += [x["at"] for x in e.all("broker-down", "alarm") if x["at"] > after]
        for x in e.all("stop"):
            if x["number"] == number and x["at"] <= after <= x["at"] + x["seconds"]:
                found.append(after)
        return min(found, default=FOR_EVER)

    def speed(self):
        e = self.e
        ends = sorted(e.first_ends.values())
        if not ends:
            return
        begin, until = ends[0] + SETTLES, min(e.sent_until, e.faulty_to)
        calm = [t for t in ends if begin <= t < e.faulty_from]
        hard = [t for t in ends if e.faulty_from <= t < until and not e.bad.within(t)]
        rate = len(calm) / max(1e-9, e.faulty_from - begin)
        good = e.bad.outside(e.faulty_from, until) if until > e.faulty_from else 0.0
        under = len(hard) / good if good > 0 else 0.0
        demand = self.limit("machine", rate >= OFFERED * e.run["rate"],
                            ">= %g" % (OFFERED * e.run["rate"]),
                            "too slow a machine, or too busy, to judge times: %.0f tasks a second "
                            "without faults, %d offered" % (rate, e.run["rate"]))
        self.figure("rate_calm", rate, "tasks a second without faults", demand)
        self.figure("rate_faults", under, "tasks a second under faults, broker up, no alarm")
        demand = self.limit("speed", under >= SPEED * rate, ">= %g" % SPEED,
                            "%.0f tasks a second under faults, %.0f without" % (under, rate))
        self.figure("speed", under / max(rate, 1e-9), "of without faults", demand)
