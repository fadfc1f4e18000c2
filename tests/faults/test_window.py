"""A broker that is far away or slow costs time, not throughput: a worker holds as much more as is under
way to it and back."""
import collections
import datetime
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from bench import Clock, FaultProxy  # noqa: E402
from harness import URL, BrokerTest, Bus, ctl, main, unique, until, url_for  # noqa: E402

TASKS = 500
LONG, MIDDLING = 1.2, 0.25
MANY = 5000


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        user, system = f.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Window(BrokerTest):
    def test_it_grows_with_the_way_to_the_broker(self):
        self.bus.declare(self.queue)
        ids = [self.bus.send(self.queue, "demo.sleep", [0.004]) for _ in range(TASKS)]

        def under_way():
            """Delivered, and no result is here yet: started, to be started, or on the way."""
            ready = self.bus.depth(self.queue)
            return TASKS - ready - self.bus.depth(self.bus.reply_to)
        with FaultProxy(URL) as proxy:
            proxy("delay 150")
            worker = self.worker("-c", "1", url=proxy.url)
            # A tenth of a second of work would be 25; a child that is never idle needs 75 more.
            until("it holds more than a tenth of a second of work", lambda: under_way() > 60)
            proxy("pass")
            self.bus.results(*ids)
            self.assertEqual(worker.stop(), 0)

    def test_it_comes_to_rest_while_nothing_changes(self):
        """What is held when a consumer is a new one counts for the one before: that is no reason for
        another."""
        self.bus.declare(self.queue)
        worker = self.worker("-c", "4")
        for tasks in 100, 600:  # the first show how long they take
            self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [0.01])
                               for _ in range(tasks)])
        listed = ctl("list_consumers", "queue_name", "consumer_tag")
        numbers = re.findall(r"^%s\s+ctask\.(\d+)$" % self.queue, listed, re.M)
        self.assertLess(max(map(int, numbers)), 25, "consumers so far")
        self.assertLessEqual(len(numbers), 2, "consumers at once")
        self.assertEqual(worker.stop(), 0)

    def test_on_a_calm_quorum_queue_no_task_hears_that_it_may_have_been_started(self):
        self.bus.channel.queue_declare(self.queue, durable=True, auto_delete=False,
                                       arguments={"x-queue-type": "quorum"})
        # What else runs on this machine may starve the workers of one run, not of each.
        runs = [self.given_back_and_flagged()]
        while len(runs) < 5 and runs[-1] >= (0, MANY * 0.005):
            runs.append(self.given_back_and_flagged())
        print("given back, flagged: %s of %d" % (runs, MANY))
        self.assertLess(runs[-1], (0, MANY * 0.005))

    def given_back_and_flagged(self):
        """Of a run of tasks of all lengths, so that there is always a reason to hold more or less."""
        lengths = random.Random(1)

        def seconds():
            return lengths.uniform(0, lengths.choices((0.3, 0.05, 0), (1, 9, 90))[0])
        ids = [self.bus.send(self.queue, "demo.sleep", [seconds()]) for _ in range(MANY)]
        workers = [self.worker("-c", "4") for _ in range(2)]
        flagged = sum(bool(r.get("redelivered")) for r in self.bus.results(*ids).values())
        self.assertEqual([worker.stop() for worker in workers], [0, 0])
        back = sum(int(n) for worker in workers
                   for n in re.findall(r"given back (\d+)", worker.log()))
        return back, flagged

    def test_alone_on_its_queue_it_gives_nothing_back(self):
        """Whatever has to wait here, nobody else would run it."""
        self.bus.declare(self.queue)
        worker = self.worker("-c", "1")
        self.bus.results(*[self.bus.send(self.queue) for _ in range(400)])  # it holds many now
        self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [0.1]) for _ in range(40)])
        self.assertEqual(worker.stop(), 0)
        self.assertRegex(worker.log(), "given back 0")

    def test_what_waits_behind_a_long_one_goes_back_once_there_is_somebody_else(self):
        self.bus.declare(self.queue)
        first = self.worker("-c", "1", "-l", "trace")
        stuck = [self.bus.send(self.queue, "demo.sleep", [600]) for _ in range(2)]
        first.expect("new -> ready", 2)
        second = self.worker("-c", "1", "-l", "trace")
        second.expect("id=(%s) ready -> running" % "|".join(stuck))
        for worker in first, second:
            worker.signal(signal.SIGQUIT)

    def test_what_waits_stays_while_others_have_enough_to_do(self):
        self.bus.declare(self.queue)
        worker = self.worker("-c", "1", "-l", "trace")
        self.bus.results(*[self.bus.send(self.queue) for _ in range(400)])  # it holds many now
        other = Bus()
        other.channel.basic_qos(0, 1, False)
        other.channel.basic_consume(self.queue, callback=lambda message: None)
        ids = [self.bus.send(self.queue, "demo.sleep", [2 * LONG]) for _ in range(3000)]
        worker.expect("(%s) running -> settling" % "|".join(ids), 2)
        came = re.findall("id=(%s) new -> ready" % "|".join(ids), worker.log())
        self.assertGreater(len(came), 3, "none waits here")
        self.assertEqual(len(came), len(set(came)), "some went back and came again")
        worker.signal(signal.SIGQUIT)
        worker.wait()
        other.close()

    def test_what_nobody_else_could_run_waits_without_a_stir(self):
        """Of two queues one has another consumer, and what waits is of the other one."""
        self.bus.declare(self.queue)
        shared = unique()
        self.bus.declare(shared)
        other = self.worker("-c", "1", queue=shared)
        worker = self.worker("-c", "1", "-l", "trace", queue="%s,%s" % (self.queue, shared))
        for _ in range(2):
            self.bus.send(self.queue, "demo.sleep", [600])
        worker.expect("new -> ready", 2)
        time.sleep(2)  # now one of them has waited for too long
        before = cpu_seconds(worker.pid)
        time.sleep(3)
        self.assertLess(cpu_seconds(worker.pid) - before, 0.2)
        for each in worker, other:
            each.signal(signal.SIGQUIT)
            self.assertEqual(each.wait(), 0)
        self.bus.delete(shared)

    def test_tasks_for_later_hold_up_no_queue_while_another_has_room(self):
        """Tasks of a queue with such a name wait in the worker."""
        later = unique() + ".#"
        self.bus.declare(later)
        self.bus.declare(self.queue)
        worker = self.worker("-c", "2", queue="%s,%s" % (later, self.queue))
        eta = (datetime.datetime.utcnow() + datetime.timedelta(hours=1)).isoformat()
        for _ in range(20):
            self.bus.send(later, headers={"eta": eta})
        self.assertEqual(self.bus.result(self.bus.send(later))["status"], "SUCCESS")
        self.assertEqual(worker.stop(), 0)
        self.bus.delete(later)

    def test_a_queue_with_two_consumers_keeps_two_when_another_is_narrowed(self):
        """Tasks for later fill the first consumer of one queue, so that it gets a second one. Then
        tasks are found to be long. Only when the other queue is narrowed is it known that something
        is missing, which both queues then share."""
        later = unique() + ".#"  # so they wait in the worker
        queues = later, self.queue
        for queue in queues:
            self.bus.channel.queue_declare(queue, durable=True, auto_delete=False,
                                           arguments={"x-queue-type": "quorum"})
        worker = self.worker("-c", "4", queue="%s,%s" % queues)

        def consumers():
            """For each queue the numbers of its consumers."""
            listed = ctl("list_consumers", "queue_name", "consumer_tag")
            return [sorted(map(int, re.findall(r"^%s\s+ctask\.(\d+)$" % re.escape(queue), listed,
                                               re.M))) for queue in queues]
        eta = (datetime.datetime.utcnow() + datetime.timedelta(hours=1)).isoformat()
        for _ in range(11):  # the first consumer holds 8, the second one 4
            self.bus.send(later, headers={"eta": eta})
        until("all are here", lambda: self.bus.depth(later) == 0)
        until("a second consumer", lambda: consumers() == [[1, 2], [1]])
        self.bus.result(self.bus.send(self.queue, "demo.sleep", [2 * LONG]))
        until("each queue has a new one", lambda: worker.process.poll() is not None or
              all(new in numbers for new, numbers in zip((3, 2), consumers())))
        # Listed again, since the cancel follows the new consumer after some 20 ms.
        self.assertEqual(consumers(), [[1, 3], [2]])
        self.assertEqual(worker.stop(), 0)
        self.bus.delete(later)

    def held(self, worker):
        """The most tasks that it had at a time, running or for a child."""
        now = most = 0
        for line in worker.log().splitlines():
            now += line.endswith("new -> ready")
            now -= line.endswith("running -> settling")
            most = max(most, now)
        return most

    def test_one_waits_for_each_child_also_where_a_tenth_of_a_second_is_less(self):
        """Without it a child that has ended a task waits until the broker has its ack."""
        self.bus.declare(self.queue)
        worker = self.worker("-c", "2", "-l", "trace")
        # Of long ones none is held beyond what runs: the window is a new one afterwards.
        self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [LONG]) for _ in range(2)])
        self.assertEqual(self.held(worker), 2)
        self.bus.results(*[self.bus.send(self.queue, "demo.sleep", [MIDDLING]) for _ in range(16)])
        self.assertGreaterEqual(self.held(worker), 4)
        self.assertEqual(worker.stop(), 0)


