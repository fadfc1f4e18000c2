"""Whatever a message contains, it has one outcome: it runs, or it fails for its caller and is kept in
<queue>.dead with the reason. No content ends a worker, grows its parent, or writes into its log what
it is not. tests/broker/test_bad_input.py has the plain cases; here are the odd ones."""
import json
import math
import os
import random
import re
import struct
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from content import ContentTest, long, raw_publish, short  # noqa: E402
from harness import main, unique, until  # noqa: E402

FRAME_BODY = 131072 - 8  # as much of a body as a frame holds
SEED = int(os.environ.get("CONTENT_SEED", "1"))


class Content(ContentTest):
    def outcomes(self, sent):
        """The outcome of each of {id: anything}; as many dead letters as were refused before their
        task ran."""
        results = self.bus.results(*sent)
        for result in results.values():
            self.assertIn(result["status"], ("SUCCESS", "FAILURE"))
        return results


class Bodies(Content):
    def test_what_is_no_json(self):
        for body in (" ", "\0", "[[97],{},{}", "[[97],{},{}]]", "[[97],{},{}] x", "[[97,],{},{}]",
                     "{'a': 1}", "[[97],{},{}] // so", "nil", '[["\n"],{},{}]', '[["\\x41"],{},{}]',
                     "[[0x61],{},{}]", "[[01],{},{}]", "[[1.],{},{}]", "[[.5],{},{}]", "[[+1],{},{}]"):
            self.assert_bad("DecodeError", body=body)

    def test_text_that_is_no_utf8(self):
        for text in (b"\xff", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"):
            self.assert_bad("DecodeError", body=b'[["%s"],{},{}]' % text)
        for half in ("\\ud800", "\\udc00", "\\ud800x", "\\ud800\\u0041"):  # of a pair
            self.assert_bad("DecodeError", body='[["%s"],{},{}]' % half)
        self.assert_bad("DecodeError", body="\ufeff[[97],{},{}]")  # a byte order mark
        self.assert_bad("DecodeError", body="[[97],{},{}]".encode("utf-16"))

    def test_text_of_all_planes_and_zeros_is_text(self):
        for text in ("\0", "a\0b", "\u00e9\u20ac\U0001f600", "\\\"/\b\f\n\r\t", "\x7f\u0085\u2028"):
            task = self.bus.send(self.queue, "demo.echo", [text])
            self.assertEqual(self.bus.result(task)["result"], text)

    def test_numbers_mean_what_python_reads_or_nothing(self):
        """Never rounded to something else, never wrapped; what does not fit is refused by name."""
        for n in ("0", "-0", "1", "9007199254740993", "9223372036854775807", "-9223372036854775808",
                  "0.1", "-0.0", "1e3", "1E+2", "1.7976931348623157e308", "5e-324", "1e-999",
                  "3.14159265358979323846264338327950288", "123456789012345678.5"):
            task = self.bus.send(self.queue, "demo.echo", body="[[%s],{},{}]" % n)
            got, want = self.bus.result(task)["result"], json.loads(n)
            self.assertEqual((got, type(got)), (want, type(want)), n)
            self.assertEqual(math.copysign(1, got), math.copysign(1, want), n)
        for n in ("9223372036854775808", "-9223372036854775809", "1" * 400, "1e999", "-1e999", "NaN",
                  "Infinity", "-Infinity", "--1", "1e", "1e+"):
            self.assert_bad("DecodeError", task="demo.echo", body="[[%s],{},{}]" % n)

    def test_nesting_has_an_exact_end(self):
        def nested(levels, c="[]"):
            return "[[%s%s],{},{}]" % (c[0] * levels, c[1] * levels)
        deepest = next(n for n in range(100, 140) if self.bus.result(
            self.bus.send(self.queue, "is_prime", body=nested(n)))["result"]["exc_type"] == "DecodeError") - 1
        self.assertIn(deepest, (125, 126))  # of 128, the message's own brackets among them
        while self.bus.depth(self.dead):
            self.kept()
        for n in (deepest + 1, 1000, 1000000):
            self.assertIn("nested", self.assert_bad("DecodeError", body=nested(n))["exc_message"][0])
        self.assert_bad("DecodeError", body="[" * 1000000)
        self.assert_bad("DecodeError", body='{"a":' * 500000)

    def test_of_two_values_for_one_key_the_last_counts(self):
        task = self.bus.send(self.queue, body='[[],{"n": 4, "n": 97},{}]')
        self.assertIs(self.bus.result(task)["result"], True)
        task = self.bus.send(self.queue, "demo.echo", body='[[{"a": 1, "b": 2, "a": 3}],{},{}]')
        self.assertEqual(self.bus.result(task)["result"], {"a": 3, "b": 2})

    def test_sizes_around_those_of_frames(self):
        """Into the worker, through its child and back to the caller, not a byte is lost."""
        for frames in (1, 2):
            for more in (-1, 0, 1):
                for around in ('[["%s"],{},{}]', '{"status":"SUCCESS","result":"%s"}'):
                    n = frames * FRAME_BODY + more - len(around % "")
                    text = "x" * n
                    task = self.bus.send(self.queue, "demo.echo", body='[["%s"],{},{}]' % text)
                    self.assertEqual(self.bus.result(task)["result"], text)

    def test_large_bodies_do_not_grow_the_parent(self):
        """Over the limit a body is not held in memory, however many come."""
        body = b'[["%s"],{},{}]' % (b"x" * (10 << 20))
        tasks = [self.bus.send(self.queue, body=body) for _ in range(4)]
        for result in self.bus.results(*tasks).values():
            self.assertEqual(result["result"]["exc_type"], "MessageTooLarge")
        for _ in tasks:
            self.assertEqual(len(self.kept(kind="MessageTooLarge").body), len(body))
        if not os.environ.get("CTASK_SANITIZED"):
            with open("/proc/%d/status" % self.one.pid) as f:
                peak = int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))
            self.assertLess(peak, 20 << 10)
        self.assert_alive()

    def large_ones(self, *args, **kwargs):
        """What becomes of ten large bodies with this worker: their dead letters, and its log."""
        self.one.stop()
        self.one = self.worker("-c", "1", "--body-limit=100000", *args, **kwargs)
        tasks = [self.bus.send(self.queue, body="x" * 200000) for _ in range(10)]
        for result in self.bus.results(*tasks).values():
            self.assertEqual(result["result"]["exc_type"], "MessageTooLarge")
        kept = [self.kept(kind="MessageTooLarge") for _ in tasks]
        self.assertEqual({m.headers["id"] for m in kept}, set(tasks))
        self.assert_alive()
        return kept, self.one.log()

    def test_without_a_directory_for_files_large_bodies_pass_through_memory(self):
        kept, log = self.large_ones(env={"TMPDIR": "/nonexistent"})
        self.assertEqual({len(m.body) for m in kept}, {200000})
        self.assertEqual(log.count("cannot be written to a file in TMPDIR"), 1, log)
        self.assertIn("No such file or directory", log)

    def test_without_any_file_the_head_of_a_large_message_is_kept(self):
        """No file on disk or in memory may be as large as the body."""
        kept, log = self.large_ones(under=("prlimit", "--fsize=150000"))
        for message in kept:
            self.assertEqual(len(message.body), 0)
            self.assertIs(message.headers["x-ctask-body-dropped"], True)
            self.assertIn("its body is not kept: File too large", message.headers["x-ctask-dead-reason"])
        self.assertIn("its body is not kept: File too large", log)

    def test_any_shape_has_an_outcome(self):
        """Random values where args, kwargs, embed, names and counters belong."""
        rng = random.Random(SEED)

        def value(depth=0):
            kind = rng.randrange(9 if depth < 3 else 6)
            return (None, True, rng.randrange(-2 ** 63, 2 ** 63), rng.random() * 1e300,
                    "".join(chr(rng.choice((0, 10, 27, 37, 97, 0x80, 0x20ac, 0x1f600))) for _ in range(4)),
                    "x" * rng.randrange(400))[kind] if kind < 6 else (
                [value(depth + 1) for _ in range(rng.randrange(4))] if kind < 8 else
                {"k%d" % i: value(depth + 1) for i in range(rng.randrange(4))})

        def body():
            whole = [[97], {}, {}]
            whole[rng.randrange(3)] = value()
            return json.dumps(value() if rng.random() < 0.1 else whole)

        sent = {self.bus.send(self.queue, "demo.echo", body=body()): None for _ in range(400)}
        results = self.outcomes(sent)
        refused = [r for r in results.values() if r["status"] == "FAILURE"]
        self.assertGreater(len(refused), 50)
        for _ in refused:
            self.kept()
        self.assertEqual(self.bus.depth(self.dead), 0)
        self.assert_alive()


