"""What operators do, and brokers that are set up otherwise than a worker would: rights that are
missing and come later, virtual hosts that go, queues that exist with other arguments, are somebody
else's, full, or crash; callers that do not read. A worker says what it lacks, goes on with the rest,
and takes up its work by itself when it can."""
import os
import re
import subprocess
import sys
import time
import unittest

import amqp  # Debian: python3-amqp

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import Clock, PrivateBroker  # noqa: E402
from poison import POISON  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, Bus, Worker, main, unique, until  # noqa: E402

PATIENCE = 31  # seconds: the longest wait of a worker that was refused
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()


def tearDownModule():
    broker.__exit__()


class Operations(unittest.TestCase):
    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique()
        self.user = unique("user")

    def tearDown(self):
        self.bus.delete(self.queue)
        self.bus.close()

    def worker(self, *args, queue=None, **kwargs):
        worker = Worker("-c", "1", *args, queue=queue or self.queue, url=kwargs.pop("url", broker.url), **kwargs)
        self.addCleanup(worker.stop)
        return worker

    def works(self, queue=None):
        self.assertIs(self.bus.result(self.bus.send(queue or self.queue))["result"], True)


def erlang(module, function, *args):
    broker.evaluate("%s:%s(%s)" % (module, function, ", ".join('<<"%s">>' % a for a in args)))


class Rights(Operations):
    def setUp(self):
        super().setUp()
        erlang("rabbit_auth_backend_internal", "add_user", self.user, "secret", "test")
        self.addCleanup(erlang, "rabbit_auth_backend_internal", "delete_user", self.user, "test")

    def may(self, configure=".*", write=".*", read=".*", vhost="/"):
        erlang("rabbit_auth_backend_internal", "set_permissions", self.user, vhost, configure, write,
               read, "test")

    @property
    def url(self):
        return "amqp://%s:secret@127.0.0.1:%d" % (self.user, broker.port)

    def test_no_right_to_declare(self):
        """Neither its queue nor the one for dead letters. What exists is used without that right."""
        self.may(configure="^$")
        worker = self.worker(url=self.url, wait=False)
        worker.expect("ERROR .*%s.*ACCESS_REFUSED.*'%s'" % (self.queue, self.user))
        worker.expect(r"ERROR .*%s\.dead.*ACCESS_REFUSED" % self.queue)
        self.bus.declare(self.queue)
        self.bus.channel.queue_declare(self.queue + ".dead", durable=True, auto_delete=False)
        worker.expect("ready")
        self.works()
        self.bus.send(self.queue, args=["x"])
        self.assertEqual(self.bus.take(self.queue + ".dead").headers["x-ctask-dead-type"], "TypeError")

    def test_no_right_to_consume(self):
        self.bus.declare(self.queue)
        task = self.bus.send(self.queue)
        self.may(read="^$")
        worker = self.worker(url=self.url, wait=False)
        worker.expect("WARN .*channel that consumes %s: ACCESS_REFUSED.*'%s'" % (self.queue, self.user))
        self.may()
        worker.expect("ready")
        self.assertIs(self.bus.result(task)["result"], True)

    def test_no_right_to_publish(self):
        """No result can be sent: its task stays with the worker until it can."""
        self.bus.declare(self.queue)
        self.bus.channel.queue_declare(self.queue + ".dead", durable=True, auto_delete=False)
        self.may(write="^$")
        worker = self.worker(url=self.url)
        task = self.bus.send(self.queue)
        worker.expect("WARN .*id=%s.*ACCESS_REFUSED.*trying again" % task)
        self.assertEqual(broker.depth(self.queue), (0, 1))
        self.may()
        self.assertIs(self.bus.result(task)["result"], True)
        until("it is settled", lambda: broker.depth(self.queue) == (0, 0))

    def test_a_producer_is_told_which_right_it_lacks(self):
        self.worker()
        for rights in {"configure": "^$"}, {"write": "^$"}, {"read": "^$"}:
            self.may(**rights)
            call = subprocess.run(
                [os.path.join(BIN, "ctask"), "call", "-Q", self.queue, "--timeout=30", "is_prime", "97"],
                env=dict(os.environ, CTASK_BROKER_URL=self.url), stdin=subprocess.DEVNULL,
                capture_output=True, text=True)
            self.assertNotIn(call.returncode, (0, 4), (rights, call.stderr))
            self.assertRegex(call.stderr, "ACCESS_REFUSED.*%s" % self.user)
            self.assertNotIn("secret", call.stderr)

    def test_a_virtual_host_that_goes_and_comes_back(self):
        vhost = unique("vhost")
        erlang("rabbit_vhost", "add", vhost, "test")
        self.may(vhost=vhost)
        with Clock() as clock:
            worker = self.worker(url=self.url + "/" + vhost, env=clock.env)
            erlang("rabbit_vhost", "delete", vhost, "test")
            worker.expect("connection lost: .*%s.*trying again" % vhost, 2)
            erlang("rabbit_vhost", "add", vhost, "test")
            self.addCleanup(erlang, "rabbit_vhost", "delete", vhost, "test")
            self.may(vhost=vhost)
            clock.move(PATIENCE, worker.pid)
            worker.expect("connected again")
            until("its queue is back", lambda: broker.evaluate(
                'length([Q || Q <- rabbit_amqqueue:list_names(<<"%s">>), nomatch =:= '
                'string:find(element(4, Q), "delayed"), nomatch =:= '
                'string:find(element(4, Q), "undelivered")])' % vhost) == "2")
            self.assertEqual(worker.stop(), 0)


