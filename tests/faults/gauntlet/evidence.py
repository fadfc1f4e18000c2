"""What the ledgers and the fault log of a run say, put together; nothing is judged here.

Memory for a million tasks is some 500 MB, so tasks are numbers and small tuples, not objects."""
import bisect
import collections
import glob
import json
import os

import ledger

# One start of a task. end: None if it did not get there, and to what: END or RETRY. wait: how long it
# asked to wait for that. Times in seconds.
Start = collections.namedtuple("Start", "id attempt pid worker at end what wait flagged kind")
Send = collections.namedtuple("Send", "at producer kind lane wait")
# How a handle ended, or a send that was refused.
Fate = collections.namedtuple("Fate", "what at code type value flagged")
# Something that takes unacknowledged work away from `who` ("worker"/"child" by pid, "producer" by
# number, None: everybody), between two times.
Loss = collections.namedtuple("Loss", "what who begin end")

FOR_EVER = float("inf")
SECOND_LOOK = 25.0  # a worker that stood still may lose its connection this long after
# How long a node's fault goes on when the node is up. TCP waits ever longer: after a cut of 40 s it sends
# again within 15. A node that stood still takes itself for the leader of its queues at first, and
# confirms nothing.
GOES_ON = {"cut": 15.0, "freeze": 5.0}
SLACK = 0.2  # between a fault and its line in the log, on a machine that is busy


def run_of(task, attempt):
    """A task that asked to run again runs anew: its runs are told apart, like tasks."""
    return task | attempt << 60


