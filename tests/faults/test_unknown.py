"""Tasks that no worker knows: their caller is told at once, they wait in the broker for one that does,
and whoever comes after them waits for none of it."""
import collections
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import Clock  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, CTL, URL, BrokerTest, Bus, ctl, main, until  # noqa: E402

MANY, HELD_MAX, ROUNDS = 1000, 100, 10


class Unknown(BrokerTest):
    def setUp(self):
        super().setUp()
        self.other = Bus()
        self.addCleanup(self.other.close)

    def known(self):
        """A call of somebody else."""
        self.assertIs(self.other.result(self.other.send(self.queue))["result"], True)

    def unsettled(self):
        """Messages in the queue, and with the worker."""
        for line in ctl("-q", "list_queues", "name", "messages").splitlines():
            if line.split("\t")[0] == self.queue:
                return int(line.split("\t")[1])
        return None

    @unittest.skipUnless(CTL, "needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")
    def test_a_thousand_of_them_wait_in_the_broker(self):
        worker = self.worker(app="primes")
        sent = [self.bus.send(self.queue, "demo.echo", [i]) for i in range(MANY)]
        self.known()
        told = collections.Counter()
        while len(told) < MANY:
            told[json.loads(self.bus.take(self.bus.reply_to).body)["task_id"]] += 1
        self.assertEqual(set(told), set(sent))
        self.known()
        until("none is with the worker", lambda: self.unsettled() == 0)
        self.known()
        self.assertEqual(worker.stop(), 0)
        self.worker(app="demo")
        results = self.bus.results(*sent)
        self.assertEqual(sorted(r["result"] for r in results.values()), list(range(MANY)))
        self.assertEqual(self.bus.depth(self.queue + ".dead"), 0)

    def test_without_delay_queues_few_of_them_wait_for_long(self):
        """Most go back each second, so that others get their turn, and use up none of their rounds."""
        self.queue += ".#"  # no name for the broker's delay queues
        worker = self.worker(app="primes")
        for i in range(MANY + 200):
            self.bus.send(self.queue, "demo.echo", [i], headers={"x-ctask-unknown": ROUNDS - 1},
                          reply_to=False)
        self.known()
        worker.expect("wait in this worker, since the broker cannot delay them")
        self.assertEqual(worker.stop(), 0)
        until("all are back", lambda: self.bus.depth(self.queue) +
              self.bus.depth(self.queue + ".dead") >= MANY + 200)
        left = [self.bus.channel.basic_get(self.queue, no_ack=True)
                for _ in range(self.bus.depth(self.queue))]
        rounds = collections.Counter(m.headers["x-ctask-unknown"] for m in left)
        rounds[ROUNDS] += self.bus.depth(self.queue + ".dead")
        self.assertEqual(sum(rounds.values()), MANY + 200)
        self.assertLessEqual(rounds[ROUNDS], 3 * HELD_MAX)

    TOLD = "no worker of queue %s knows task %s (a worker offers: is_prime"

    def test_its_caller_is_told_in_the_first_round(self):
        self.worker(app="primes")
        self.bus.send(self.queue, "nobody.knows")
        seen = json.loads(self.bus.take(self.bus.reply_to).body)
        self.assertEqual((seen["status"], seen["result"]["exc_type"]), ("RETRY", "NotRegistered"))
        self.assertIn(self.TOLD % (self.queue, "nobody.knows"), seen["result"]["exc_message"][0])

    def ctask(self, *args, given=""):
        return subprocess.run([os.path.join(BIN, "ctask"), args[0], "-Q", self.queue, *args[1:]],
                              input=given, capture_output=True, text=True,
                              env=dict(os.environ, CTASK_BROKER_URL=URL))

    def test_the_command_says_so_and_gives_it_as_the_reason_of_a_timeout(self):
        self.worker(app="primes")
        told = "NotRegistered: " + self.TOLD % (self.queue, "nobody.knows")
        call = self.ctask("call", "--timeout=6", "nobody.knows")
        self.assertEqual(call.returncode, 4, call.stderr)
        first, last = call.stderr.splitlines()
        self.assertIn(told, first)
        self.assertIn("it is tried again", first)
        self.assertIn("no result within 6 s: " + told, last)
        many = self.ctask("map", "--timeout=6", "--quiet", "--chunk=3", "nobody.knows", given="1\n2\n3\n")
        self.assertEqual(many.returncode, 4, many.stderr)
        first, last = many.stderr.splitlines()
        self.assertIn(told, first)
        self.assertIn("not all done in the given time: " + told, last)

    def test_of_many_with_one_name_a_line_a_minute_is_logged_and_the_others_are_counted(self):
        with Clock() as clock:
            worker = self.worker(app="primes", url=URL + "?heartbeat=0", env=clock.env)
            for _ in range(300):
                self.bus.send(self.queue, "nobody.knows")
                self.bus.take(self.bus.reply_to)
            self.bus.send(self.queue, "nobody.knows.it")
            worker.expect("nobody.knows.it from .* does not run")
            self.known()
            self.assertEqual(worker.log().count("does not run"), 2)
            clock.move(61, worker.pid)
            self.bus.send(self.queue, "nobody.knows")
            worker.expect("does not run: NotRegistered: .*, and 299 others")
            self.assertEqual(worker.stop(), 0)

    def test_a_worker_may_fail_them_at_once(self):
        worker = self.worker("--fail-unknown", app="primes,demo")
        task = self.bus.send(self.queue, "nobody.knows")
        text = self.bus.result(task)["result"]["exc_message"][0]
        self.assertIn("(a worker offers: demo.add, ", text)
        self.assertIn(", ...)", text)  # not all of them
        self.assertLess(len(text), 400)
        self.assertEqual(self.bus.take(self.queue + ".dead").headers["x-ctask-dead-type"],
                         "NotRegistered")
        self.assertNotIn("passed on 1", worker.log())

    def test_the_name_that_may_be_meant_comes_first(self):
        self.worker("--fail-unknown", app="primes,demo")
        for name, meant in ("is_prim", "is_prime"), ("isprime", "is_prime"), ("add", "demo.add"):
            text = self.bus.result(self.bus.send(self.queue, name))["result"]["exc_message"][0]
            self.assertIn("(a worker offers: %s, " % meant, text)


if __name__ == "__main__":
    main()