class Idle(BrokerTest):
    def sac(self):
        """The queue gives all it has to one consumer, until that one is gone."""
        self.bus.channel.queue_declare(self.queue, durable=True, auto_delete=False,
                                       arguments={"x-single-active-consumer": True})

    def consumer(self):
        """One that takes a message and keeps it."""
        other = Bus()
        other.channel.basic_qos(0, 1, False)
        other.channel.basic_consume(self.queue, callback=lambda message: None)
        return other

    def test_a_queue_that_is_not_empty_and_gives_nothing_is_consumed_over_a_new_channel(self):
        """Here since another one is its single active consumer. The worker cannot know that: a queue
        whose leader stood still may look the same."""
        self.sac()
        other = self.consumer()
        worker = self.worker("-c", "1")
        ids = [self.bus.send(self.queue) for _ in range(3)]
        worker.expect("queue %s holds 2 messages and none comes: it is consumed over a new channel" %
                      self.queue)
        other.close()
        self.assertEqual({r["result"] for r in self.bus.results(*ids).values()}, {True})
        self.assertEqual(worker.stop(), 0)

    def test_while_nothing_comes_each_further_channel_is_opened_later_until_a_delivery(self):
        """Nothing may be wrong: here the single active consumer is somebody else's, for good."""
        self.sac()
        with Clock() as clock, FaultProxy(URL, "?heartbeat=0") as proxy:
            other = self.consumer()
            worker = self.worker("-c", "1", url=proxy.url, env=clock.env)
            ids = [self.bus.send(self.queue) for _ in range(2)]
            seconds = [self.until_none_comes(worker, clock, count) for count in (1, 2, 3)]
            successor = self.consumer()  # of the worker, which is the next one itself
            other.close()
            self.bus.results(*ids)
            proxy("reset", proxy.named(" in$"))
            for _ in range(2):
                self.bus.send(self.queue)
            seconds.append(self.until_none_comes(worker, clock, 4))
            print("after %s s" % seconds)
            self.assertGreater(seconds[1], seconds[0] + 7)  # 10 s, 20 s, 40 s, 10 s
            self.assertGreater(seconds[2], seconds[1] + 15)
            self.assertLess(seconds[3], seconds[1])
            self.assertEqual(worker.stop(), 0)
            successor.close()

    def until_none_comes(self, worker, clock, count):
        """How many seconds pass until the worker has said so that often."""
        seconds = 0
        while len(re.findall("holds [0-9]+ messages and none comes", worker.log())) < count:
            self.let_pass(worker, clock, 1)
            seconds += 1
        return seconds

    def let_pass(self, worker, clock, seconds):
        """One after the other, with time for what the worker does in each."""
        for _ in range(seconds):
            clock.move(1, worker.pid)
            time.sleep(0.05)

    def quorum(self, *queues):
        for queue in queues:
            self.bus.channel.queue_declare(queue, durable=True, auto_delete=False,
                                           arguments={"x-queue-type": "quorum"})

    def test_a_consumer_that_the_queue_has_lost_is_opened_anew(self):
        """Until there is a message to come its loss looks like that of the queue's leader; then the queue
        is looked at each second, and bound no more often than before."""
        self.quorum(self.queue)
        with Clock() as clock, FaultProxy(URL, "?heartbeat=0") as proxy:
            worker = self.worker("-c", "1", url=proxy.url, env=clock.env)
            ctl("eval", '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
                "L = amqqueue:get_pid(Q), {ok, {_, C}, _} = ra:local_query(L, fun "
                "rabbit_fifo:query_consumers/1), [ra:process_command(L, rabbit_fifo:make_checkout("
                "{element(2, K), element(1, K)}, cancel, #{})) || K <- maps:values(C)]." % self.queue)
            proxy("trace on")
            self.let_pass(worker, clock, 20)
            asked = collections.Counter(re.findall(r" c2s frame (?:\d+ )?([a-z]+\.[a-z-]+)",
                                                   "\n".join(proxy.events)))
            print(dict(asked))
            self.assertGreater(asked["queue.declare"], 9)
            self.assertLess(asked["queue.bind"], 4)
            ids = [self.bus.send(self.queue) for _ in range(3)]
            self.until_none_comes(worker, clock, 1)
            self.bus.results(*ids)
            self.assertEqual(worker.stop(), 0)

    def test_a_consumer_that_was_away_while_tasks_were_long_has_its_time_again(self):
        """The deliveries of a channel that is closed at once come again, as redelivered."""
        other = unique()
        self.quorum(self.queue, other)
        with Clock() as clock:
            worker = self.worker("-c", "1", "-l", "trace", queue="%s,%s" % (self.queue, other),
                                 env=clock.env)
            long = self.bus.send(self.queue, "demo.sleep", [3])
            worker.expect("%s ready -> running" % long)
            self.let_pass(worker, clock, 16)
            ids = [self.bus.send(other, "demo.sleep", [0.01]) for _ in range(50)]
            self.bus.result(long)
            results = self.bus.results(*ids)
            self.assertEqual([r for r in results.values() if r.get("redelivered")], [])
            self.assertNotIn("new channel", worker.log())
            self.assertEqual(worker.stop(), 0)
        self.bus.delete(other)

    def test_a_queue_that_was_deleted_and_is_back_with_tasks_is_consumed_first(self):
        """For a while it may not be declared. Nothing could come from it, so it has its time again."""
        user = unique()
        ctl("add_user", user, user)
        self.addCleanup(ctl, "delete_user", user)
        ctl("set_permissions", user, ".*", ".*", ".*")
        self.bus.declare(self.queue)
        with Clock() as clock:
            worker = self.worker("-c", "1", url=url_for(user, user), env=clock.env)
            ctl("set_permissions", user, "^$", ".*", ".*")
            self.bus.channel.queue_delete(self.queue)
            worker.expect("it is declared and consumed again")
            self.let_pass(worker, clock, 13)
            self.bus.declare(self.queue)
            ids = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(50)]
            results = self.bus.results(*ids)
            self.assertEqual([r for r in results.values() if r.get("redelivered")], [])
            self.assertNotIn("new channel", worker.log())
            self.assertEqual(worker.stop(), 0)

    def test_the_time_counts_from_the_last_delivery_however_long_a_task_runs_on(self):
        self.sac()
        with Clock() as clock, FaultProxy(URL, "?heartbeat=0") as proxy:
            worker = self.worker("-c", "2", "--time-limit", "20", "-l", "trace", url=proxy.url,
                                 env=clock.env)
            other = self.consumer()
            for seconds in 600, 3, 600:
                self.bus.send(self.queue, "demo.sleep", [seconds])
            worker.expect("running -> settling")
            for _ in range(3):
                self.bus.send(self.queue)
            seconds = self.until_none_comes(worker, clock, 1)
            print("after %d s" % seconds)
            self.assertRegex(worker.log(), "(?s)time limit of 20 s is over.*none comes")
            self.assertLess(seconds, 30)
            worker.signal(signal.SIGQUIT)
            self.assertEqual(worker.wait(), 0)
            other.close()

    def test_with_a_task_here_it_is_not(self):
        """That would run once more. Its consumer was cancelled, so that another one had what waited."""
        self.sac()
        worker = self.worker("-c", "2", "-l", "trace")
        other = self.consumer()
        for seconds in 600, 3, 600:
            self.bus.send(self.queue, "demo.sleep", [seconds])
        worker.expect("running -> settling")
        self.bus.send(self.queue)  # to stay in the queue, and the worker has room
        time.sleep(17)
        self.assertNotIn("new channel", worker.log())
        worker.signal(signal.SIGQUIT)
        self.assertEqual(worker.wait(), 0)
        other.close()


if __name__ == "__main__":
    main()