class Queues(Operations):
    def test_a_queue_that_exists_is_used_as_it_is(self):
        """Whatever arguments it was declared with; PRECONDITION_FAILED comes of declaring only."""
        for arguments, durable in (({"x-max-length": 100}, True), ({"x-message-ttl": 600000}, True),
                                   ({"x-max-priority": 4}, True), ({"x-expires": 600000}, True),
                                   ({"x-dead-letter-exchange": "", "x-overflow": "reject-publish"}, True),
                                   ({"x-single-active-consumer": True}, True),
                                   ({"x-queue-type": "quorum"}, True), ({}, False)):
            queue = unique()
            for name in queue, queue + ".dead":
                self.bus.channel.queue_declare(name, durable=durable, auto_delete=False, arguments=arguments)
            worker = self.worker(queue=queue)
            self.works(queue)
            self.bus.send(queue, args=["x"])
            self.assertEqual(self.bus.take(queue + ".dead").headers["x-ctask-dead-type"], "TypeError")
            self.assertEqual(worker.stop(), 0)
            self.assertNotRegex(worker.log(), "ERROR|broker refused")
            self.bus.delete(queue)

    def test_a_queue_that_is_another_connections_own(self):
        """RESOURCE_LOCKED, as after a half-open connection; the neighbour queue is served."""
        other = Bus(url=broker.url)
        other.channel.queue_declare(self.queue, exclusive=True, auto_delete=False)
        neighbour = unique()
        worker = self.worker(queue=self.queue + "," + neighbour, wait=False)
        worker.expect("ERROR .*%s.*RESOURCE_LOCKED" % self.queue)
        self.bus.declare(neighbour)
        self.works(neighbour)
        other.close()
        worker.expect("ready")
        self.works()
        self.bus.delete(neighbour)

    def test_a_queue_whose_process_dies(self):
        """Once, and the broker starts it anew; more often than it forgives, and the queue is down.
        The neighbour is served meanwhile, and the queue itself as soon as it is up again."""
        neighbour = unique()
        worker = self.worker(queue=self.queue + "," + neighbour)
        lookup = '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), ' % self.queue
        kill = lookup + "P = amqqueue:get_pid(Q), exit(P, kill), timer:sleep(20), is_process_alive(P)"
        broker.evaluate(kill)
        self.works()
        alive = lookup + "timer:sleep(100), is_process_alive(amqqueue:get_pid(Q))"
        while broker.evaluate(alive) == "true":
            for _ in range(10):
                broker.evaluate(kill)
        self.works(neighbour)
        start = "rabbit_amqqueue_sup_sup:start_queue_process("  # 4.0: without the last
        broker.evaluate(lookup + "P = case erlang:function_exported(rabbit_amqqueue_sup_sup, "
                        "start_queue_process, 3) of true -> " + start + "node(), Q, recovery); "
                        "false -> " + start + "node(), Q) end, "
                        "gen_server2:call(P, {init, {self(), non_clean_shutdown}}), ok")
        self.works()
        self.assertEqual(worker.stop(), 0)
        self.bus.delete(neighbour)


