"""Judges a gauntlet by its ledgers and its fault log alone; the exit status is the verdict.

    check.py DIRECTORY [REPORT]

0: everything held. 1: something did not. 2: it cannot be judged. One line of JSON with all figures
is appended to REPORT. test_checker.py shows for each check that it can fail."""
import json
import os
import sys

import ledger
from evidence import FOR_EVER, Evidence

ACK_WITHIN = 1.0        # seconds, without those of an outage, in which a task that ended is settled
KEPT_WITHIN = 3.0       # and in which the broker has written that to its disk
RESCUE = 1.0            # until a killed worker's task starts elsewhere
CONSUMING = 5.0         # after the broker's port opened
CALL = 6.0              # publish_timeout, and one for a machine that is busy
SPEED = 0.7             # of without faults
OFFERED = 0.9           # of what is offered has to be done without faults
SETTLES = 1.0           # at the beginning of the fault-free part, not counted
RSS_GROWTH = 4096       # KiB
POISON_RUNS = 3         # its own crashes; those of its worker come on top
ETASK = -9


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def name(task):
    return "%016x" % task


class Check:
    def __init__(self, evidence):
        self.e = evidence
        self.figures = []     # (name, value, what is demanded or "")
        self.violations = []  # (check, text)
        self.values = {}
        self.times = evidence.run["times"]  # judged only in runs that are long enough for them

    def figure(self, key, value, text, demand=""):
        self.values[key] = round(value, 4) if isinstance(value, float) else value
        shown = "%.3f" % value if isinstance(value, float) else str(value)
        self.figures.append((text, shown, demand))

    def demand(self, key, good, text):
        if not good:
            self.violations.append((key, text))

    def limit(self, key, good, demand, text):
        """A demand on times or speed. Returns what the report says of it."""
        self.demand(key, good or not self.times, text)
        return demand if self.times else demand + ", not judged"

    def none_of(self, key, found, text):
        """A figure that has to be 0; some of what was found is shown."""
        found = sorted(found)
        self.figure(key, len(found), text, "0")
        shown = " ".join(name(x) if isinstance(x, int) else str(x) for x in found[:5])
        self.demand(key, not found, "%d %s: %s" % (len(found), text, shown))

    def all(self):
        self.work()
        self.lost()
        self.handles()
        self.duplicates()
        self.poison()
        self.rescue()
        self.consuming()
        self.speed()
        self.end()
        return not self.violations

    # ---- The promise

    def work(self):
        e = self.e
        self.figure("sent", len(e.sends), "ids sent")
        self.figure("accepted", len(e.accepted), "ids accepted")
        self.figure("starts", e.starts, "starts of tasks")
        share = len(e.accepted) / max(1, e.run["tasks"])
        self.demand("work", share > 0.9, "only %d of %d tasks were accepted" % (
            len(e.accepted), e.run["tasks"]))
        unknown = set(e.counts) - set(e.sends)
        self.none_of("invented", unknown, "tasks that nobody sent")

    def lost(self):
        e = self.e
        self.none_of("lost", e.accepted - e.ended - set(e.dead), "accepted tasks lost")
        answered = {task for task, fate in e.fate.items() if fate == ledger.SUCCESS}
        self.none_of("phantom", answered - e.ended - self._unasked(answered),
                     "successes of tasks that never ended")

    def _unasked(self, tasks):
        """Of those without a result, success only means that they were accepted."""
        return {task for task in tasks if task in self.e.unasked}

    def handles(self):
        e = self.e
        hung = {task for task, fate in e.fate.items() if fate == ledger.UNANSWERED}
        hung |= {task for task, pid in e.open.items() if pid not in e.killed_producers}
        self.none_of("hung", hung, "handles hung")
        codes = {}
        wrong = set()
        for task, (code, kind) in e.failures.items():
            label = "%s %d%s" % ("send" if e.fate[task] == ledger.REFUSED else "handle", code,
                                 " " + kind if kind else "")
            codes[label] = codes.get(label, 0) + 1
            if code == ETASK and e.sends[task][2] not in ledger.POISON:
                wrong.add(task)
        wrong |= {t for t, fate in e.fate.items()
                  if fate == ledger.SUCCESS and e.sends[t][2] in ledger.POISON
                  and t not in e.unasked}
        self.none_of("wrong", wrong, "handles with a wrong outcome")
        self.figure("failures", codes, "failures seen by producers")
        longest = max(e.took, default=0.0)
        demand = self.limit("call", longest <= CALL, "<= %g" % CALL,
                            "a producer's call took %.1f s" % longest)
        self.figure("call", longest, "longest call of a producer, s", demand)

    # ---- Duplicates

    def duplicates(self):
        e = self.e
        twice = e.starts - len(e.counts)
        self.figure("duplicates", twice, "starts of tasks that had started before")
        self.none_of("unflagged", e.unflagged, "tasks started twice without a flag")
        unexplained = set()
        for task, starts in e.repeated.items():
            for i in range(1, len(starts)):
                if not self.explained(task, starts, i):
                    unexplained.add(task)
        self.none_of("unexplained", unexplained, "tasks started again that no fault explains")

    def explained(self, task, starts, i):
        """One of the starts before was lost by a fault between, or the message was sent twice, or
        this one was taken from its worker, which began it before it noticed."""
        again = starts[i].at
        if starts[i].kind in ledger.POISON:
            return True
        if any(loss.begin <= starts[0].at and again <= loss.end + ACK_WITHIN
               for loss in self.e.losses_of(starts[i])):
            return True
        for s in starts[:i]:
            if any(self.at_risk(s.at, s.end, loss, again) for loss in self.e.losses_of(s)):
                return True
        sent, producer, _ = self.e.sends.get(task, (FOR_EVER, None, None))
        losses = self.e.losses["producer", producer] + self.e.losses["all", None]
        return any(self.at_risk(sent, sent, loss, again) for loss in losses)

    def at_risk(self, begin, end, loss, again):
        """It had begun, and was not yet settled for sure, when the loss came."""
        if loss.end < begin or loss.begin > again:
            return False
        if end is None or end >= loss.begin:
            return True
        within = KEPT_WITHIN if loss.what == "all" else ACK_WITHIN
        return self.e.bad.outside(end, loss.begin) <= within

    # ---- Poison

    def poison(self):
        e = self.e
        planted = {task for task, (_, _, kind) in e.sends.items() if kind in ledger.POISON}
        dead = set(e.dead)
        self.figure("poison", len(planted), "poison planted")
        self.none_of("innocent", dead - planted, "dead letters that were not planted")
        self.none_of("undead", (planted & e.accepted) - dead, "poison that is not dead")
        runs = [e.counts[task] for task in planted & dead]
        self.figure("poison_runs", [min(runs, default=0), max(runs, default=0)],
                    "starts of each poison, least and most", ">= %d" % POISON_RUNS)
        self.demand("poison_runs", min(runs, default=POISON_RUNS) >= POISON_RUNS,
                    "poison was given up after %d starts" % min(runs, default=0))

    # ---- Times

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

    # ---- What is left

    def end(self):
        e = self.e
        self.demand("done", e.one("done"), "the run did not come to its end")
        self.none_of("never", [x["text"] for x in e.all("never")], "waits that were given up")
        queues = e.one("queues", {"messages": {"?": 1}})["messages"]
        full = {q: n for q, n in queues.items()
                if n and not q.endswith(".dead") and not q.startswith("ctask.reply.")}
        self.none_of("queues", full, "queues that are not empty")
        replies = sum(q.startswith("ctask.reply.") for q in queues)
        self.figure("replies", replies, "reply queues left, at most one a killed producer",
                    "<= %d" % len(e.killed_producers))
        self.demand("replies", replies <= len(e.killed_producers), "%d reply queues left" % replies)
        self.none_of("processes", ["%s %d" % (what, pid) for pid, what in
                                   e.one("processes", {"left": [[0, "?"]]})["left"]],
                     "processes left")
        self.none_of("orphans", [p for x in e.all("orphans") for p in x["pids"]],
                     "children that outlived their parent by a second")
        connections = e.one("connections", {"count": -1})["count"]
        self.figure("connections", connections, "connections left", "0")
        self.demand("connections", connections == 0, "%d connections left" % connections)
        self.exits()
        self.resources()

    def exits(self):
        """A worker ends by a kill, with 69 while there is no broker, and with 0 when told to."""
        e = self.e
        killed = {x["pid"] for x in e.all("parent-kill", "producer-kill")}
        odd = ["%s %d: %s" % (x["what"], x["pid"], x["status"]) for x in
               e.all("worker-exit", "producer-exit")
               if x["status"] not in (0, 69) and not (x["status"] == -9 and x["pid"] in killed)]
        odd += ["worker %d left: %s" % (x["number"], x["status"]) for x in e.all("worker-left")
                if x["status"] != 0]
        self.none_of("exits", odd, "processes that ended by themselves")

    def resources(self):
        e = self.e
        fresh = [x for x in e.all("resources") if x["when"] == "fresh"]
        end = [x for x in e.all("resources") if x["when"] == "end"]
        self.demand("resources", fresh and len(end) == e.run["workers"], "not all were measured")
        if not fresh or not end:
            return
        grown = max(x["rss"] for x in end) - max(x["rss"] for x in fresh)
        fds = max(x["fds"] for x in end) - max(x["fds"] for x in fresh)
        self.figure("rss", grown, "KiB that the largest worker grew by", "<= %d" % RSS_GROWTH)
        self.figure("fds", fds, "descriptors more than at the start", "<= 0")
        self.demand("rss", grown <= RSS_GROWTH, "a worker grew by %d KiB" % grown)
        self.demand("fds", fds <= 0, "a worker has %d descriptors more" % fds)