class Heads(Content):
    def test_content_that_is_not_ours(self):
        pickled = b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
        for kind in ("application/x-python-serialize", "application/x-yaml", "application/x-msgpack",
                     "application/data", "text/plain", "application/json; charset=utf-8", "APPLICATION/JSON ",
                     "", None):
            self.assert_bad("ContentDisallowed", content_type=kind, body=pickled)

    def test_what_is_compressed_is_not_inflated(self):
        for how in ("application/x-gzip", "zlib", "application/zstd", 7):
            self.assert_bad("ContentDisallowed", headers={"compression": how})

    def test_protocol_1(self):
        """Everything in the body, nothing in the headers: its caller is known by the properties."""
        task_id = str(uuid.uuid4())
        body = json.dumps({"task": "is_prime", "id": task_id, "args": [97], "kwargs": {}})
        task = self.bus.send(self.queue, body=body, drop=("task", "id", "lang"))
        failure = self.bus.result(task)["result"]
        self.assertEqual(failure["exc_type"], "InvalidTaskError")
        self.assertIn("set task_protocol = 2", failure["exc_message"][0])
        self.kept(body, "InvalidTaskError")
        self.assert_alive()

    def test_names_and_ids_that_are_none(self):
        for value in (7, True, 1.5, "", "x" * 256, "x" * 60000, "a\nb", "a\0b", "\x1b[2J", {"a": 1}, ["a"]):
            for key in ("id", "task", "root_id", "parent_id"):
                bad = not (value == "" and key not in ("id", "task"))
                task = self.bus.send(self.queue, headers={key: value})
                result = self.bus.result(task)
                self.assertEqual(result["status"], "FAILURE" if bad else "SUCCESS", (key, value))
                if bad:
                    self.assertEqual(result["result"]["exc_type"], "InvalidTaskError")
                    self.kept(kind="InvalidTaskError")
        self.assert_alive()

    def test_a_name_with_directives_is_a_name(self):
        self.one.stop()
        self.one = self.worker("-c", "1", "--fail-unknown")
        for name in ("%n%s%x", "../../etc/passwd", "/bin/sh", "`id`", "$(id)", "ctask_app_demo", "task' OR 1"):
            said = self.assert_bad("NotRegistered", task=name)
            self.assertIn(name, said["exc_message"][0])

    def test_every_kind_of_header(self):
        """One header of each kind that AMQP has; all of them are others' and leave the task alone."""
        fields = {b"t": b"\1", b"b": b"\x80", b"B": b"\xff", b"s": b"\x80\0", b"u": b"\xff\xff",
                  b"I": b"\x80\0\0\0", b"i": b"\xff" * 4, b"l": b"\x80" + bytes(7), b"f": b"\x7f\x7f\xff\xff",
                  b"d": b"\x7f\xef" + b"\xff" * 6, b"D": b"\2\0\0\0\7", b"S": long(b"\xff\0"), b"V": b"",
                  b"A": long(b"t\1V" + b"A" + long(b"")), b"T": bytes(7) + b"\1", b"x": long(b"\0" * 9),
                  b"F": long(short("k") + b"F" + long(b""))}
        plain = short("task") + b"S" + long(b"is_prime")
        for i, (kind, field) in enumerate(sorted(fields.items())):
            name = "kind-%d" % i
            head = plain + short("id") + b"S" + long(name.encode()) + short("other") + kind + field
            raw_publish(self.queue, head, b"[[97],{},{}]", self.bus.reply_to, name)
            self.assertIs(self.bus.result(name)["result"], True, kind)
            # The same kind where a text belongs.
            head = short("task") + kind + field + short("id") + b"S" + long(name.encode())
            raw_publish(self.queue, head, b"[[97],{},{}]", self.bus.reply_to, name + "-task")
            self.assertEqual(self.bus.result(name + "-task")["status"], "FAILURE", kind)
        # py-amqp cannot read some of these kinds, so they are only counted.
        until("all are kept", lambda: self.bus.depth(self.dead) == len(fields))
        self.assert_alive()

    def test_no_body_at_all(self):
        head = short("task") + b"S" + long(b"is_prime") + short("id") + b"S" + long(b"empty")
        raw_publish(self.queue, head, b"", self.bus.reply_to, "empty")
        self.assertEqual(self.bus.result("empty")["result"]["exc_type"], "DecodeError")
        self.kept("", "DecodeError")
        self.assert_alive()

    def test_a_reply_address_reaches_no_other_queue(self):
        """Results are written with the worker's rights: only addresses of replies are answered."""
        others = [unique("celery"), unique("ctask.replyx"), "x" * 36, "f" * 35, "f" * 37]
        for address in others:
            self.bus.channel.queue_declare(address, durable=True, auto_delete=False)
        try:
            for address in others + [self.queue, self.dead]:
                self.bus.send(self.queue, reply_to=address)
            for address in ("", "amq.topic", "ctask.reply.", "ctask.reply.\n", "no such queue"):
                self.bus.send(self.queue, reply_to=address)
            self.assert_alive()
            self.assertEqual({self.bus.depth(a) for a in others + [self.queue, self.dead]}, {0})
        finally:
            for address in others:
                self.bus.channel.queue_delete(address)


