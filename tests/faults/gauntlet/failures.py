"""Failures that a producer saw: each has a fault that explains it, and no fault explains more of them
than it can be the reason of."""
import collections

from judge import Judge
import ledger

CALL = 6.0         # seconds: publish_timeout, and one for a machine that is busy
BACK_WITHIN = 5.0  # until a producer is connected again, after the fault is over
KEPT_WITHIN = 3.0  # until a message is confirmed
ETASK = -9
ECONN, EBLOCKED, ENACK, EAGAIN, EUNCONFIRMED = -3, -5, -8, -14, -18
REFUSED = (ECONN, EBLOCKED)
UNSENT = (ECONN, EBLOCKED, ENACK, EUNCONFIRMED)
REFUSED_EACH = 10.0  # a second: who was refused waits before it tries again
UNCONFIRMED = 256    # messages that a client may have under way
NO_LEADER_FOR = 6.0  # seconds in which a quorum queue may refuse what is sent, as its node is lost


class Failures(Judge):
    def failures(self):
        e, codes = self.e, {}
        unexplained, explained = set(), collections.Counter()
        for task, fate in e.ended_with(ledger.REFUSED, ledger.FAILURE):
            refused = fate.what == ledger.REFUSED
            label = "%s %d%s" % ("send" if refused else "handle", fate.code, " " * bool(fate.type) +
                                 fate.type)
            codes[label] = codes.get(label, 0) + 1
            if fate.code == ETASK:
                continue
            cause = self.cause(task, fate)
            if cause:
                explained[cause, e.sends[task].producer, refused] += 1
            else:
                unexplained.add(task)
        self.figure("failures", codes, "failures seen by producers")
        self.none_of("unexplained_failures", unexplained, "failures that no fault explains")
        over = ["producer %d: %d from %.1f s on" % (producer, n, loss.begin)
                for (loss, producer, refused), n in explained.items()
                if n > self.most(loss, refused)]
        self.none_of("too_many_failures", over, "faults with more failures than they explain")
        self.none_of("refused_ran", {task for task, _ in e.ended_with(ledger.REFUSED)
                                     if task in e.first_starts},
                     "tasks that ran although their sending was refused")

    def cause(self, task, fate):
        """The first fault that can be the reason; None if there is none."""
        e, sent = self.e, self.e.sends[task]
        if fate.what == ledger.REFUSED:
            codes = REFUSED + (EAGAIN,) * (sent.lane == ledger.MAP)
            earliest = fate.at - CALL
        else:
            codes = UNSENT
            earliest = sent.at
        faults = e.losses["producer", sent.producer] + e.losses["all", None] + e.alarms
        return fate.code in codes and next(
            (x for x in faults if x.begin <= fate.at and earliest <= x.end + BACK_WITHIN and
             x.begin - KEPT_WITHIN <= sent.at <= x.end + BACK_WITHIN), None)

    def most(self, loss, refused):
        if refused:
            return REFUSED_EACH * (loss.end - loss.begin + BACK_WITHIN) + 1
        run = self.e.run
        refusing = run["rate"] / run["producers"] * NO_LEADER_FOR if run["cluster"] else 0
        return UNCONFIRMED + refusing

    def calls(self):
        longest = max(self.e.took, default=0.0)
        demand = self.limit("call", longest <= CALL, "<= %g" % CALL,
                            "a producer's call took %.1f s" % longest)
        self.figure("call", longest, "longest call of a producer, s", demand)