def faults(evidence):
    """How often each happened."""
    kinds = ["parent-kill", "child-kill", "cut", "stop", "broker-down", "alarm", "producer-kill"]
    return {kind: len(evidence.all(kind)) for kind in kinds}


def print_report(evidence, check):
    run = evidence.run
    broker = evidence.one("broker", {"version": "?"})["version"]
    print("gauntlet: %d tasks, seed %d, %s queue, RabbitMQ %s, %d workers with %d children" % (
        run["tasks"], run["seed"], run["queue_type"], broker, run["workers"], run["children"]))
    print("  faults: " + ", ".join("%d %s" % (n, kind) for kind, n in faults(evidence).items()))
    for text, value, demand in check.figures:
        print("  %-52s %s%s" % (text, value, "   (%s)" % demand if demand else ""))
    for key, text in check.violations:
        print("VIOLATION %s: %s" % (key, text))
    print("verdict: " + ("FAILED" if check.violations else "passed"))


def main():
    try:
        evidence = Evidence(sys.argv[1])
    except (OSError, ValueError, KeyError) as e:
        print("cannot be judged: %r" % e)
        return 2
    check = Check(evidence)
    good = check.all()
    print_report(evidence, check)
    if len(sys.argv) > 2:
        line = dict(evidence.run, broker=evidence.one("broker", {"version": "?"})["version"],
                    faults=faults(evidence), passed=good,
                    violations=[key for key, _ in check.violations], **check.values)
        with open(sys.argv[2], "a") as f:
            f.write(json.dumps(line) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
