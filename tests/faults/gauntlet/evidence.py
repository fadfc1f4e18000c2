"""What the ledgers and the fault log of a run say, put together; nothing is judged here.

Memory for a million tasks is some 500 MB, so tasks are numbers and small tuples, not objects."""
import bisect
import collections
import glob
import json
import os

import ledger

# One start of a task. end: None if it did not get there. Times in seconds.
Start = collections.namedtuple("Start", "id pid worker at end flagged kind")
# Something that takes unacknowledged work away from `who` ("worker"/"child" by pid, "producer" by
# number, None: everybody), between two times.
Loss = collections.namedtuple("Loss", "what who begin end")

FOR_EVER = float("inf")
SECOND_LOOK = 25.0  # a worker that stood still may lose its connection this long after
SLACK = 0.2  # between a fault and its line in the log, on a machine that is busy


def read_starts(path):
    """All starts, each with its end. A child does one task at a time."""
    under_way = {}
    for r in ledger.read(path):
        if r.what == ledger.START:
            if r.pid in under_way:
                yield under_way[r.pid]
            under_way[r.pid] = Start(r.id, r.pid, r.group, r.at, None, r.flagged, r.kind)
        elif r.pid in under_way:
            yield under_way.pop(r.pid)._replace(end=r.at)
    yield from under_way.values()


class Times:
    """A set of intervals; tells how much of a span lies outside of them."""

    def __init__(self, intervals):
        self.begins, self.ends, self.before = [], [], []
        total = 0.0
        for begin, end in sorted(intervals):
            if self.ends and begin <= self.ends[-1]:
                total += max(0.0, end - self.ends[-1])
                self.ends[-1] = max(end, self.ends[-1])
                continue
            self.begins.append(begin)
            self.ends.append(end)
            self.before.append(total)
            total += end - begin

    def within(self, at):
        i = bisect.bisect_right(self.begins, at) - 1
        return i >= 0 and at < self.ends[i]

    def touch(self, begin, end):
        """One of them has something in common with that span."""
        i = bisect.bisect_right(self.begins, end) - 1
        return i >= 0 and self.ends[i] > begin

    def outside(self, begin, end):
        return (end - begin) - (self._until(end) - self._until(begin))

    def _until(self, at):
        i = bisect.bisect_right(self.begins, at) - 1
        return 0.0 if i < 0 else self.before[i] + min(at, self.ends[i]) - self.begins[i]


