"""Nothing is lost, nobody waits for ever, and what is answered is true."""
from evidence import FOR_EVER
from judge import Judge
import ledger

POISON_RUNS = 3  # its own crashes; those of its worker come on top
ETASK = -9
ROUNDS = 190.0       # seconds that a task takes which no worker knows
SWEPT_WITHIN = 10.0  # seconds: a dead letter may be refused a few times
# What a handle of such a task ends with; all others with success.
FAILURES = {ledger.SEGV: "WorkerLostError", ledger.ABORT: "WorkerLostError",
            ledger.FAIL: "ValueError"}


class Promise(Judge):
    def work(self):
        e = self.e
        self.figure("sent", len(e.sends), "ids sent")
        self.figure("accepted", len(e.accepted), "ids accepted")
        self.figure("starts", e.starts, "starts of tasks")
        lanes = {"countdowns": ledger.COUNTDOWN, "items of maps": ledger.MAP,
                 "leased": ledger.LEASED}
        mix = {name: sum(s.lane == lane for s in e.sends.values()) for name, lane in lanes.items()}
        mix["retries"] = sum(map(len, e.retried.values()))
        mix["sent by tasks"] = len(e.followers)
        self.figure("mix", mix, "of them")
        # A producer that is killed has not written down what the broker took last.
        done = len(e.accepted | (e.first_ends.keys() & e.sends.keys()))
        self.demand("work", done > 0.9 * e.run["tasks"], "only %d of %d tasks were accepted" % (
            done, e.run["tasks"]))
        started = e.flagged | e.plain
        self.none_of("invented", started - set(e.sends) - set(e.followers),
                     "tasks that nobody sent")

    def lost(self):
        """What a task sends arrives when one of its runs has ended for good; it comes from a run that
        ended."""
        e = self.e
        over = e.first_ends.keys() | e.dead.keys() | self.swept()
        self.none_of("lost", e.accepted - over, "accepted tasks lost")
        heard = {ledger.sender(task) for task in e.followers if task in over}
        self.none_of("lost_follow", (e.parents & e.accepted) - heard, "tasks whose follow-up is lost")

    # ---- Answers

    def hung(self):
        e = self.e
        hung = {task for task, _ in e.ended_with(ledger.UNANSWERED)}
        hung |= {task for task, pid in e.open.items() if pid not in e.killed_producers}
        self.none_of("hung", hung, "handles hung")

    def answers(self):
        """Of those without a result, success only means that they were accepted."""
        e = self.e
        early, values, wrong = set(), set(), set()
        for task, fate in e.ended_with(ledger.SUCCESS):
            if task in e.unasked:
                continue
            if fate.at < e.first_ends.get(task, FOR_EVER):
                early.add(task)
            if fate.value != ledger.value_of(task):
                values.add(task)
            if e.sends[task].kind in FAILURES:
                wrong.add(task)
        for task, fate in e.ended_with(ledger.FAILURE):
            if fate.code == ETASK and fate.type != FAILURES.get(e.sends[task].kind):
                wrong.add(task)
        self.none_of("phantom", early, "successes of tasks that had not ended")
        self.none_of("value", values, "successes with a value that the task did not return")
        self.none_of("wrong", wrong, "handles with a wrong outcome")

    # ---- Poison

    def poison(self):
        e = self.e
        planted = {task for task, sent in e.sends.items() if sent.kind in ledger.POISON}
        unknown = {task for task, sent in e.sends.items() if sent.kind == ledger.UNKNOWN}
        dead = set(e.dead)
        self.figure("poison", len(planted), "poison planted")
        self.none_of("innocent", dead - planted - unknown, "dead letters that were not planted")
        swept = self.swept()
        self.figure("swept", len(swept), "dead letters that went with their queue",
                    "<= %d" % len(e.all("dead-queue")))
        self.none_of("undead", (planted & e.accepted) - dead - swept, "poison that is not dead")
        self.figure("unknown", len(unknown & dead), "tasks that no worker knew, kept")
        runs = [e.counts[task] for task in planted & dead]
        self.figure("poison_runs", [min(runs, default=0), max(runs, default=0)],
                    "starts of each poison, least and most", ">= %d" % POISON_RUNS)
        self.demand("poison_runs", min(runs, default=POISON_RUNS) >= POISON_RUNS,
                    "poison was given up after %d starts" % min(runs, default=0))

    def swept(self):
        """RabbitMQ confirms what is on its way to a queue that is being deleted, and that is gone: for
        each deletion one at most of a task that had come to its end just before. When those end that no
        worker knows, by the thousand, one deletion may take several: of them as many as there were
        deletions after their ten rounds."""
        e, swept = self.e, set()
        missing = {task: e.repeated[task][-1].at for task in e.accepted
                   if e.sends[task].kind in ledger.POISON and task not in e.dead and
                   task in e.repeated}
        for deletion in e.all("dead-queue"):
            for task, at in missing.items():
                begin, end = deletion["at"], deletion["at"] + deletion.get("took", 0)
                if at <= end and begin <= at + SWEPT_WITHIN and task not in swept:
                    swept.add(task)
                    break
        unknown = sorted((e.sends[task].at, task) for task in e.accepted
                         if e.sends[task].kind == ledger.UNKNOWN and task not in e.dead)
        later = [x for x in e.all("dead-queue") if unknown and x["at"] > unknown[0][0] + ROUNDS]
        return swept | {task for _, task in unknown[:len(later)]}

    def undelivered(self):
        """What was delayed for a queue that is gone is kept."""
        sent = sum(x["count"] for x in self.e.all("queue-gone"))
        kept = self.e.one("undelivered", {"count": 0})["count"]
        self.figure("undelivered", kept, "due for a queue that was gone, and kept", ">= %d" % sent)
        self.demand("undelivered", kept >= sent, "%d tasks for a queue that was gone are lost" % (
            sent - kept))
