"""The gauntlet's checker sees every kind of violation: a check that cannot fail is none.

A run that never was is written down, in which all went well; then one thing of it is changed."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "gauntlet"))
import campaign  # noqa: E402
import ledger  # noqa: E402
import table  # noqa: E402
from check import Check  # noqa: E402
from evidence import Evidence  # noqa: E402
from ledger import record  # noqa: E402

TASKS = 1500
RATE = 50
BEGIN, FAULTY, KILL, DOWN, PORT = 100.0, 110.0, 115.0, 120.0, 125.0
POISON = 77
WORKERS = {0: 1000, 1: 1001}
REBORN = 1100  # worker 1 after its kill
PRODUCER, KILLED_PRODUCER = 500, 501


class Story:
    """A good run, to be spoilt: lists of records and of events."""

    def __init__(self):
        self.tasks, self.producer, self.dead = [], [], []
        self.killed_producer, self.strangers = [], []
        self.events = []
        for number, pid in WORKERS.items():
            self.event(BEGIN - 1, "worker-start", number=number, pid=pid)
            self.event(BEGIN - 1, "resources", when="fresh", number=number, pid=pid, rss=4000,
                       fds=9)
        self.faults()
        for i in range(TASKS):
            self.task(i + 1, BEGIN + i / RATE)
        self.rescued = self.begun_again(KILL)
        self.finish()

    def event(self, at, what, **more):
        self.events.append(dict(at=at, what=what, **more))

    def faults(self):
        self.event(FAULTY, "faults-begin")
        self.event(KILL, "parent-kill", number=1, pid=1001, children=[2001])
        self.event(KILL + 0.01, "worker-exit", number=1, pid=1001, status=-9)
        self.event(KILL + 0.1, "worker-start", number=1, pid=REBORN)
        self.event(KILL, "producer-kill", number=1, pid=KILLED_PRODUCER, children=[])
        self.event(DOWN, "broker-down", how="kill")
        self.event(PORT, "broker-port")

    def task(self, task, at):
        """One that is sent, runs and is answered at once."""
        if at >= DOWN:
            at += PORT - DOWN
        worker = WORKERS[task % 2] if at < KILL or task % 2 == 0 else REBORN
        poison = task == POISON
        kind = ledger.SEGV if poison else ledger.SLEEP
        group = dict(id=task, pid=PRODUCER, group=0, kind=kind)
        self.producer.append(record(at=at, what=ledger.SEND, **group))
        self.producer.append(record(at=at, what=ledger.SENT, took=200, **group))
        self.producer.append(record(at=at + 0.01, what=ledger.ACCEPTED,
                                    **dict(group, id=0)))
        start = record(id=task, at=at + 0.002, pid=worker + 1000, group=worker, what=ledger.START,
                       kind=kind)
        self.tasks.append(start)
        if poison:
            self.tasks += [start._replace(at=start.at + s, pid=9000, flagged=1) for s in (1, 2)]
            self.dead.append(record(id=task, at=200.0, what=ledger.DEAD, type="WorkerLostError"))
            end = dict(what=ledger.FAILURE, code=-9, type="WorkerLostError", flagged=1)
        else:
            self.tasks.append(start._replace(at=at + 0.004, what=ledger.END))
            end = dict(what=ledger.SUCCESS, value=ledger.value_of(task))
        self.producer.append(record(at=at + 0.006, **group, **end))

    def begun_again(self, kill):
        """The task that runs on worker 1 when it is killed ends elsewhere."""
        first = next(r for r in reversed(self.tasks) if r.at < kill and r.group == 1001)
        self.tasks = [r for r in self.tasks if r.id != first.id]
        self.tasks.append(first._replace(at=kill - 0.001, what=ledger.START))
        self.run_again(first.id, kill + 0.05)
        self.answer(first.id, kill + 0.06, flagged=1)
        return first.id

    def answer(self, task, at, **more):
        """Its handle ends then, and with what is said here."""
        was = next(r for r in self.producer if r.id == task and r.what == ledger.SUCCESS)
        self.producer[self.producer.index(was)] = was._replace(at=at, **more)

    def failed(self, tasks, what, code, later=40):
        """Answers of these tasks, turned into failures that come so much later."""
        self.producer = [r._replace(at=r.at + later, what=what, code=code, value=0)
                         if r.what == ledger.SUCCESS and r.id in tasks else r
                         for r in self.producer]

    def sent_between(self, begin, end):
        return [r.id for r in self.producer
                if r.what == ledger.SEND and begin <= r.at < end and r.id != POISON]

    def other_kind(self, task, **more):
        """It is sent as another kind of task, or in another way."""
        for name in "tasks", "producer":
            setattr(self, name, [r._replace(**more) if r.id == task and r.what in
                                 (ledger.SEND, ledger.SENT, ledger.START, ledger.END) else r
                                 for r in getattr(self, name)])

    def run_again(self, task, at, flagged=1):
        start = record(id=task, at=at, pid=2009, group=1000, what=ledger.START, kind=ledger.SLEEP,
                       flagged=flagged)
        self.tasks += [start, start._replace(at=at + 0.001, what=ledger.END)]

    def finish(self):
        self.event(160.0, "faults-end")
        for number, pid in ((0, 1000), (1, REBORN)):
            self.event(161.0, "resources", when="end", number=number, pid=pid, rss=4100, fds=9)
            self.event(162.0, "worker-left", number=number, status=0)
        self.event(161.0, "queues", messages={"ctask": 0, "ctask.dead": 1, "ctask.reply.x": 5})
        self.event(163.0, "connections", count=0)
        self.event(163.0, "processes", left=[])
        self.event(164.0, "done")

    # ---- What a test changes

    def drop(self, task, *what):
        """Forgets these records of a task."""
        for name in "tasks", "producer", "dead":
            kept = [r for r in getattr(self, name) if r.id != task or r.what not in what]
            setattr(self, name, kept)

    def change(self, kind, more):
        """All events of a kind get other values."""
        for event in self.events:
            if event["what"] == kind:
                event.update(more)

    def node_lost(self, at=DOWN):
        """The run is on a cluster. Instead of the broker's end, a node is lost and the cluster stands still."""
        self.event(PORT, "standstill", begin=DOWN, end=PORT)
        self.change("broker-down", {"what": "node-down", "node": 1, "at": at})
        self.change("broker-port", {"what": "node-up", "at": at + PORT - DOWN})

    def write(self, directory, tasks=TASKS, times=True, cluster=False):
        with open(os.path.join(directory, "run.json"), "w") as f:
            json.dump({"tasks": tasks, "seed": 1, "queue_type": "classic", "workers": 2,
                       "children": 1, "producers": 4, "rate": RATE, "times": times, "cluster": cluster}, f)
        with open(os.path.join(directory, "faults.jsonl"), "w") as f:
            f.writelines(json.dumps(event) + "\n" for event in self.events)
        self.tasks.sort(key=lambda r: r.at)
        for name, records in (("tasks", self.tasks), ("dead", self.dead),
                              ("producer-0", self.producer), ("producer-1", self.killed_producer),
                              ("strangers", self.strangers)):
            if records:
                ledger.write(os.path.join(directory, name + ".ledger"), records)


