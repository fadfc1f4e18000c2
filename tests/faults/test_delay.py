"""Delays in the broker: what is to run later waits in Celery's ladder of TTL queues, in no worker's
memory, and arrives whatever happens in between."""
import datetime
import json
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from bench import FaultProxy, PrivateBroker  # noqa: E402
from harness import BIN, GIVE_UP, Bus, Worker, main, unique, until  # noqa: E402

import amqp  # noqa: E402

LEVELS = ["celery_delayed_%d" % level for level in range(28)]
DELIVERY = "celery_delayed_delivery"
UNDELIVERED = "ctask.undelivered"
POLICY = "ctask-undelivered"
MANY = 60  # a quorum queue that cannot hand on 32 messages hands on no others
CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../broker-config")
LATER = os.path.join(os.path.dirname(BIN), "tests", "later")
MOVED = 1500
TASKS = int(os.environ.get("CTASK_TEST_TASKS", 20000))
broker = PrivateBroker()


def setUpModule():
    broker.__enter__()


def tearDownModule():
    broker.__exit__()


def in_seconds(seconds):
    """An eta as Python writes it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).isoformat()


class DelayTest(unittest.TestCase):
    """A test with a connection and a queue of its own, on the private broker."""

    def setUp(self):
        self.bus = Bus(url=broker.url)
        self.queue = unique()
        self.workers = []
        self.callers = []

    def tearDown(self):
        for worker in self.workers:
            worker.stop()
        for caller in self.callers:
            caller.kill()
            caller.communicate()
        self.bus.delete(self.queue)
        self.bus.close()

    def worker(self, *args, **kwargs):
        kwargs.setdefault("queue", self.queue)
        kwargs.setdefault("url", broker.url)
        worker = Worker(*args, **kwargs)
        self.workers.append(worker)
        return worker

    def call(self, *args, queue=None, url=None):
        """`ctask call` to our queue, in the background."""
        caller = subprocess.Popen([os.path.join(BIN, "ctask"), "-b", url or broker.url, "call",
                                   "-Q", queue or self.queue] + list(args),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.callers.append(caller)
        return caller

    def depths(self):
        """Of the levels that hold something; None as long as one is missing."""
        try:
            return {level: n for level in LEVELS for n in [self.bus.depth(level)] if n}
        except amqp.NotFound:
            self.bus.channel = self.bus.connection.channel()

    def ladder_exists(self):
        try:
            self.bus.channel.exchange_declare(LEVELS[27], "topic", passive=True)
            return True
        except amqp.NotFound:
            self.bus.channel = self.bus.connection.channel()
            return False

    def ladder_delete(self):
        for level in LEVELS:
            self.bus.channel.queue_delete(level)
            self.bus.channel.exchange_delete(level)
        self.bus.channel.exchange_delete(DELIVERY)

    def ladder_declare(self, kind, full=None):
        """As Celery does it (kombu.transport.native_delayed_delivery), in its order; but one level,
        `full`, takes no message."""
        channel = self.bus.channel
        for level in range(27, -1, -1):
            below = LEVELS[level - 1] if level else DELIVERY
            arguments = {"x-queue-type": kind, "x-overflow": "reject-publish",
                         "x-message-ttl": 2 ** level * 1000, "x-dead-letter-exchange": below}
            if kind == "quorum":
                arguments["x-dead-letter-strategy"] = "at-least-once"
            if level == full:
                arguments["x-max-length"] = 0
            channel.exchange_declare(LEVELS[level], "topic", durable=True, auto_delete=False)
            channel.queue_declare(LEVELS[level], durable=True, auto_delete=False,
                                  arguments=arguments)
            channel.queue_bind(LEVELS[level], LEVELS[level], "*." * (27 - level) + "1.#")
        for level in range(27, 0, -1):
            channel.exchange_bind(LEVELS[level - 1], LEVELS[level], "*." * (27 - level) + "0.#")
        channel.exchange_declare(DELIVERY, "topic", durable=True, auto_delete=False)
        channel.exchange_bind(DELIVERY, LEVELS[0], "*." * 27 + "0.#")


class FromC(DelayTest):
    def test_a_countdown_waits_in_the_broker_also_with_no_worker(self):
        sent = time.monotonic()
        caller = self.call("--countdown", "6s", "demo.echo", "1")
        until("the first level has it", lambda: self.ladder_exists() and self.depths())
        self.assertEqual(self.depths(), {LEVELS[2]: 1})
        worker = self.worker("-l", "trace")
        until("the second level has it", lambda: self.depths() == {LEVELS[1]: 1})
        self.assertNotIn("task id", worker.log())
        self.assertEqual(caller.communicate()[0], "1\n")
        self.assertGreater(time.monotonic() - sent, 5.9)
        self.assertEqual(self.depths(), {})


    def test_what_a_task_sends_for_later_and_what_it_retries_waits_there_too(self):
        self.worker("-c", "1", env={"CTASK_QUEUE": self.queue})
        retried = self.bus.send(self.queue, "demo.retry", [1, 4])
        sender = self.bus.send(self.queue, "demo.delay", ["demo.fail", 1, 4])
        until("both wait in the broker", lambda: sum((self.depths() or {}).values()) == 2)
        self.assertEqual(self.bus.result(sender)["status"], "SUCCESS")
        until("both are settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(self.bus.result(retried)["result"], 1)
        until("the other has run", lambda: self.depths() == {} and broker.depth(self.queue) == (0, 0))

    def test_a_queue_whose_name_leaves_no_room_for_the_key(self):
        name = (self.queue + "." + "n" * 200)[:200]
        caller = self.call("--countdown", "4s", "demo.echo", "1", queue=name)
        self.assertIn("its name is over 199 bytes", caller.communicate()[1])
        self.assertNotEqual(caller.returncode, 0)
        fits = name[:199]
        self.worker(queue=fits)
        caller = self.call("--countdown", "4s", "demo.echo", "1", queue=fits)
        self.assertEqual(caller.communicate()[0], "1\n")
        self.bus.delete(fits)


class FromPython(DelayTest):
    """A producer that knows nothing of the ladder: the worker moves what comes too early."""

    def later(self, eta, task="demo.echo", args=(1,), **kwargs):
        return self.bus.send(self.queue, task, args, headers={"eta": eta}, **kwargs)

    def test_an_eta_is_moved_into_the_broker(self):
        self.worker()
        due = time.time() + 7.5  # it may take 3.5 s of these to get there
        task = self.later(in_seconds(7.5))
        until("it waits in the broker", lambda: self.depths() == {LEVELS[2]: 1})
        until("its delivery is settled", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.assertGreaterEqual(time.time(), due)
        self.assertEqual(self.depths(), {})

    def test_one_whose_connection_is_lost_while_it_is_moved_is_moved_once(self):
        """Its delivery is in the queue again: the copy that has not left yet is not to leave."""
        with FaultProxy(broker.url) as proxy:
            worker = self.worker("-c", "1", "-l", "trace", url=proxy.url)
            self.later(in_seconds(3600))
            until("there is a ladder", lambda: self.depths() == {LEVELS[11]: 1})
            out = proxy.named(" out$")
            proxy("hold basic.publish 0 c2s", out)
            task = self.later(in_seconds(3600))
            worker.expect("id=%s new -> moving" % task)
            proxy("reset", proxy.named(" in$"))
            worker.expect("id=%s new -> moving" % task, 2)
            proxy("reset", out)
            until("it is moved", lambda: broker.depth(self.queue) == (0, 0))
            self.assertEqual(self.depths(), {LEVELS[11]: 2})
            self.assertEqual(worker.stop(), 0)
        self.bus.channel.queue_purge(LEVELS[11])

    def test_a_queue_that_cannot_be_delayed_to_is_waited_for_here(self):
        self.queue = (self.queue + "." + "n" * 200)[:200]
        worker = self.worker()
        tasks = [self.later(in_seconds(3.5)) for _ in range(2)]
        worker.expect("cannot delay them: its name is over 199 bytes")
        until("both are held", lambda: broker.depth(self.queue) == (0, 2))
        self.assertEqual({r["status"] for r in self.bus.results(*tasks).values()}, {"SUCCESS"})
        self.assertEqual(worker.log().count("cannot delay"), 1)

    def test_each_date_has_its_outcome(self):
        self.worker()
        at_once = ["0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z",
                   "2020-02-29T12:00:00.5", "2020-01-01T00:00:00-11:00", None]
        never = ["-1", "-0001-01-01T00:00:00", "tomorrow", "", "10000-01-01T00:00:00",
                 "2021-02-29T00:00:00", "2020-01-01T25:00:00", "2020-01-01T00:00:00+99:00"]
        naive = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
        zoned = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
        kept = {"9999-12-31T23:59:59": 27, naive.isoformat(): 11,
                (zoned + datetime.timedelta(hours=1)).isoformat(): 11,
                "9999-12-31T23:59:59.999999-23:59": 27}
        run = [self.later(eta) for eta in at_once]
        bad = [self.later(eta) for eta in never]
        for eta in kept:
            self.later(eta)
        results = self.bus.results(*(run + bad))
        self.assertEqual({results[i]["status"] for i in run}, {"SUCCESS"})
        for task, eta in zip(bad, never):
            self.assertEqual(results[task]["result"]["exc_type"], "InvalidTaskError")
            self.assertIn("'%s'" % eta, results[task]["result"]["exc_message"][0])
        until("the far ones are kept", lambda: sum((self.depths() or {}).values()) == len(kept))
        self.assertEqual(self.depths(), {LEVELS[27]: 2, LEVELS[11]: 2})
        for _ in range(2):  # one that is beyond the ladder is delayed by all of it
            message = self.bus.take(LEVELS[27])
            self.assertEqual(message.delivery_info["routing_key"], "1." * 28 + self.queue)
            self.bus.take(LEVELS[11])
        self.assertEqual(self.bus.depth(self.queue + ".dead"), len(never))

    def test_what_expires_while_it_waits_for_a_child_does_not_run(self):
        self.worker("-c", "1", "--prefetch", "2")
        busy = self.bus.send(self.queue, "demo.sleep", [1.5])
        late = self.bus.send(self.queue, headers={"expires": in_seconds(0.7)})
        until("both are taken", lambda: broker.depth(self.queue) == (0, 2))
        results = self.bus.results(busy, late)
        self.assertEqual(results[busy]["status"], "SUCCESS")
        self.assertEqual(results[late]["status"], "REVOKED")


class Refused(DelayTest):
    """A user of the broker who may not use the ladder."""

    def setUp(self):
        super().setUp()
        who = "<<\"weak\">>"
        broker.evaluate("rabbit_auth_backend_internal:add_user(%s, %s, %s)" % (who, who, who))
        broker.evaluate("rabbit_auth_backend_internal:set_permissions(%s, <<\"/\">>, <<\".*\">>, "
                        "<<\".*\">>, <<\"^(t\\\\.|ctask).*\">>, %s)" % (who, who))
        self.url = broker.url.replace("guest:guest", "weak:weak")
        if not self.ladder_exists():
            self.ladder_declare("quorum")

    def tearDown(self):
        super().tearDown()
        broker.evaluate("rabbit_auth_backend_internal:delete_user(<<\"weak\">>, <<\"x\">>)")

    def test_the_caller_hears_it_and_a_worker_waits_itself(self):
        caller = self.call("--countdown", "4s", "demo.echo", "1", url=self.url)
        self.assertIn("access to exchange '%s'" % DELIVERY, caller.communicate()[1])
        self.assertNotEqual(caller.returncode, 0)
        worker = self.worker("-c", "1", url=self.url)
        tasks = [self.bus.send(self.queue, "demo.echo", [1], headers={"eta": in_seconds(3.5)})
                 for _ in range(2)]
        retried = self.bus.send(self.queue, "demo.retry", [1, 3.5])
        until("all are held", lambda: broker.depth(self.queue) == (0, 3))
        self.assertEqual({r["status"] for r in self.bus.results(retried, *tasks).values()},
                         {"SUCCESS"})
        self.assertEqual(worker.log().count("cannot delay them"), 1)
        self.assertEqual(self.depths(), {})


class Ladders(DelayTest):
    """Whose ladder it is, and what it is made of."""

    def setUp(self):
        super().setUp()
        self.ladder_delete()

    def tearDown(self):
        super().tearDown()
        bus = self.bus = Bus(url=broker.url)
        self.ladder_delete()
        bus.close()

    def check_as_found(self, kind, gaps=()):
        """Used as found, by C and Python, for a classic and a quorum queue."""
        self.ladder_declare(kind)
        for level in gaps:
            self.bus.channel.queue_delete(LEVELS[level])
            self.bus.channel.exchange_delete(LEVELS[level])
        other = self.queue + ".quorum"
        self.bus.declare(self.queue)
        self.bus.channel.queue_declare(other, durable=True, auto_delete=False,
                                       arguments={"x-queue-type": "quorum"})
        self.worker(queue=self.queue + "," + other)
        callers = [self.call("--countdown", "8s", "demo.echo", "1", queue=q)
                   for q in (self.queue, other)]
        tasks = [self.bus.send(q, "demo.echo", [1], headers={"eta": in_seconds(10.5)})
                 for q in (self.queue, other)]
        until("all wait in the broker", lambda: self.depths() == {LEVELS[3]: 4})
        self.assertEqual([c.communicate()[0] for c in callers], ["1\n", "1\n"])
        self.assertEqual({r["status"] for r in self.bus.results(*tasks).values()}, {"SUCCESS"})
        if not gaps:
            self.ladder_declare(kind)  # refused if anything in it is another now
        self.bus.delete(other)

    def test_classic_levels_are_used_as_found(self):
        self.check_as_found("classic", gaps=(2, 7))

    def test_quorum_levels_are_used_as_found(self):
        self.check_as_found("quorum")

    def test_what_a_level_does_not_take_waits_in_a_worker(self):
        """What was to be moved there stays where it is; what a task sends goes to its queue at once."""
        self.ladder_declare("classic", full=11)
        worker = self.worker("-l", "trace", env={"CTASK_QUEUE": self.queue})
        early = self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
        worker.expect("id=%s moving -> waiting" % early)
        worker.expect("since the broker cannot delay them")
        sender = self.bus.send(self.queue, "demo.delay", ["demo.echo", 1, 3600])
        sent = self.bus.result(sender)["result"]
        worker.expect("id=%s .*: .* goes without delay" % sender)
        worker.expect("id=%s moving -> waiting" % sent)
        until("both are held", lambda: broker.depth(self.queue) == (0, 2))
        self.assertEqual(self.depths(), {})
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(broker.depth(self.queue), (2, 0))

    def test_what_a_level_does_not_take_and_runs_here_is_flagged(self):
        """A level whose node went down may have the copy all the same, and it comes due there."""
        self.ladder_declare("classic", full=2)
        worker = self.worker("-l", "trace")
        task = self.bus.send(self.queue, headers={"eta": in_seconds(7.5)})
        worker.expect("id=%s moving -> waiting" % task)
        result = self.bus.result(task)
        self.assertEqual((result["status"], result.get("redelivered")), ("SUCCESS", True))

    def test_what_a_level_does_not_take_goes_back_when_its_worker_leaves(self):
        self.ladder_declare("classic", full=11)
        with FaultProxy(broker.url) as proxy:
            worker = self.worker("-l", "trace", url=proxy.url)
            proxy("hold basic.nack 0 s2c", proxy.named(" out$"))
            task = self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
            proxy.expect("s2c hold basic.nack")
            worker.signal(signal.SIGTERM)
            worker.expect("leaving: 0 tasks")
            proxy("pass")
            self.assertEqual(worker.wait(), 0)
        self.assertNotIn("id=%s moving -> waiting" % task, worker.log())
        self.assertEqual(broker.depth(self.queue), (1, 0))


class Gone(DelayTest):
    """Queues that are gone when their tasks come due."""

    def setUp(self):
        super().setUp()
        self.gone = self.queue + ".gone"

    def tearDown(self):
        super().tearDown()
        bus = Bus(url=broker.url)
        for queue in (UNDELIVERED, UNDELIVERED + ".dead"):
            bus.channel.queue_delete(queue)  # the next who needs it declares it again
        bus.close()

    def without_policy(self):
        with open(os.path.join(CONFIG, "definitions.json")) as f:
            policy = next(p for p in json.load(f)["policies"] if p["name"] == POLICY)
        place = "<<\"/\">>, <<\"%s\">>, " % POLICY
        definition = ", ".join("{<<\"%s\">>, <<\"%s\">>}" % kv
                               for kv in policy["definition"].items())
        self.assertEqual(broker.evaluate("rabbit_policy:delete(%s<<\"test\">>)" % place), "ok")
        self.addCleanup(broker.evaluate, "rabbit_policy:set(%s<<\"%s\">>, [%s], 0, <<\"%s\">>, "
                        "<<\"test\">>)" % (place, policy["pattern"], definition,
                                         policy["apply-to"]))

    def test_their_tasks_stop_no_others_and_are_kept(self):
        self.without_policy()
        before = self.depths() or {}  # what other tests have left
        subprocess.run([LATER, self.gone, "8", str(MANY)], check=True,
                       env=dict(os.environ, CTASK_BROKER_URL=broker.url))
        self.bus.channel.queue_delete(self.gone)
        self.worker()
        caller = self.call("--countdown", "8s", "demo.echo", "1")
        self.assertEqual(caller.communicate(timeout=GIVE_UP)[0], "1\n")
        until("all are kept", lambda: self.bus.depth(UNDELIVERED) == MANY)
        self.assertEqual(self.depths(), before)
        other = self.worker(queue=UNDELIVERED)
        until("all have run", lambda: broker.depth(UNDELIVERED) == (0, 0))
        self.assertEqual(other.stop(), 0)
        self.assertEqual(self.bus.depth(UNDELIVERED + ".dead"), 0)

    def test_what_is_kept_is_said(self):
        caller = self.call("--countdown", "4s", "demo.echo", "1", queue=self.gone)
        until("it waits", self.depths)
        self.bus.channel.queue_delete(self.gone)
        until("it is kept", lambda: self.bus.depth(UNDELIVERED) == 1)
        worker = self.worker()
        self.bus.send(self.queue, headers={"eta": in_seconds(4)})
        worker.expect("WARN.* queue %s holds 1 task" % UNDELIVERED)
        self.worker(queue=UNDELIVERED)
        self.assertEqual(caller.communicate()[0], "1\n")

    def test_one_whose_routing_key_is_not_its_name_is_kept_and_said(self):
        """As a Celery app may have it: its producers delay under the key, which no worker knows."""
        worker = self.worker()
        self.bus.result(self.bus.send(self.queue, headers={"eta": in_seconds(4)}))  # all is declared
        key = unique("key")
        second = "0." * 27 + "1." + key
        self.bus.send(second, exchange=LEVELS[27])
        until("it is kept", lambda: self.bus.depth(UNDELIVERED) == 1)
        self.bus.send(self.queue, headers={"eta": in_seconds(4)})
        worker.expect("WARN.* queue %s holds 1 task.* not its name" % UNDELIVERED)
        self.bus.channel.queue_bind(self.queue, DELIVERY, "#." + key)
        bound = self.bus.send(second, exchange=LEVELS[27])
        self.assertEqual(self.bus.result(bound)["status"], "SUCCESS")

    def bind_as_celery(self, queue):
        channel = self.bus.channel
        channel.exchange_declare(queue, "topic", durable=True, auto_delete=False)
        channel.queue_declare(queue, durable=True, auto_delete=False)
        for key in (queue, "#." + queue):
            channel.queue_bind(queue, queue, key)
        channel.exchange_bind(queue, DELIVERY, "#." + queue)

    def test_one_that_celery_has_bound_too_gets_one_copy(self):
        if not self.ladder_exists():
            self.ladder_declare("quorum")
        self.bind_as_celery(self.queue)
        self.bus.channel.queue_bind(self.queue, DELIVERY, "*." * 28 + self.queue)  # ctask of old
        self.call("--countdown", "4s", "demo.echo", "1")
        until("it has come", lambda: self.bus.depth(self.queue) > 0)
        self.assertEqual(self.bus.depth(self.queue), 1)

    def test_those_that_only_celery_has_bound_are_covered_by_the_policy(self):
        self.call("--countdown", "1h", "demo.echo", "1")
        until("there is a ladder", self.depths)
        self.bind_as_celery(self.gone)
        for _ in range(MANY):
            self.bus.channel.basic_publish(amqp.Message("{}"), LEVELS[3],
                                           "0." * 24 + "1.0.0.0." + self.gone)
        until("they wait", lambda: (self.depths() or {}).get(LEVELS[3]) == MANY)
        self.bus.delete(self.gone)
        until("they are kept", lambda: self.bus.depth(UNDELIVERED) == MANY)
        self.bus.channel.queue_purge(LEVELS[11])

    def test_a_worker_of_what_is_undelivered_takes_the_look_for_the_policy_for_no_task(self):
        worker = self.worker(queue=UNDELIVERED)
        self.worker("--queue-type=quorum")
        self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
        until("all is moved", lambda: broker.depth(self.queue) == (0, 0))
        self.assertEqual(self.bus.result(self.bus.send(UNDELIVERED))["status"], "SUCCESS")
        self.assertEqual(worker.stop(), 0)
        self.assertIn("received 1, succeeded 1, failed 0", worker.log())
        self.bus.channel.queue_purge(LEVELS[11])

    def test_a_missing_policy_is_said_where_queues_are_quorum_queues(self):
        said = "WARN.*no policy \"%s\"" % POLICY
        quiet = self.worker("--queue-type=quorum")
        task = self.bus.send(self.queue, headers={"eta": in_seconds(3.5)})
        self.assertEqual(self.bus.result(task)["status"], "SUCCESS")
        self.without_policy()
        self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
        self.assertEqual(quiet.stop(), 0)
        self.assertNotRegex(quiet.log(), said)
        worker = self.worker("--queue-type=quorum")
        self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
        worker.expect(said)
        until("all is moved", lambda: broker.depth(self.queue) == (0, 0))
        self.bus.channel.queue_purge(LEVELS[11])


class Anew(DelayTest):
    """What was deleted while workers and producers live."""

    def bound(self):
        """Whether ctask.due leads to our queue."""
        return broker.evaluate(
            "[due || B <- rabbit_binding:list_for_destination(rabbit_misc:r(<<\"/\">>, queue, "
            "<<\"%s\">>)), element(2, B) =:= rabbit_misc:r(<<\"/\">>, exchange, <<\"ctask.due\">>)]"
            % self.queue) == "[due]"

    def send_as_celery(self, seconds):
        """As a Python producer that relies on a worker for the delay queues."""
        key = ".".join(format(seconds, "028b")) + "." + self.queue
        return self.bus.send(key, exchange=LEVELS[27])

    def test_a_worker_declares_all_at_its_start(self):
        self.ladder_delete()
        self.worker()
        until("there is a ladder", self.ladder_exists)
        until("its queue is bound", self.bound)
        self.assertEqual(self.bus.result(self.send_as_celery(1))["status"], "SUCCESS")

    def test_a_queue_that_is_declared_again_is_bound_again(self):
        worker = self.worker()
        until("it is bound", self.bound)
        for times in (1, 2):
            self.bus.channel.queue_delete(self.queue)
            worker.expect("was deleted; it is declared and consumed again", times)
            until("it is bound again", self.bound)
        self.assertEqual(self.bus.result(self.send_as_celery(1))["status"], "SUCCESS")

    def test_a_producer_binds_it_again_too(self):
        with subprocess.Popen([LATER, self.queue, "-", "-"], stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE,
                              env=dict(os.environ, CTASK_BROKER_URL=broker.url)) as producer:
            def send(seconds):
                producer.stdin.write("%d\n" % seconds)
                producer.stdin.flush()
                self.assertEqual(producer.stdout.readline(), "sent\n")

            send(3600)
            self.assertTrue(self.bound())
            self.bus.channel.queue_delete(self.queue)
            send(0)  # comes back, and the queue is declared again
            send(3600)  # asks for the binding, and does not wait for it
            until("it is bound again", self.bound)
            self.bus.channel.queue_delete(self.queue)
            self.bus.declare(self.queue)  # by somebody else, which no word tells

            def again():
                send(3600)
                return self.bound()
            until("it has looked again", again)
            producer.stdin.close()
        self.bus.channel.queue_purge(LEVELS[11])

    def test_a_level_further_down_is_declared_again(self):
        self.worker()
        until("there is a ladder", self.ladder_exists)
        self.bus.channel.queue_delete(LEVELS[0])
        self.bus.channel.exchange_delete(LEVELS[0])

        def again():
            self.bus.send(self.queue, headers={"eta": in_seconds(3600)})
            until("it is moved", lambda: broker.depth(self.queue) == (0, 0))
            try:
                self.bus.channel.exchange_declare(LEVELS[0], "topic", passive=True)
                return True
            except amqp.NotFound:
                self.bus.channel = self.bus.connection.channel()
        until("it is there again", again)
        self.assertEqual(self.bus.result(self.send_as_celery(1))["status"], "SUCCESS")
        for level in self.depths():
            self.bus.channel.queue_purge(level)


class Many(DelayTest):
    def memory(self, worker):
        with open("/proc/%d/status" % worker.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def moves(self):
        """As many of a Python producer's as a worker holds at most, and more."""
        eta = in_seconds(3700)
        for _ in range(MOVED):
            self.bus.send(self.queue, headers={"eta": eta})
        until("all have left the queue", lambda: broker.depth(self.queue) == (0, 0))

    def test_tasks_an_hour_ahead_cost_no_worker_memory_and_survive_a_restart(self):
        worker = self.worker("-c", "1")
        self.moves()
        before = self.memory(worker)
        subprocess.run([LATER, self.queue, "3700", str(TASKS)], check=True,
                       env=dict(os.environ, CTASK_BROKER_URL=broker.url))
        self.moves()
        after = self.memory(worker)
        until("all are kept", lambda: sum((self.depths() or {}).values()) == TASKS + 2 * MOVED)
        print("%d tasks an hour ahead: the worker has %d KiB, %d before" % (TASKS, after, before))
        if not os.environ.get("CTASK_SANITIZED"):  # whose memory grows by itself
            self.assertLess(after - before, 1024)
        broker.restart()
        worker.expect("connected again")
        self.bus = Bus(url=broker.url)
        until("all are back", lambda: sum((self.depths() or {}).values()) == TASKS + 2 * MOVED)
        self.assertEqual(self.bus.result(self.bus.send(self.queue))["status"], "SUCCESS")
        for level in self.depths():
            self.bus.channel.queue_purge(level)


if __name__ == "__main__":
    main()
