"""Starts of tasks that had started before: each has a fault that explains it, and all but the first are
told so, and so is their caller. And starts that come too soon."""
from evidence import FOR_EVER, run_of
from judge import Judge
import ledger

ACK_WITHIN = 1.0   # seconds, without those of an outage, in which a task that ended is settled
KEPT_WITHIN = 3.0  # and in which the broker has written that to its disk
MOVED_WITHIN = 9.0  # and in which a task that is to wait is confirmed by the delay queues
MOVED_WITHIN_CLUSTER = 30.0  # those of a cluster, which are slow after they were declared or lost a node
EARLY = 0.05       # a delay is counted by another clock
IN_BROKER = 3.0    # seconds: who is to wait longer does so in the broker


class Repeats(Judge):
    def duplicates(self):
        e = self.e
        twice = e.starts - len(e.counts)
        self.figure("duplicates", twice, "starts of tasks that had started before")
        unexplained, unflagged = set(), set()
        overtaken, doubled = 0, set()
        for starts in e.repeated.values():
            for i in range(1, len(starts)):
                if not self.explained(starts, i):
                    unexplained.add(starts[i].id)
                if starts[i].flagged:
                    continue
                if all(s.flagged for s in starts[:i]) and self.overtaken(starts, i):
                    overtaken += 1
                elif self.doubled(starts[i]):
                    doubled.add(starts[i].id)
                else:
                    unflagged.add(starts[i].id)
        self.none_of("unflagged", unflagged, "tasks started twice without a flag")
        self.figure("overtaken", overtaken, "first ones that a flagged copy has overtaken")
        self.figure("doubled", len(doubled), "without a flag, doubled in the broker's delay queues")
        self.none_of("unexplained", unexplained, "tasks started again that no fault explains")

    # ---- Why

    def explained(self, starts, i):
        """One of the starts before was lost by a fault between, or the message was sent twice, or
        this one was taken from its worker, which began it before it noticed."""
        again = starts[i]
        if again.kind in ledger.POISON or self.taken_away(starts, i):
            return True
        moved = MOVED_WITHIN_CLUSTER if self.e.run["cluster"] else MOVED_WITHIN
        if any(self.at_risk(s.at, s.end, loss, again.at, moved if s.wait >= IN_BROKER else ACK_WITHIN)
               for s in starts[:i] for loss in self.e.losses_of(s)):
            return True
        return self.sent_twice(again) or self.company_lost(starts, i) or self.leased(again)

    def taken_away(self, starts, i):
        """It stood still, or did not notice yet, and another one had its task meanwhile."""
        return any(loss.begin <= starts[0].at and starts[i].at <= loss.end + ACK_WITHIN
                   for loss in self.e.losses_of(starts[i]))

    def sent_twice(self, again):
        sources = self.e.sources_of(again)
        return len(sources) > 1 or self.doubled(again) or any(
            self.at_risk(sent, kept, loss, again.at, 0)
            for sent, kept, losses, _ in sources for loss in losses)

    def doubled(self, again):
        """A broker that goes down while a message passes from one of its delay queues to the next may
        have it in both afterwards. It marks neither. Each of the two that asks to run again does so."""
        if any(wait >= IN_BROKER and loss.begin <= again.at and loss.end >= sent
               for sent, _, _, wait in self.e.sources_of(again)
               for loss in self.e.losses["all", None]):
            return True
        before = self.e.repeated.get(run_of(again.id, again.attempt - 1), ()) if again.attempt else ()
        return any(not s.flagged and self.doubled(s) for s in before[1:])

    def company_lost(self, starts, i):
        """An item of a map travels with others, of which another worker may run the first ones. When
        that one is lost all of them go again."""
        sent = self.e.sends.get(starts[i].id)
        if not sent or sent.lane != ledger.MAP:
            return False
        return self.e.worker_losses.touch(sent.at, starts[i].at)

    def leased(self, again):
        """A lease that is not renewed in time, on a busy machine or because the broker is away, ends."""
        sent = self.e.sends.get(again.id)
        return sent and sent.lane == ledger.LEASED

    def at_risk(self, begin, end, loss, again, within=ACK_WITHIN):
        """It had begun, and was not yet settled for sure, when the loss came."""
        if loss.end < begin or loss.begin > again:
            return False
        if end is None or end >= loss.begin:
            return True
        if loss.what == "all":
            within = max(KEPT_WITHIN, within)
        return self.e.bad.outside(end, loss.begin) <= within or \
            (within > 0 and self.e.settled(end) >= loss.begin - within)

    def overtaken(self, starts, i):
        """The first one came late, behind a copy that is marked: the message was sent twice, or its
        worker stood still, or did not notice yet that another one had it. Or a worker sent the rest of
        a map's message on, unmarked, and was lost, so that the whole message came again."""
        return self.sent_twice(starts[i]) or self.taken_away(starts, i) or \
            self.company_lost(starts, i)

    # ---- What is said of it

    def flags(self):
        """An answer has the flag of the start that it is of."""
        e = self.e
        repeated = {start.id for starts in e.repeated.values() for start in starts}
        untold, alarmed = set(), set()
        for task, fate in e.ended_with(ledger.SUCCESS, ledger.FAILURE):
            if task in e.unasked or fate.code not in (0, -9):
                continue
            if fate.flagged and task not in e.flagged:
                alarmed.add(task)
            if not fate.flagged and task in e.flagged and \
                    fate.at < e.plain_ends.get(task, FOR_EVER):
                untold.add(task)
        self.none_of("untold", untold, "callers that were not told of a second start")
        self.none_of("alarmed", alarmed, "callers that were told of one, and the task was not")
        once = len((e.flagged - repeated) - e.again.keys())
        self.figure("flagged_once", once / max(1, len(e.counts)),
                    "of tasks that started once, flagged")

    # ---- Too soon

    def delays(self):
        """A countdown and a retry's delay are waited for, and a retry was asked for."""
        e = self.e
        early, unasked, late = set(), set(), []
        for task, sent in e.sends.items():
            if sent.lane == ledger.COUNTDOWN and task in e.first_starts:
                late.append(e.first_starts[task] - sent.at - sent.wait)
                if late[-1] < -EARLY:
                    early.add(task)
        for task, starts in e.again.items():
            for start in starts:
                due = min((s.end + s.wait for s in e.retried[run_of(task, start.attempt - 1)]),
                          default=None)
                if due is None:
                    unasked.add(task)
                elif start.at < due - EARLY:
                    early.add(task)
        self.none_of("early", early, "tasks started before their time")
        self.none_of("attempts", unasked, "runs of retries that nobody asked for")
        self.figure("late", max(late, default=0.0), "longest that a countdown was late, s")