def read_starts(path):
    """All starts, each with its end. A child does one task at a time."""
    under_way = {}
    for r in ledger.read(path):
        if r.what == ledger.START:
            if r.pid in under_way:
                yield under_way[r.pid]
            under_way[r.pid] = Start(r.id, r.attempt, r.pid, r.group, r.at, None, 0, 0.0,
                                     r.flagged, r.kind)
        elif r.what != ledger.SEND and r.pid in under_way:
            yield under_way.pop(r.pid)._replace(end=r.at, what=r.what, wait=r.wait / 1000)
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
        self.alarms = [Loss("alarm", None, begin, end)
                       for begin, end in self._spans("alarm", "alarm-over")]
        self.stopped = Times(self._spans("stop", "continue"))
        self.number_of = {e["pid"]: e["number"] for e in self.all("worker-start")}
        self.killed_producers = {e["pid"] for e in self.all("producer-kill")}
        self.gone = {e["pid"]: e["at"] for e in self.all("worker-exit")}
        self.losses = collections.defaultdict(list)  # by (what, who)
        for e in self.events:
            for loss in self._loss(e):
                self.losses[loss.what, loss.who].append(loss)
        self.worker_losses = Times((loss.begin, loss.end) for losses in self.losses.values()
                                   for loss in losses if loss.what != "producer")

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
        elif e["what"] == "node-down":
            yield Loss("all", None, e["at"], self.node_back(e))
        elif e["what"] == "worker-roll":
            yield Loss("worker", e["pid"], e["at"], self.gone.get(e["pid"], e["at"]) + SLACK)
        elif e["what"] == "listener-down":
            yield Loss("all", None, e["at"], e["at"] + e["took"] + SLACK)

    def back(self, at):
        """When the broker that went at that time took connections again."""
        return next((e["at"] for e in self.all("broker-port") if e["at"] >= at), FOR_EVER)

    def node_back(self, down):
        """When the node was up and spoke to the others, and no standstill that began before was left."""
        up = next((e["at"] for e in self.all("node-up") if e["at"] >= down["at"]), FOR_EVER)
        return max([up + GOES_ON.get(down["how"], 0.0)] +
                   [e["end"] for e in self.all("standstill")
                    if e["begin"] <= up and e["end"] >= down["at"]])

    def losses_of(self, start):
        """What could take this start's delivery away."""
        return (self.losses["worker", start.worker] + self.losses["child", start.pid] +
                self.losses["all", None])

    def sources_of(self, start):
        """For each time that the message of that start was sent: when, until when it was not yet known
        to be with the broker, what could have it sent twice meanwhile, and how long it was to wait."""
        everybody = self.losses["all", None]
        if start.attempt > 0:
            return [(s.end, self.settled(s.end), self.losses_of(s), s.wait)
                    for s in self.retried[run_of(start.id, start.attempt - 1)]]
        if start.id in self.followers:
            r = self.followers[start.id]
            return [(r.at, self.settled(r.at), self.losses["worker", r.group] + everybody, 0.0)]
        if start.id in self.sends:
            sent = self.sends[start.id]
            return [(sent.at, self.confirmed(sent.producer, sent.at),
                     self.losses["producer", sent.producer] + everybody, sent.wait)]
        return []

    def confirmed(self, producer, at):
        """When the broker had confirmed all that this producer had sent by then."""
        times = self.confirms[producer]
        i = bisect.bisect_left(times, at)
        return times[i] if i < len(times) else FOR_EVER

    def settled(self, at):
        """When what the producers sent then was confirmed, and with that what a worker sent: it
        acknowledges after. While the broker is slow, or away, that takes its time."""
        times = [self.confirmed(producer, at) for producer in self.confirms]
        return max((t for t in times if t < FOR_EVER), default=at)

    # ---- Producers

    def _read_producers(self):
        self.confirms = collections.defaultdict(list)  # by producer: when it had no message under way
        self.sends = {}        # id: Send
        self.fate = {}         # id: Fate
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
        path = os.path.join(self.dir, "strangers.ledger")
        if os.path.exists(path):
            for r in ledger.read(path):
                self._read_stranger(r)

    def _read_stranger(self, r):
        if r.what == ledger.ACCEPTED:
            self.accepted.add(r.id)
        else:
            self.sends[r.id] = Send(r.at, r.group, r.kind, r.lane, 0.0)
            self.unasked.add(r.id)

    def _read_producer(self, path):
        waiting, pid = set(), None
        for r in ledger.read(path):
            if r.pid != pid:
                waiting, pid = set(), r.pid
            if r.what == ledger.SEND:
                self.sends[r.id] = Send(r.at, r.group, r.kind, r.lane, r.wait / 1000)
                if r.no_result:
                    self.unasked.add(r.id)
                yield r
            elif r.what == ledger.SENT:
                if r.lane != ledger.MAP:
                    waiting.add(r.id)
                self.open[r.id] = r.pid
                self.took.append(r.took / 1e6)
            elif r.what == ledger.ACCEPTED:
                self.confirms[r.group].append(r.at)
                self.accepted |= waiting
                waiting.clear()
            else:
                self._end_of_handle(r, waiting)

    def _end_of_handle(self, r, waiting):
        self.fate[r.id] = Fate(r.what, r.at, r.code, r.type, r.value, r.flagged)
        self.open.pop(r.id, None)
        if r.what == ledger.REFUSED:
            self.took.append(r.took / 1e6)
        if r.what in (ledger.REFUSED, ledger.FAILURE):
            waiting.discard(r.id)
        if r.what == ledger.SUCCESS or (r.what == ledger.FAILURE and r.type):
            self.accepted.add(r.id)

    def ended_with(self, *what):
        """(task, Fate) of those handles."""
        return ((task, fate) for task, fate in self.fate.items() if fate.what in what)

    # ---- Tasks

    def _read_tasks(self):
        path = os.path.join(self.dir, "tasks.ledger")
        self.counts = collections.Counter()  # starts, by run (run_of)
        self.starts = 0
        for s in read_starts(path):
            self.counts[run_of(s.id, s.attempt)] += 1
            self.starts += 1
        # Again, now that it is known which were repeated.
        self.repeated = collections.defaultdict(list)  # by run: its starts, if there are several
        self.retried = collections.defaultdict(list)   # by run: its starts that asked to run again
        self.again = collections.defaultdict(list)     # by task: starts of later attempts
        self.parents = set()                           # tasks that are to send others, and ended
        self.first_starts, self.first_ends = {}, {}    # by task
        self.plain_ends = {}  # of starts without a flag; only of tasks that started several times
        self.flagged, self.plain = set(), set()        # tasks with a start that was, that was not
        self.worker_starts = collections.defaultdict(list)
        for s in read_starts(path):
            self._start(s)
        self.followers = {r.id: r for r in ledger.read(path) if r.what == ledger.SEND}
        for starts in self.repeated.values():
            starts.sort(key=lambda s: s.at)
        for times in self.worker_starts.values():
            times.sort()

    def _start(self, s):
        run = run_of(s.id, s.attempt)
        if self.counts[run] > 1:
            self.repeated[run].append(s)
        if s.what == ledger.RETRY:
            self.retried[run].append(s)
        if s.attempt > 0:
            self.again[s.id].append(s)
        else:
            self.first_starts[s.id] = min(s.at, self.first_starts.get(s.id, FOR_EVER))
        if s.what == ledger.END:
            self.first_ends[s.id] = min(s.end, self.first_ends.get(s.id, FOR_EVER))
            if not s.flagged and (s.attempt > 0 or self.counts[run] > 1):
                self.plain_ends[s.id] = min(s.end, self.plain_ends.get(s.id, FOR_EVER))
            if s.kind == ledger.FOLLOW:
                self.parents.add(s.id)
        (self.flagged if s.flagged else self.plain).add(s.id)
        self.worker_starts[s.worker].append(s.at)