class Refused(Operations):
    """The broker does not take what follows from a task. That is no matter of other tasks."""
    BAD = 8  # more than two children and their window hold

    def setUp(self):
        super().setUp()
        self.dead = self.queue + ".dead"

    def full(self, queue, exclusive=False, holds=0):
        """From now on the queue takes nothing, until room()."""
        self.bus.channel.queue_declare(queue, durable=True, exclusive=exclusive, auto_delete=False)
        for _ in range(holds):
            self.bus.channel.basic_publish(amqp.Message("?"), "", queue)
        broker.ctl("set_policy", self.queue, "^%s$" % queue, '{"max-length": 0, "overflow": "reject-publish"}')

    def room(self):
        broker.ctl("clear_policy", self.queue)

    def send_bad(self, n=BAD):
        return {self.bus.send(self.queue, args=["x"]) for _ in range(n)}

    def refused(self, worker):
        """All bad messages are held; the worker's children have nothing to do with them."""
        until("all have come", lambda: broker.depth(self.queue) == (0, self.BAD))
        worker.expect("trying again")

    def assert_others_are_answered(self, worker):
        results = self.bus.results(*[self.bus.send(self.queue) for _ in range(20)])
        self.assertEqual([r["result"] for r in results.values()], [True] * 20)
        self.assertLess(worker.log().count("trying again"), 4)  # one a minute, not one a message

    def assert_all_are_kept(self, sent):
        kept = [self.bus.take(self.dead) for _ in sent]
        self.assertEqual({m.headers["id"] for m in kept}, sent)
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(self.bus.depth(self.dead), 0)

    def test_a_dead_queue_that_is_full_holds_no_other_task_up(self):
        self.full(self.dead)
        worker = self.worker("-c", "2")
        sent = self.send_bad()
        self.refused(worker)
        self.assert_others_are_answered(worker)
        self.room()
        self.assert_all_are_kept(sent)

    def test_bodies_that_wait_for_the_spool_hold_no_other_task_up(self):
        """One has it, and its dead letter is refused."""
        self.full(self.dead)
        worker = self.worker("-c", "2", "--body-limit=100000", "-l", "trace")
        sent = {self.bus.send(self.queue, body="x" * 200000) for _ in range(self.BAD)}
        self.refused(worker)
        worker.expect("new -> skipped", self.BAD - 1)
        self.assert_others_are_answered(worker)
        self.room()
        self.assert_all_are_kept(sent)

    def test_what_was_acknowledged_early_has_no_place_in_the_window(self):
        """Its place counted twice makes the window shrink and grow: each consumer has a number."""
        self.full(self.dead)
        worker = self.worker("-c", "2", "--prefetch=2", app="primes," + POISON)
        sent = set()
        for _ in range(15):
            sent |= {self.bus.send(self.queue, "poison.live_early") for _ in range(3)}
            self.works()
            time.sleep(0.2)
        until("none is the broker's any more", lambda: broker.depth(self.queue) == (0, 0))
        listed = broker.ctl("list_consumers", "queue_name", "consumer_tag")
        numbers = re.findall(r"^%s\s+ctask\.(\d+)$" % self.queue, listed, re.M)
        self.assertLess(max(map(int, numbers)), 4, "consumers so far")
        self.room()
        self.assert_all_are_kept(sent)

    def test_a_dead_queue_that_may_not_be_declared_holds_no_other_task_up(self):
        erlang("rabbit_auth_backend_internal", "add_user", self.user, "secret", "test")
        self.addCleanup(erlang, "rabbit_auth_backend_internal", "delete_user", self.user, "test")
        erlang("rabbit_auth_backend_internal", "set_permissions", self.user, "/", "^$", ".*", ".*", "test")
        self.bus.declare(self.queue)
        worker = self.worker("-c", "2", url="amqp://%s:secret@127.0.0.1:%d" % (self.user, broker.port))
        sent = self.send_bad()
        self.refused(worker)
        self.assert_others_are_answered(worker)
        self.bus.channel.queue_declare(self.dead, durable=True, auto_delete=False)
        self.assert_all_are_kept(sent)

    def test_a_lost_connection_doubles_no_dead_letter(self):
        self.full(self.dead)
        worker = self.worker("-c", "2")
        sent = self.send_bad()
        self.refused(worker)
        broker.close_connections()
        self.bus = Bus(url=broker.url)
        worker.expect("connected again")
        until("all are back", lambda: broker.depth(self.queue) == (0, self.BAD))
        self.room()
        self.assert_all_are_kept(sent)

    def test_who_leaves_gives_back_what_is_refused(self):
        self.full(self.dead)
        worker = self.worker("-c", "2")
        sent = self.send_bad()
        self.refused(worker)
        self.assertEqual(worker.stop(), 0)
        self.assertNotIn("asked to stop", worker.log())  # which it does at the end of --grace
        self.assertEqual(broker.depth(self.queue), (self.BAD, 0))
        self.room()
        self.worker("-c", "2")
        self.assert_all_are_kept(sent)

    def test_what_is_refused_has_a_ceiling_and_none_is_lost(self):
        self.full(self.dead)
        worker = self.worker("-c", "2", "--prefetch=10")
        sent = {self.bus.send(self.queue, args=["x" * 100000]) for _ in range(800)}
        worker.expect("ERROR .*tasks wait .*no more tasks are taken")
        self.assertGreater(broker.depth(self.queue)[0], 0)
        self.room()
        self.assert_all_are_kept(sent)
        self.works()

    def test_a_reply_queue_that_is_full_costs_its_own_results_only(self):
        """The broker refuses them (nack). Twice, then they are counted and dropped; they are no dead letters."""
        full = "ctask.reply." + unique()
        self.full(full, holds=1)
        worker = self.worker("-c", "2")
        for _ in range(self.BAD):
            self.bus.send(self.queue, reply_to=full)
        worker.expect("did not accept.*trying again")
        self.assert_others_are_answered(worker)
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        worker.expect("WARN .*its result is dropped: .*%s" % full)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("results nobody asked for 0, to no reply address 0, refused 0, dropped %d," % self.BAD, worker.log())
        self.assertLess(worker.log().count("is dropped"), 4)
        self.assertEqual(self.bus.depth(self.dead), 0)
        self.room()
        self.bus.channel.queue_delete(full)

    def test_thousands_of_results_for_an_empty_one_that_refuses_do_not_stop_the_others(self):
        empty = "ctask.reply." + unique()
        self.full(empty)
        worker = self.worker("-c", "2")
        for _ in range(2500):
            self.bus.send(self.queue, reply_to=empty)
        self.assert_others_are_answered(worker)
        self.assertNotIn("no more tasks are taken", worker.log())
        self.room()
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(worker.stop(), 0)
        # On a slow machine the first of them may have been tried for half a minute by then.
        dropped = int(re.search(r"refused \d+, dropped (\d+),", worker.log()).group(1))
        self.assertEqual(self.bus.depth(empty) + dropped, 2500)
        self.bus.channel.queue_delete(empty)

    def test_an_empty_reply_queue_that_refuses_gets_its_result_later(self):
        """As a quorum queue does while it chooses a new leader."""
        empty = "ctask.reply." + unique()
        self.full(empty)
        worker = self.worker("-c", "2")
        task = self.bus.send(self.queue, reply_to=empty)
        worker.expect("%s.*empty, and refuses it.*trying again" % empty)
        time.sleep(2)  # it has been refused twice
        self.assertNotIn("is dropped", worker.log())
        self.room()
        self.assertEqual(self.bus.take(empty).properties["correlation_id"], task)
        self.assertEqual(worker.stop(), 0)
        self.bus.channel.queue_delete(empty)

    def test_so_does_one_that_nobody_else_may_look_at(self):
        """An exclusive one: a look at it is refused, and what is sent to it is not."""
        full = "ctask.reply." + unique()
        self.full(full, exclusive=True)
        worker = self.worker("-c", "2")
        self.bus.send(self.queue, reply_to=full)
        worker.expect("WARN .*its result is dropped: .*%s" % full)
        until("it is settled", lambda: broker.depth(self.queue) == (0, 0))
        self.room()
        answered = self.bus.send(self.queue, reply_to=full)
        self.assertEqual(self.bus.take(full).properties["correlation_id"], answered)
        self.assertEqual(worker.stop(), 0)