class Evidence:
    def __init__(self, directory):
        self.dir = directory
        with open(os.path.join(directory, "run.json")) as f:
            self.run = json.load(f)
        self.events = ledger.read_log(os.path.join(directory, "faults.jsonl"))
        self._read_faults()
        self._read_producers()
        self._read_tasks()
        self.dead = {}
        path = os.path.join(directory, "dead.ledger")
        if os.path.exists(path):
            self.dead = {r.id: r.type for r in ledger.read(path)}

    def all(self, *what):
        return [e for e in self.events if e["what"] in what]

    def one(self, what, default=None):
        found = self.all(what)
        return found[-1] if found else default

    # ---- The fault log

    def _spans(self, begin, end):
        """From each event of one kind to the next of the other, of the same number if they have."""
        spans = []
        for e in self.all(begin):
            after = [x["at"] for x in self.all(end)
                     if x["at"] >= e["at"] and x.get("number") == e.get("number")]
            spans.append((e["at"], after[0] if after else FOR_EVER))
        return spans

    def _read_faults(self):
        self.faulty_from = self.one("faults-begin", {"at": FOR_EVER})["at"]
        self.faulty_to = self.one("faults-end", {"at": FOR_EVER})["at"]
        self.down = Times(self._spans("broker-down", "broker-port"))
        self.bad = Times(self._spans("broker-down", "broker-port") +
                         self._spans("alarm", "alarm-over"))
        self.stopped = Times(self._spans("stop", "continue"))
        self.number_of = {e["pid"]: e["number"] for e in self.all("worker-start")}
        self.killed_producers = {e["pid"] for e in self.all("producer-kill")}
        self.gone = {e["pid"]: e["at"] for e in self.all("worker-exit")}
        self.losses = collections.defaultdict(list)  # by (what, who)
        for e in self.events:
            for loss in self._loss(e):
                self.losses[loss.what, loss.who].append(loss)

    def _loss(self, e):
        if e["what"] == "parent-kill":
            yield Loss("worker", e["pid"], e["at"], self.gone.get(e["pid"], e["at"]) + SLACK)
        elif e["what"] == "child-kill":
            yield Loss("child", e["pid"], e["at"], e["at"] + SLACK)
        elif e["what"] == "stop":
            yield Loss("worker", e["pid"], e["at"], e["at"] + e["seconds"] + SECOND_LOOK)
        elif e["what"] == "cut":
            who = e["pid"] if e["who"] == "worker" else e["number"]
            yield Loss(e["who"], who, e["at"] - SLACK, e["at"] + SLACK)
        elif e["what"] == "broker-down":
            yield Loss("all", None, e["at"], self.back(e["at"]))

    def back(self, at):
        """When the broker that went at that time took connections again."""
        return next((e["at"] for e in self.all("broker-port") if e["at"] >= at), FOR_EVER)

    def losses_of(self, start):
        """What could take this start's delivery away."""
        return (self.losses["worker", start.worker] + self.losses["child", start.pid] +
                self.losses["all", None])

    # ---- Producers

    def _read_producers(self):
        self.sends = {}        # id: (at, producer, kind)
        self.fate = {}         # id: SUCCESS, FAILURE, UNANSWERED, REFUSED
        self.failures = {}     # id: (code, type)
        self.accepted = set()  # confirmed and not returned, or answered
        self.open = {}         # id: pid, of handles without an end
        self.unasked = set()   # sent without a wish for the result
        self.took = []         # the longest calls, in seconds
        self.sent_until = FOR_EVER  # all producers were still sending
        for path in sorted(glob.glob(os.path.join(self.dir, "producer-*.ledger"))):
            last = 0.0
            for r in self._read_producer(path):
                last = r.at
            self.sent_until = min(self.sent_until, last)

    def _read_producer(self, path):
        waiting, pid = set(), None
        for r in ledger.read(path):
            if r.pid != pid:
                waiting, pid = set(), r.pid
            if r.what == ledger.SEND:
                self.sends[r.id] = (r.at, r.group, r.kind)
                if r.no_result:
                    self.unasked.add(r.id)
                yield r
            elif r.what == ledger.SENT:
                waiting.add(r.id)
                self.open[r.id] = r.pid
                self.took.append(r.took / 1e6)
            elif r.what == ledger.ACCEPTED:
                self.accepted |= waiting
                waiting.clear()
            else:
                self._end_of_handle(r, waiting)

    def _end_of_handle(self, r, waiting):
        self.fate[r.id] = r.what
        self.open.pop(r.id, None)
        if r.what == ledger.REFUSED:
            self.took.append(r.took / 1e6)
        if r.what in (ledger.REFUSED, ledger.FAILURE):
            self.failures[r.id] = (r.code, r.type)
            waiting.discard(r.id)
        if r.what == ledger.SUCCESS or (r.what == ledger.FAILURE and r.type):
            self.accepted.add(r.id)

    # ---- Tasks

    def _read_tasks(self):
        path = os.path.join(self.dir, "tasks.ledger")
        self.counts = collections.Counter()
        self.ended = set()
        self.starts = self.unfinished = 0
        unflagged = collections.Counter()
        for s in read_starts(path):
            self.counts[s.id] += 1
            self.starts += 1
            if not s.flagged:
                unflagged[s.id] += 1
            if s.end is not None:
                self.ended.add(s.id)
        self.unflagged = {task: n for task, n in unflagged.items() if n > 1}
        # Again, now that it is known which were repeated.
        self.repeated = collections.defaultdict(list)
        self.first_ends, self.worker_starts = {}, collections.defaultdict(list)
        for s in read_starts(path):
            if self.counts[s.id] > 1:
                self.repeated[s.id].append(s)
            if s.end is not None and s.end < self.first_ends.get(s.id, FOR_EVER):
                self.first_ends[s.id] = s.end
            self.worker_starts[s.worker].append(s.at)
        for starts in self.repeated.values():
            starts.sort(key=lambda s: s.at)
        for times in self.worker_starts.values():
            times.sort()