class Checker(unittest.TestCase):
    def verdict(self, story, **run):
        """(exit status, the violations)."""
        with tempfile.TemporaryDirectory() as directory:
            story.write(directory, **run)
            check = Check(Evidence(directory))
            good = check.all()
        return int(not good), [key for key, _ in check.violations]

    def assert_caught(self, story, *keys):
        self.assertEqual(self.verdict(story), (1, list(keys)))

    def story(self):
        return Story()

    def judged(self, directory, *more):
        """By the program: its exit status."""
        return subprocess.run([sys.executable, "-B", os.path.join(HERE, "gauntlet/check.py"),
                               directory, *more], capture_output=True, text=True).returncode

    def test_a_good_run_passes_and_another_does_not(self):
        for spoilt in False, True:
            story = self.story()
            if spoilt:
                story.drop(10, ledger.SUCCESS)
            with tempfile.TemporaryDirectory() as directory:
                story.write(directory)
                report = os.path.join(directory, "report.json")
                self.assertEqual(self.judged(directory, report), int(spoilt))
                with open(report) as f:
                    line = json.loads(f.read())
            self.assertEqual((line["passed"], line["violations"]), (not spoilt, ["hung"] * spoilt))

    def test_what_is_not_there_is_not_judged(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertEqual(self.judged(directory), 2)

    def test_a_lost_task(self):
        story = self.story()
        story.drop(10, ledger.START, ledger.END, ledger.SUCCESS)
        story.producer.append(record(id=10, at=180, pid=PRODUCER, what=ledger.FAILURE, code=-16))
        self.assertEqual(self.verdict(story)[1], ["lost", "unexplained_failures"])

    def test_a_success_of_a_task_that_did_not_end(self):
        story = self.story()
        story.drop(10, ledger.END)
        self.assert_caught(story, "lost", "phantom")

    def test_a_success_before_the_task_has_ended(self):
        story = self.story()
        story.answer(10, BEGIN)
        self.assert_caught(story, "phantom")

    def test_a_value_that_is_another_tasks(self):
        story = self.story()
        story.answer(10, 180, value=ledger.value_of(11))
        self.assert_caught(story, "value")

    def test_a_task_that_nobody_sent(self):
        story = self.story()
        story.run_again(999999, 130.0, flagged=0)
        self.assert_caught(story, "invented")

    def test_a_handle_without_an_end(self):
        story = self.story()
        story.drop(10, ledger.SUCCESS)
        self.assert_caught(story, "hung")

    def test_a_handle_that_was_given_up(self):
        story = self.story()
        story.drop(10, ledger.SUCCESS)
        story.producer.append(record(id=10, at=180, pid=PRODUCER, what=ledger.UNANSWERED))
        self.assert_caught(story, "hung")

    def test_a_killed_producers_handle_is_not_hung_but_its_task_must_run(self):
        story = self.story()
        for task in 5001, 5002:
            group = dict(id=task, at=114.0, pid=KILLED_PRODUCER, group=1, kind=ledger.SLEEP)
            story.killed_producer += [record(what=ledger.SEND, **group),
                                      record(what=ledger.SENT, **group)]
        story.run_again(5001, 114.1, flagged=0)
        self.assertEqual(self.verdict(story), (0, []))
        story.killed_producer.append(record(at=114.2, pid=KILLED_PRODUCER, what=ledger.ACCEPTED))
        self.assert_caught(story, "lost")

    def test_a_wrong_outcome(self):
        for task, what, kind in ((10, ledger.FAILURE, "ValueError"), (POISON, ledger.SUCCESS, "")):
            story = self.story()
            story.producer.append(record(id=task, at=182, pid=PRODUCER, what=what, type=kind,
                                         code=-9 if kind else 0, flagged=task == POISON,
                                         value=ledger.value_of(task)))
            if task == POISON:
                story.tasks.append(record(id=task, at=180, pid=2001, what=ledger.END))
                story.run_again(POISON, 181)
            self.assert_caught(story, "wrong")

    def test_a_task_that_is_to_fail(self):
        story = self.story()
        story.other_kind(10, kind=ledger.FAIL)
        self.assert_caught(story, "wrong")
        story.failed([10], ledger.FAILURE, -9)
        story.producer = [r._replace(type="ValueError") if r.id == 10 and r.code == -9 else r
                          for r in story.producer]
        self.assertEqual(self.verdict(story), (0, []))

    # ---- Failures

    def test_answers_that_were_turned_into_failures(self):
        """Anything a producer may be told, where nothing had happened."""
        for code in -2, -3, -5, -7, -8, -16, -17, -18:
            with self.subTest(code):
                story = self.story()
                story.failed([10, 11], ledger.FAILURE, code)
                self.assert_caught(story, "unexplained_failures")

    def test_a_fault_explains_failures(self):
        story = self.story()
        story.failed(story.sent_between(DOWN - 1, DOWN), ledger.FAILURE, -18)
        self.assertEqual(self.verdict(story), (0, []))

    def test_but_not_of_every_kind(self):
        story = self.story()
        story.failed(story.sent_between(DOWN - 1, DOWN), ledger.FAILURE, -7)
        self.assert_caught(story, "unexplained_failures")

    def judged_on_a_cluster(self, story, code, sent=(DOWN - 1, DOWN), later=40):
        """The keys of a node_lost() story. The tasks sent in these seconds fail with code, `later` s after."""
        story.failed(story.sent_between(*sent), ledger.FAILURE, code, later)
        return self.verdict(story, cluster=True)[1]

    def test_eunavailable_is_explained_on_a_cluster_only(self):
        story = self.story()
        story.failed(story.sent_between(DOWN - 1, DOWN), ledger.FAILURE, -19)
        self.assert_caught(story, "unexplained_failures")
        story = self.story()
        story.node_lost()
        self.assertEqual(self.judged_on_a_cluster(story, -19), [])

    def test_each_send_while_a_node_is_gone_may_end_with_eunavailable(self):
        for since, keys in (DOWN - 2, []), (FAULTY, ["too_many_failures"]):
            with self.subTest(since=since):
                story = self.story()
                story.node_lost(at=since)
                story.change("node-up", {"at": PORT})
                story.change("standstill", {"begin": since})
                self.assertEqual(self.judged_on_a_cluster(story, -19, (since, PORT + 4)), keys)

    def test_the_delay_queues_are_looked_at_again_four_seconds_after_clients_are_back(self):
        for code, after, keys in (-19, 8.5, []), (-19, 9.5, ["unexplained_failures"]), \
                (-18, 8.5, ["unexplained_failures"]):
            with self.subTest(code=code, after=after):
                story = self.story()
                story.node_lost()
                self.assertEqual(self.judged_on_a_cluster(
                    story, code, (PORT + after - 0.3, PORT + after), later=0.01), keys)

    def test_elost_is_explained_where_the_node_was_gone_for_a_minute(self):
        for gone, later, keys in (61, 62, []), (59, 62, ["unexplained_failures"]), \
                (61, 58, ["unexplained_failures"]):
            with self.subTest(gone=gone, later=later):
                story = self.story()
                story.node_lost()
                story.change("standstill", {"end": DOWN + gone})
                self.assertEqual(self.judged_on_a_cluster(story, -20, later=later), keys)

    def test_after_a_cut_or_a_freeze_the_fault_goes_on_for_a_while(self):
        for how, keys in ("cut", []), ("freeze", []), ("kill", ["unexplained_failures"]):
            with self.subTest(how):
                story = self.story()
                story.node_lost()
                story.change("node-down", {"how": how})
                self.assertEqual(self.judged_on_a_cluster(story, -18, (PORT + 9, PORT + 9.5), 1), keys)

    def test_and_no_more_than_were_under_way(self):
        story = self.story()
        story.failed(story.sent_between(DOWN - 2.9, PORT + 4), ledger.FAILURE, -18)
        self.assert_caught(story, "too_many_failures")

    def test_nor_more_than_a_quorum_queue_refused_without_a_leader(self):
        """256 may be under way. In a cluster 75 more may be refused, which are this producer's of six
        seconds, until the queue has a new leader. A single broker chooses no leader."""
        for cluster, most in (False, 256), (True, 256 + 75):
            for count, keys in (most, []), (most + 1, ["too_many_failures"]):
                with self.subTest(cluster=cluster, count=count):
                    story = self.story()
                    if cluster:
                        story.node_lost()
                    story.failed(story.sent_between(DOWN - 2.9, PORT + 4)[:count],
                                 ledger.FAILURE, -8)
                    self.assertEqual(self.verdict(story, cluster=cluster)[1], keys)

    def refused(self, begin, end):
        """These were not taken, and did not run."""
        story = self.story()
        tasks = set(story.sent_between(begin, end))
        story.producer = [r for r in story.producer
                          if r.id not in tasks or r.what != ledger.SENT]
        story.failed(tasks, ledger.REFUSED, -3, later=0)
        story.tasks = [r for r in story.tasks if r.id not in tasks]
        return story

    def test_refused_sends_where_nothing_had_happened(self):
        self.assert_caught(self.refused(BEGIN + 1, BEGIN + 1.1), "unexplained_failures")

    def test_refused_sends_while_the_broker_is_down(self):
        self.assertEqual(self.verdict(self.refused(PORT, PORT + 0.5)), (0, []))

    def test_more_refused_sends_than_there_was_time_for(self):
        for cluster in False, True:
            with self.subTest(cluster=cluster):
                story = self.refused(PORT, PORT + 2.4)
                if cluster:
                    story.node_lost()
                self.assertEqual(self.verdict(story, cluster=cluster)[1], ["too_many_failures"])

    def test_a_refused_send_whose_task_ran(self):
        story = self.refused(PORT, PORT + 0.5)
        task = story.sent_between(PORT, PORT + 0.5)[0]
        story.run_again(task, PORT + 0.1, flagged=0)
        self.assert_caught(story, "refused_ran")

    def test_a_call_that_took_too_long(self):
        story = self.story()
        story.producer[1] = story.producer[1]._replace(took=9000000)
        self.assert_caught(story, "call")

    # ---- Second starts

    def test_a_second_start_without_a_flag(self):
        story = self.story()
        story.tasks = [r._replace(flagged=0) for r in story.tasks]
        self.assert_caught(story, "unflagged", "alarmed")

    def test_second_starts_whose_flag_came_first_and_then_went(self):
        story = self.story()
        story.tasks = [r._replace(flagged=r.at < KILL) if r.id == story.rescued else r
                       for r in story.tasks]
        self.assert_caught(story, "unflagged")

    def late_first_start(self, task, story):
        """It runs marked, and then as if for the first time."""
        first = next(r for r in story.tasks if r.id == task and r.what == ledger.START)
        story.tasks = [r._replace(flagged=1) if r.id == task else r for r in story.tasks]
        story.answer(task, first.at + 1, flagged=1)
        story.run_again(task, first.at + 0.02, flagged=0)
        return first.at

    def test_a_first_start_that_comes_late_behind_its_marked_copy(self):
        """The producer was cut off as it sent, so it sent again; or a worker stood still."""
        for who in dict(who="producer", number=0), dict(who="worker", pid=1000, number=0):
            with self.subTest(**who):
                story = self.story()
                task = next(r.id for r in story.tasks if r.group == REBORN and r.what == ledger.START)
                at = self.late_first_start(task, story)
                story.event(at - 0.02, "cut", fd=7, **who)
                self.assertEqual(self.verdict(story), (0, []))

    def test_the_rest_of_a_maps_message_may_come_late_when_its_worker_was_lost(self):
        """The worker had sent the rest on, and the whole message came again."""
        for lane, keys in (ledger.MAP, []), (ledger.PLAIN, ["unflagged"]):
            with self.subTest(lane):
                story = self.story()
                task = story.sent_between(KILL - 0.5, KILL)[0]
                story.other_kind(task, lane=lane)
                story.tasks = [r._replace(at=KILL + 0.5, group=1000, pid=2009)
                               if r.id == task and r.what == ledger.START else
                               r._replace(at=KILL + 0.51, group=1000, pid=2009) if r.id == task else r
                               for r in story.tasks]
                self.late_first_start(task, story)
                self.assertEqual([k for k in self.verdict(story)[1] if k != "unexplained"], keys)

    def test_a_caller_that_is_not_told_of_a_second_start(self):
        story = self.story()
        story.answer(story.rescued, KILL + 0.06, flagged=0)
        self.assert_caught(story, "untold")

    def test_a_caller_that_is_told_of_one_that_was_none(self):
        story = self.story()
        story.answer(10, 180, flagged=1)
        self.assert_caught(story, "alarmed")

    def test_a_second_start_that_no_fault_explains(self):
        story = self.story()
        story.run_again(10, 105.0)
        self.assert_caught(story, "unexplained")

    def held(self, late):
        """Worker 0 is cut off, another one runs what it held; it runs that too, so much later."""
        story = self.story()
        first = next(r for r in story.tasks if r.group == REBORN and r.what == ledger.START)
        story.event(first.at - 0.02, "cut", who="worker", number=0, pid=1000, fd=7)
        story.run_again(first.id, first.at + late)
        return story

    def test_a_second_start_by_a_worker_that_has_not_noticed_its_loss_is_fine(self):
        status, violations = self.verdict(self.held(0.02))
        self.assertEqual((status, violations), (0, []))

    def test_a_second_start_by_a_worker_that_was_cut_off_long_before(self):
        self.assert_caught(self.held(5.0), "unexplained")

    def test_a_second_start_of_what_was_settled_long_before_the_fault(self):
        story = self.story()
        story.run_again(11, KILL + 0.1)
        self.assert_caught(story, "unexplained")

    def test_a_message_that_went_down_with_the_broker_in_its_delay_queues_may_be_two(self):
        for wait, keys in (3500, ()), (500, ("unflagged", "unexplained")):
            with self.subTest(wait):
                story = self.story()
                task = story.sent_between(DOWN - 4, DOWN)[0]
                story.other_kind(task, lane=ledger.COUNTDOWN, wait=wait)
                story.drop(task, ledger.START, ledger.END)
                story.answer(task, PORT + 9)
                for at in PORT + 4, PORT + 8:
                    story.run_again(task, at, flagged=0)
                self.assertEqual(self.verdict(story)[1], list(keys))

    def test_and_then_each_of_them_runs_again(self):
        for asked, keys in (2, ()), (1, ("unflagged", "unexplained")):
            with self.subTest(asked):
                story = self.story()
                task = story.sent_between(DOWN - 4, DOWN)[0]
                story.other_kind(task, kind=ledger.RETRIED, lane=ledger.COUNTDOWN, wait=3500)
                start = next(r for r in story.tasks if r.id == task and r.what == ledger.START)
                story.drop(task, ledger.START, ledger.END)
                story.answer(task, PORT + 9)
                first = [start._replace(at=PORT + at, pid=9001) for at in (4, 5)][:asked]
                last = [start._replace(at=PORT + at, pid=9001, attempt=1) for at in (7, 8)]
                for run, what in [(r, ledger.RETRY) for r in first] + [(r, ledger.END) for r in last]:
                    story.tasks += [run, run._replace(at=run.at + 0.1, what=what, wait=0)]
                self.assertEqual(self.verdict(story)[1], list(keys))

    def test_what_is_to_wait_may_be_on_its_way_to_the_delay_queues_for_30_s_on_a_cluster(self):
        """A worker settles a task that asks to run again when the delay queues have it."""
        for lost, cluster, keys in (DOWN, False, ["unexplained"]), (DOWN, True, []), \
                                   (DOWN + 15, True, ["unexplained"]):
            with self.subTest(lost=lost, cluster=cluster):
                story = self.story()
                task = next(t for t in story.sent_between(DOWN - 18, DOWN) if t % 2 == 0)  # not killed
                story.other_kind(task, kind=ledger.RETRIED)
                story.tasks = [r._replace(what=ledger.RETRY, wait=4000)
                               if r.id == task and r.what == ledger.END else r for r in story.tasks]
                if cluster:
                    story.node_lost(at=lost)
                story.run_again(task, lost + 6)
                story.tasks[-1] = story.tasks[-1]._replace(what=ledger.RETRY, wait=4000)
                end = record(id=task, at=lost + 11, pid=9001, group=1000, attempt=1, flagged=1,
                             what=ledger.START, kind=ledger.RETRIED)
                story.tasks += [end, end._replace(at=end.at + 0.1, what=ledger.END)]
                story.answer(task, lost + 12, flagged=1)
                self.assertEqual(self.verdict(story, cluster=cluster)[1], keys)

    # ---- Retries, countdowns, tasks that send tasks

    def retried(self, delay, attempt=1):
        """A task that asks to run again so many seconds later, and does 0.5 s later."""
        story = self.story()
        story.other_kind(10, kind=ledger.RETRIED)
        start = next(r for r in story.tasks if r.id == 10 and r.what == ledger.START)
        story.tasks = [r._replace(what=ledger.RETRY, wait=int(delay * 1000))
                       if r.id == 10 and r.what == ledger.END else r for r in story.tasks]
        again = start._replace(at=start.at + 0.5, attempt=attempt, pid=9001)
        story.tasks += [again, again._replace(at=again.at + 0.1, what=ledger.END)]
        story.answer(10, 180)
        return story

    def test_a_retry(self):
        self.assertEqual(self.verdict(self.retried(0.4)), (0, []))

    def test_a_retry_that_comes_too_soon(self):
        self.assert_caught(self.retried(0.9), "early")

    def test_a_retry_that_does_not_count(self):
        self.assert_caught(self.retried(0.4, attempt=0), "unflagged", "unexplained")

    def test_a_run_that_nobody_asked_for(self):
        self.assert_caught(self.retried(0.4, attempt=2), "attempts")

    def test_a_retry_that_is_lost(self):
        story = self.retried(0.4)
        story.tasks = [r for r in story.tasks if r.id != 10 or r.attempt == 0]
        self.assert_caught(story, "lost", "phantom")

    def test_a_countdown_that_is_not_waited_for(self):
        for wait, keys in (1, ()), (500, ("early",)):
            story = self.story()
            story.other_kind(10, lane=ledger.COUNTDOWN, wait=wait)
            self.assertEqual(self.verdict(story)[1], list(keys))

    def test_a_task_that_a_task_has_sent_is_lost(self):
        story = self.story()
        story.other_kind(10, kind=ledger.FOLLOW)
        self.assert_caught(story, "lost_follow")
        start = next(r for r in story.tasks if r.id == 10 and r.what == ledger.START)
        follower = 10 | 7 << ledger.ID_BITS
        story.tasks.append(start._replace(id=follower, at=start.at + 0.001, what=ledger.SEND))
        self.assert_caught(story, "lost_follow")
        story.run_again(follower, start.at + 0.01, flagged=0)
        self.assertEqual(self.verdict(story), (0, []))

    # ---- Dead letters

    def test_an_innocent_dead_letter(self):
        story = self.story()
        story.dead.append(record(id=10, at=200.0, what=ledger.DEAD, type="NotRegistered"))
        self.assert_caught(story, "innocent")

    def test_poison_that_did_not_die(self):
        story = self.story()
        story.dead.clear()
        self.assert_caught(story, "lost", "undead")

    def test_one_dead_letter_may_go_with_its_queue(self):
        """RabbitMQ confirms what reaches a queue that is being deleted."""
        story = self.story()
        story.dead.clear()
        died = max(r.at for r in story.tasks if r.id == POISON)
        for at, took, keys in (died + 60, 0.1, ("lost", "undead")), \
                (died - 2, 1, ("lost", "undead")), (died - 0.1, 0.2, ()):
            story.event(at, "dead-queue", took=took, count=1)
            self.assertEqual(self.verdict(story)[1], list(keys))

    def test_poison_that_is_given_up_too_early(self):
        story = self.story()
        last = next(r for r in reversed(story.tasks) if r.id == POISON)
        story.tasks.remove(last)
        self.assert_caught(story, "poison_runs")

    def test_a_task_that_no_worker_knows(self):
        story = self.story()
        for what in ledger.SEND, ledger.ACCEPTED:
            story.strangers.append(record(id=1 << 39, at=130.0, what=what, kind=ledger.UNKNOWN,
                                          no_result=1))
        self.assert_caught(story, "lost")
        story.dead.append(record(id=1 << 39, at=200.0, what=ledger.DEAD, type="NotRegistered"))
        self.assertEqual(self.verdict(story), (0, []))

    def test_dead_letters_of_such_may_go_with_their_queue(self):
        """As many as there were deletions, once they had come to their end."""
        for count, at, keys in (1, 330.0, []), (2, 330.0, ["lost"]), (1, 310.0, ["lost"]):
            with self.subTest(count=count, at=at):
                story = self.story()
                story.event(at, "dead-queue", took=0.1, count=1)
                for i in range(count):
                    for what in ledger.SEND, ledger.ACCEPTED:
                        story.strangers.append(record(id=(1 << 39) + (i << 16), at=130.0, what=what,
                                                      kind=ledger.UNKNOWN, no_result=1))
                self.assertEqual(self.verdict(story)[1], keys)

    def test_tasks_for_a_queue_that_is_gone(self):
        for kept, keys in (40, ()), (39, ("undelivered",)):
            story = self.story()
            story.event(130.0, "queue-gone", count=40)
            story.event(162.0, "undelivered", count=kept)
            self.assertEqual(self.verdict(story)[1], list(keys))

    # ---- Times

    def test_nothing_is_done_for_a_while(self):
        story = self.story()
        late = set(story.sent_between(127.0, 132.5))
        for name in "tasks", "producer":
            setattr(story, name, [r for r in getattr(story, name) if r.id not in late])
        self.assertEqual(self.verdict(story, tasks=1250), (1, ["gap"]))

    def test_a_late_rescue(self):
        story = self.story()
        story.drop(story.rescued, ledger.START, ledger.END)
        story.tasks.append(record(id=story.rescued, at=KILL - 0.001, pid=2001, group=1001,
                                  what=ledger.START, kind=ledger.SLEEP))
        story.run_again(story.rescued, KILL + 1.5)
        story.answer(story.rescued, KILL + 1.6)
        self.assert_caught(story, "rescue")

    def test_what_a_killed_child_left_is_not_rescued_but_sent_again(self):
        story = self.story()
        story.drop(story.rescued, ledger.START, ledger.END)
        story.tasks.append(record(id=story.rescued, at=KILL - 0.1, pid=2002, group=1001,
                                  what=ledger.START, kind=ledger.SLEEP))
        story.event(KILL - 0.09, "child-kill", number=1, pid=2002)
        story.run_again(story.rescued, KILL + 1.5)
        story.answer(story.rescued, KILL + 1.6)
        self.assertEqual(self.verdict(story), (0, []))

    def test_a_worker_that_does_not_come_back_to_the_broker(self):
        story = self.story()
        story.tasks = [r for r in story.tasks if r.group != REBORN or r.at < DOWN]
        done = {r.id for r in story.tasks if r.what == ledger.END}
        for r in [r for r in story.producer if r.what == ledger.SEND and r.id not in done]:
            if r.id != POISON:
                story.run_again(r.id, r.at + 0.002, flagged=0)
        self.assert_caught(story, "consuming")

    def test_too_slow_under_faults(self):
        story = self.story()
        late = {r.id for r in story.producer
                if r.what == ledger.SEND and r.at > FAULTY and r.id % 4 < 2}
        for name in "tasks", "producer":
            setattr(story, name, [r for r in getattr(story, name) if r.id not in late])
        self.assertEqual(self.verdict(story, tasks=1000), (1, ["speed"]))
        self.assertEqual(self.verdict(story, tasks=1000, times=False), (0, []))

    def test_no_progress_on_a_cluster_unless_the_broker_itself_stood_still(self):
        """The broker is down for five seconds, and no task ends meanwhile."""
        for stood, keys in ((None, ["gaps"]), (1.0, []), (0.001, ["gaps"])):
            with self.subTest(stood):
                story = self.story()
                if stood:
                    story.event(PORT, "standstill", begin=DOWN, end=DOWN + stood)
                self.assertEqual(self.verdict(story, cluster=True)[1], keys)

    def test_a_consumer_of_another_client_speaks_for_the_broker_unless_its_node_was_lost(self):
        for node, keys in (2, []), (1, ["gaps"]):
            with self.subTest(node):
                story = self.story()
                story.node_lost()
                story.change("standstill", {"what": "starved", "node": node})
                self.assertEqual(self.verdict(story, cluster=True)[1], keys)

    def test_a_machine_that_is_too_slow(self):
        story = self.story()
        late = {r.id for r in story.producer
                if r.what == ledger.SEND and r.at < FAULTY and r.id % 4 < 2}
        for name in "tasks", "producer":
            setattr(story, name, [r for r in getattr(story, name) if r.id not in late])
        story.dead = [r for r in story.dead if r.id not in late]
        self.assertEqual(self.verdict(story, tasks=1250), (1, ["machine"]))

    def test_reply_queues_of_producers_that_moved_away_from_a_lost_node(self):
        """One is left by the killed producer. In a cluster another producer may leave one by moving."""
        for cluster, count, keys in (False, 1, []), (False, 2, ["replies"]), \
                (True, 2, []), (True, 3, ["replies"]):
            with self.subTest(cluster=cluster, count=count):
                story = self.story()
                if cluster:
                    story.node_lost()
                story.change("queues", {"messages": {"ctask.reply.%d" % i: 0 for i in range(count)}})
                self.assertEqual(self.verdict(story, cluster=cluster)[1], keys)

    def test_the_reply_queue_of_a_producer_that_ended_without_a_broker(self):
        """Or as it was in alarm."""
        for at, keys in (DOWN - 0.5, []), (DOWN + 1, []), (PORT + 1, ["replies"]), (141.0, []):
            with self.subTest(at=at):
                story = self.story()
                story.event(140.0, "alarm", of="disk")
                story.event(142.0, "alarm-over")
                story.event(at, "producer-exit", number=0, pid=PRODUCER, status=0)
                story.change("queues", {"messages": {"ctask.reply.%d" % i: 0 for i in range(2)}})
                self.assertEqual(self.verdict(story)[1], keys)

    def test_what_is_left(self):
        for what, more, key in (("queues", {"messages": {"ctask": 1}}, "queues"),
                                ("queues", {"messages": {"ctask.reply.a": 0, "ctask.reply.b": 0}},
                                 "replies"),
                                ("processes", {"left": [[7, "ctask-worker"]]}, "processes"),
                                ("connections", {"count": 1}, "connections"),
                                ("worker-left", {"status": 70}, "exits"),
                                ("resources", {"fds": 20, "when": "end"}, "resources"),
                                ("done", {"what": "stuck"}, "done")):
            with self.subTest(what):
                story = self.story()
                story.change(what, more)
                self.assert_caught(story, key)

    def test_growth(self):
        for more, key in (({"rss": 99999}, "rss"), ({"fds": 10}, "fds")):
            story = self.story()
            story.events[-8:] = [dict(e, **more) if e["what"] == "resources" else e
                                 for e in story.events[-8:]]
            self.assert_caught(story, key)

    def test_what_is_said_in_the_log(self):
        for what, more, key in (("never", {"text": "the queue is empty"}, "never"),
                                ("orphans", {"number": 1, "pids": [2001]}, "orphans"),
                                ("worker-exit", {"number": 0, "pid": 1, "status": -11}, "exits")):
            with self.subTest(what):
                story = self.story()
                story.event(150.0, what, **more)
                self.assert_caught(story, key)

    def test_a_run_in_which_little_was_done(self):
        self.assertIn("work", self.verdict(self.story(), tasks=2 * TASKS)[1])


class Campaign(unittest.TestCase):
    @staticmethod
    def run_of(tasks, where, only, seed, **more):
        return dict({"broker": "3.10.8", "tasks": tasks, "queue_type": where, "only": only,
                     "cluster": where == "cluster", "seed": seed, "day": "2026-01-01", "tree": "1",
                     "accepted": tasks, "faults": {"x": 1}, "lost": 0, "hung": 0, "duplicates": 0,
                     "unflagged": 0, "unexplained": 0, "poison": 0, "undead": 0, "innocent": 0,
                     "flagged_once": 0, "gap": 0, "broker_gaps": 0, "rescue_p99": 0,
                     "consuming_p99": 0, "speed": 1, "failures": {}, "passed": True,
                     "violations": []}, **more)

    def setUp(self):
        self.kept = campaign.record
        self.addCleanup(setattr, campaign, "record", self.kept)

    def test_what_passed_is_not_made_again_and_what_failed_is_with_another_seed(self):
        runs = []
        campaign.record = lambda: runs
        todo = campaign.missing("3.10.8")
        self.assertEqual(len(todo), sum(times for *_, times in campaign.PLAN))
        runs += [self.run_of(*run) for run in todo[1:]]
        runs.append(self.run_of(*todo[0], passed=False))
        self.assertEqual(campaign.missing("3.10.8"), [(*todo[0][:3], 3)])
        self.assertEqual(len(campaign.missing("4.0.5")), len(todo))

    def test_each_run_has_its_row(self):
        said = table.tables([self.run_of(10, "classic", None, 1),
                             self.run_of(10, "cluster", "roll", 2, passed=False,
                                         violations=["lost"])])
        self.assertIn("Runs: 2, passed: 1, tasks: 20.", said)
        self.assertRegex(said, r"(?s)One broker.*\| classic \| 1 \|.*\| passed \|")
        self.assertRegex(said, r"(?s)cluster of three.*\| roll \| 2 \|.*\| lost \|")


if __name__ == "__main__":
    unittest.main(verbosity=2)
