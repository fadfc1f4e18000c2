"""Failures that a producer saw: each has a fault that explains it, and no fault explains more of them
than it can be the reason of."""
import collections

from judge import Judge
import ledger

CALL = 6.0         # seconds: publish_timeout, and one for a machine that is busy
BACK_WITHIN = 5.0  # until a producer is connected again, after the fault is over
ASKED_AGAIN = 4.0  # later it looks at the delay queues again that did not answer (lib/amqp/ladder.c)
KEPT_WITHIN = 3.0  # until a message is confirmed
ETASK = -9
ECONN, EBLOCKED, ENACK, EAGAIN, EUNCONFIRMED = -3, -5, -8, -14, -18
EUNAVAILABLE, ELOST = -19, -20
REFUSED = (ECONN, EBLOCKED)
UNAVAILABLE = (EUNAVAILABLE, ELOST)  # each send may end so while the node is gone
REPLY_WAIT = 60.0    # seconds for which a client waits for a reply queue whose node is gone
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
                explained[cause, e.sends[task].producer, refused, fate.code in UNAVAILABLE] += 1
            else:
                unexplained.add(task)
        self.figure("failures", codes, "failures seen by producers")
        self.none_of("unexplained_failures", unexplained, "failures that no fault explains")
        over = ["producer %d: %d from %.1f s on" % (producer, n, loss.begin)
                for (loss, producer, refused, unavailable), n in explained.items()
                if n > self.most(loss, refused, unavailable)]
        self.none_of("too_many_failures", over, "faults with more failures than they explain")
        self.none_of("refused_ran", {task for task, _ in e.ended_with(ledger.REFUSED)
                                     if task in e.first_starts},
                     "tasks that ran although their sending was refused")

    def cause(self, task, fate):
        """The first fault that can be the reason; None if there is none."""
        e, sent = self.e, self.e.sends[task]
        if fate.code == ELOST:
            return self.reply_lost(sent, fate)
        if fate.what == ledger.REFUSED:
            codes = REFUSED + (EAGAIN,) * (sent.lane == ledger.MAP)
            earliest = fate.at - CALL
        else:
            codes = UNSENT
            earliest = sent.at
        codes += (EUNAVAILABLE,) * e.run["cluster"]
        faults = e.losses["producer", sent.producer] + e.losses["all", None] + e.alarms
        back = BACK_WITHIN + (ASKED_AGAIN if fate.code == EUNAVAILABLE else 0)
        return fate.code in codes and next(
            (x for x in faults if x.begin <= fate.at and earliest <= x.end + back and
             x.begin - KEPT_WITHIN <= sent.at <= x.end + back), None)

    def reply_lost(self, sent, fate):
        """The first loss that lasted for as long as a client waits for its reply queue."""
        return self.e.run["cluster"] and next(
            (x for x in self.e.losses["all", None] if x.end - x.begin >= REPLY_WAIT and
             x.begin + REPLY_WAIT <= fate.at and sent.at <= x.end), None)

    def most(self, loss, refused, unavailable):
        run = self.e.run
        lasts = loss.end - loss.begin + BACK_WITHIN
        if refused:
            return REFUSED_EACH * lasts + 1
        each = run["rate"] / run["producers"] if run["cluster"] else 0
        return UNCONFIRMED + each * (lasts if unavailable else NO_LEADER_FOR)

    def calls(self):
        longest = max(self.e.took, default=0.0)
        demand = self.limit("call", longest <= CALL, "<= %g" % CALL,
                            "a producer's call took %.1f s" % longest)
        self.figure("call", longest, "longest call of a producer, s", demand)