class Results(Operations):
    def test_a_result_over_the_limit_is_a_failure(self):
        self.worker()
        task = self.bus.send(self.queue, "demo.big", [16 << 20])
        said = self.bus.result(task)["result"]
        self.assertEqual(said["exc_type"], "EncodeError")
        self.assertIn("over 15 MiB", said["exc_message"][0])
        self.works()
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)

    def test_a_caller_that_is_gone_is_counted(self):
        worker = self.worker()
        for _ in range(5):
            self.bus.send(self.queue, reply_to="ctask.reply.of-nobody")
        self.works()
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(worker.stop(), 0)
        self.assertIn("results nobody asked for 5, to no reply address 0, refused 0, dropped 0,", worker.log())
        said = re.findall("INFO .*nobody asks for its result.*ctask.reply.of-nobody", worker.log())
        self.assertIn(len(said), (1, 2))  # a minute

    def test_an_address_that_is_none_of_replies_is_counted_as_such(self):
        worker = self.worker("--reply-pattern=" + self.queue)
        for address in ("celery", "amq.rabbitmq.reply-to.g1.x", self.queue, "a\nb"):
            self.bus.send(self.queue, reply_to=address)
        self.bus.send(self.queue, "demo.fail", reply_to="celery")
        self.bus.send(self.queue, reply_to=False)
        self.bus.send(self.queue, reply_to="celery", headers={"ignore_result": True})
        self.works()
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        worker.expect('WARN .*its reply address "celery" is not one of replies')
        worker.expect('WARN .*its reply address "%s" is a queue of tasks' % self.queue)
        self.assertEqual(worker.stop(), 0)
        self.assertIn("results nobody asked for 0, to no reply address 5, refused 0, dropped 0,", worker.log())
        self.assertIn(worker.log().count("is not one of replies"), (1, 2))  # a minute

    def test_what_tasks_send_into_an_alarm_has_a_ceiling(self):
        """Each of eight sends 20 MB. While the broker takes nothing they wait, and the worker's memory does not grow."""
        self.bus.declare(self.queue)
        tasks = [self.bus.send(self.queue, "poison.flood", [20, 1000000]) for _ in range(8)]
        broker.memory_alarm(True)
        try:
            worker = self.worker("-c", "8", "-l", "trace", app="primes,demo," + POISON)
            worker.expect("ready -> running", 8)
            worker.expect("the broker takes no messages")
            seen = [0]
            until("it takes no more memory", lambda: seen.append(self.resident(worker)) or
                  time.sleep(0.1) or len(set(seen[-10:])) == 1)
        finally:
            broker.memory_alarm(False)
        self.assertEqual({r["result"] for r in self.bus.results(*tasks).values()}, {20})
        if not os.environ.get("CTASK_SANITIZED"):
            with open("/proc/%d/status" % worker.pid) as f:
                self.assertLess(int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)), 110 << 10)

    def test_a_caller_that_does_not_read_costs_the_worker_nothing(self):
        """16 MB of results wait in its queue, and come when it reads."""
        worker = self.worker()
        self.bus.results(*[self.bus.send(self.queue, "demo.big", [20000]) for _ in range(200)])
        before = self.resident(worker)
        tasks = [self.bus.send(self.queue, "demo.big", [20000]) for _ in range(800)]
        until("all results wait", lambda: self.bus.depth(self.bus.reply_to) == len(tasks))
        until("all are settled", lambda: broker.depth(self.queue) == (0, 0))
        if not os.environ.get("CTASK_SANITIZED"):
            self.assertLess(self.resident(worker) - before, 12288)  # KiB under way at a time, not all
        self.assertEqual(len(self.bus.results(*tasks)), len(tasks))

    @staticmethod
    def resident(worker):
        with open("/proc/%d/status" % worker.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1))


if __name__ == "__main__":
    main()