class Twice(Content):
    def test_the_same_message_twice_runs_twice_and_is_answered_twice(self):
        """Two publishes of one id are two messages to the broker: nothing tells them apart from two
        tasks. What was republished after a doubt is marked, and the task sees it."""
        task = str(uuid.uuid4())
        for flagged in (False, False, True):
            headers = {"id": task, "x-ctask-again": True} if flagged else {"id": task}
            self.bus.send(self.queue, "demo.flagged", [], headers=headers, correlation_id=task)
        seen = [json.loads(self.bus.take(self.bus.reply_to).body) for _ in range(3)]
        self.assertEqual([(r["task_id"], r["result"], r.get("redelivered", False)) for r in seen],
                         [(task, False, False), (task, False, False), (task, True, True)])


class Log(Content):
    worker_args = ("-c", "1", "-l", "trace", "--fail-unknown")

    def test_no_content_writes_into_the_log_what_it_is_not(self):
        evil = "\x1b]0;owned\x07\r\n2026-01-01 00:00:00 ERROR forged\x9b2J\u202e%n%s\x7f"
        ids = [self.bus.send(self.queue, "demo.fail", [evil, evil]),
               self.bus.send(self.queue, "demo.echo", [evil]),
               self.bus.send(self.queue, evil),
               self.bus.send(self.queue, headers={"id": evil}),
               self.bus.send(self.queue, headers={"eta": evil}),
               self.bus.send(self.queue, headers={"timelimit": evil, "origin": evil}),
               self.bus.send(self.queue, content_type=evil),
               self.bus.send(self.queue, content_encoding=evil, body=b"[[97],{},{}]"),
               self.bus.send(self.queue, headers={"compression": evil}),
               self.bus.send(self.queue, body=evil),
               self.bus.send(self.queue, kwargs={evil: evil})]
        self.bus.send(self.queue, reply_to=evil)
        self.bus.results(*ids)
        self.assert_alive()
        for line in self.one.log().split("\n"):
            self.assertFalse(re.search(r"[\x00-\x1f\x7f\x80-\x9f]", line), repr(line))
            self.assertNotRegex(line, r"^2026-01-01 00:00:00 ERROR")
            self.assertLess(len(line), 4096)
        while self.bus.depth(self.dead):
            reason = self.kept().headers["x-ctask-dead-reason"]
            self.assertLess(len(reason), 1024)


if __name__ == "__main__":
    main()
