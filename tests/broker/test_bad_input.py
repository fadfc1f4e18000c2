"""Bad input (one test a kind): nothing crashes or wedges the worker; each message is logged once with
id and reason, answered with a FAILURE where the reply address is sane, and kept in <queue>.dead with
headers that say why."""
import itertools
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from content import ContentTest, raw_publish  # noqa: E402
from harness import CTL, Bus, ctl, main, unique, url_parts  # noqa: E402


class BadInput(ContentTest):
    # ---- bodies

    def test_body_not_json(self):
        self.assert_bad("DecodeError", body="{not json")

    def test_body_empty(self):
        self.assert_bad("DecodeError", body="")

    def test_body_not_three_elements(self):
        for body in ("[[97],{}]", "[[97],{},{},{}]", '{"a":1}', "[]", "3"):
            self.assert_bad("InvalidTaskError", body=body)

    def test_args_and_kwargs_of_the_wrong_kind(self):
        for body in ('[{},{},{}]', '[[97],[],{}]', '["x",{},{}]', '[[97],{},[1]]'):
            self.assert_bad("InvalidTaskError", body=body)

    def test_integers_beyond_64_bits(self):
        self.assert_bad("DecodeError", args=[2 ** 70])

    def test_nesting(self):
        self.assert_bad("DecodeError", body="[[%s97%s],{},{}]" % ("[" * 100000, "]" * 100000))

    def test_invalid_utf8(self):
        self.assert_bad("DecodeError", body=b'[["\xff\xfe"],{},{}]')

    def test_wrong_argument_count_or_type(self):
        for args, kwargs in (([], None), ([1, 2], None), (["x"], None), ([1.5], None), ([None], None),
                             ([[1]], None), ([1], {"n": 2}), ([1], {"m": 2})):
            self.assert_bad("TypeError", args=args, kwargs=kwargs)

    def test_body_over_the_limit(self):
        body = '[["%s"],{},{}]' % ("x" * (5 << 20))
        self.assert_bad("MessageTooLarge", body=body)

    def test_many_bodies_over_the_limit(self):
        body = '[["%s"],{},{}]' % ("x" * (5 << 20))
        tasks = [self.bus.send(self.queue, body=body) for _ in range(5)]
        results = self.bus.results(*tasks)
        self.assertEqual({r["status"] for r in results.values()}, {"FAILURE"})
        for _ in tasks:
            self.kept(body)
        self.assert_alive()

    # ---- heads

    def test_foreign_content_type(self):
        self.assert_bad("ContentDisallowed", content_type="application/x-python-serialize")
        self.assert_bad("ContentDisallowed", content_type="application/x-yaml")

    def test_foreign_encoding(self):
        self.assert_bad("DecodeError", content_encoding="utf-16")

    def test_missing_id(self):
        task = self.bus.send(self.queue, drop=("id",))
        result = self.bus.result(task)  # the correlation id still names the asker
        self.assertEqual(result["result"]["exc_type"], "InvalidTaskError")
        self.kept(kind="InvalidTaskError")
        self.assert_alive()

    def test_missing_headers_in_every_subset(self):
        keys = ("lang", "task", "id", "retries", "root_id", "origin")
        extra = {"retries": 0, "root_id": "r", "origin": "o"}
        bad = 0
        for size in range(len(keys) + 1):
            for drop in itertools.combinations(keys, size):
                task = self.bus.send(self.queue, drop=drop, headers=dict(extra))
                fine = "task" not in drop and "id" not in drop
                bad += not fine
                self.assertEqual(self.bus.result(task)["status"], "SUCCESS" if fine else "FAILURE")
        for _ in range(bad):
            self.kept()
        self.assert_alive()

    def test_odd_headers_do_not_hurt(self):
        for headers in ({"h%d" % i: i for i in range(200)},
                        {"nested": {"a": {"b": {"c": [1, {"d": None}]}}}}, {"retries": None},
                        {"eta": None, "expires": None}, {"timelimit": [None, None]}):
            task = self.bus.send(self.queue, headers=headers)
            self.assertEqual(self.bus.result(task)["status"], "SUCCESS", headers)
        self.assert_alive()

    def test_many_of_them_do_not_fill_the_log(self):
        tasks = [self.bus.send(self.queue, headers={"eta": "tomorrow"}) for _ in range(150)]
        self.bus.results(*tasks)
        self.assert_alive()
        self.assertEqual(self.bus.depth(self.dead), 150)
        self.assertEqual(self.one.log().count(" is kept in "), 100)

    def test_600_headers(self):
        self.bus.send(self.queue, headers={"h%d" % i: i for i in range(600)})
        self.kept()
        self.assert_alive()

    def test_an_empty_header_key(self):
        self.bus.send(self.queue, headers={"": "nameless"})
        self.kept()
        self.assert_alive()

    def test_headers_of_the_wrong_kind(self):
        for headers in ({"retries": "many"}, {"eta": "tomorrow"}, {"expires": "9999-99-99"}, {"eta": 3.5}):
            self.assert_bad("InvalidTaskError", headers=headers)

    def test_deeply_nested_header_tables(self):
        table = b""
        for _ in range(15000):
            table = b"\x01nF" + struct.pack(">I", len(table)) + table
        head = (b"\x04taskS\x00\x00\x00\x08is_prime" b"\x02idS\x00\x00\x00\x04deep") + table
        raw_publish(self.queue, head, b"[[97],{},{}]")
        self.kept()
        self.assert_alive()

    def test_a_cc_header_and_a_user_id_do_not_travel_on(self):
        user = url_parts()[0]
        self.bus.send(self.queue, args=["x"], headers={"CC": [self.queue + ".cc"]}, user_id=user)
        message = self.kept(kind="TypeError")
        self.assertNotIn("CC", message.headers)
        self.assertNotIn("user_id", message.properties)
        self.assertEqual(message.headers["x-ctask-user"], user)
        self.assert_alive()

    @unittest.skipUnless(CTL, "needs rabbitmqctl: set CTASK_TEST_CTL, or run ./dev test")
    def test_a_user_id_of_somebody_else(self):
        alice = unique("alice")
        ctl("add_user", alice, "secret")
        try:
            ctl("set_permissions", alice, ".*", ".*", ".*")
            hers = Bus(login=(alice, "secret"))
            hers.send(self.queue, args=["x"], user_id=alice)  # a copy under our name is refused
            self.assertEqual(self.kept(kind="TypeError").headers["x-ctask-user"], alice)
            hers.close()
        finally:
            ctl("delete_user", alice)
        self.assert_alive()

    # ---- tasks and replies

    def test_unknown_task_goes_back_for_a_neighbour_that_knows_it(self):
        self.workers[0].stop()
        knows_less = self.worker(app="primes")
        task = self.bus.send(self.queue, "demo.add", [2, 3])
        seen = json.loads(self.bus.take(self.bus.reply_to).body)
        self.assertEqual(seen["status"], "RETRY")
        self.assertEqual(seen["result"]["exc_type"], "NotRegistered")
        knows_less.expect("does not run")
        self.worker(app="demo")
        self.assertEqual(self.bus.result(task)["result"], 5)

    def test_unknown_task_that_may_have_been_started_says_so_to_the_neighbour(self):
        self.workers[0].stop()
        task = self.bus.send(self.queue, "demo.flagged", [])
        self.assertIsNotNone(self.bus.channel.basic_get(self.queue))  # whoever took it is gone:
        self.bus.channel.basic_recover(requeue=True)
        knows_less = self.worker("-l", "trace", app="primes")
        knows_less.expect("id=%s (settling|waiting) -> moving" % task)
        self.assertEqual(knows_less.stop(), 0)
        self.worker(app="demo")
        self.assertIs(self.bus.result(task)["result"], True)

    def test_unknown_task_fails_and_is_kept_after_ten_rounds(self):
        task = self.bus.send(self.queue, "nothing", headers={"x-ctask-unknown": 10})
        self.assertEqual(self.bus.result(task)["result"]["exc_type"], "NotRegistered")
        self.kept(kind="NotRegistered")

    def test_unknown_task_is_kept_at_once_where_asked(self):
        self.workers[0].stop()
        self.one = self.worker("--fail-unknown")
        self.assert_bad("NotRegistered", task="nothing")

    def test_reply_to_that_names_a_task_queue(self):
        self.bus.send(self.queue, args=["x"], reply_to=self.queue)
        self.kept(kind="TypeError")
        self.assert_alive()
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_reply_to_that_is_no_reply_address(self):
        victim = self.queue + ".victim"
        self.bus.channel.queue_declare(victim, durable=True, auto_delete=False)
        self.bus.send(self.queue, reply_to=victim)
        self.assert_alive()
        self.assertEqual(self.bus.depth(victim), 0)
        self.bus.channel.queue_delete(victim)

    def test_log_lines_cannot_be_forged(self):
        self.bus.send(self.queue, "evil\n2026-01-01 ERROR forged %n%s\x1b[2J")
        self.kept()
        self.assertNotIn("\x1b", self.one.log())
        self.assertFalse([line for line in self.one.log().splitlines() if line.startswith("2026-01-01 E")])
        self.assert_alive()


if __name__ == "__main__":
    main()
