"""The network between ctask and a broker that is well: cut after any frame, silent one way or both,
slow, in crumbs, corrupt, with confirms twice or late. No result is lost or comes twice without
saying so, nothing spins, and what is cut off is noticed in time."""
import collections
import json
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import Clock, FaultProxy  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import BIN, GIVE_UP, URL, BrokerTest, main, until  # noqa: E402

SEED = int(os.environ.get("CTASK_TEST_SEED", time.time()))
HANDSHAKE = 5  # frames either way
FULL = bool(os.environ.get("CTASK_TEST_FULL"))
HEARTBEAT = 1
NOTICED = 2 * HEARTBEAT + 1
BUSY = 2  # seconds in which a busy machine may let us wait


def cpu(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class NetworkTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.bus.declare(self.queue)
        print("seed %d" % SEED, file=sys.stderr)
        self.random = random.Random(SEED)

    def proxy(self, query=""):
        proxy = FaultProxy(URL, query)
        self.addCleanup(proxy.__exit__)
        return proxy

    def drained(self, ids):
        """All results of demo.flagged that there are once each of ids has one: per id, how many, and
        how many of a start that is not flagged, in a message that is not."""
        copies, unflagged = collections.Counter(), collections.Counter()

        def take():
            while message := self.bus.channel.basic_get(self.bus.reply_to, no_ack=True):
                task_id = message.properties["correlation_id"]
                copies[task_id] += 1
                flagged = json.loads(message.body)["result"]
                unflagged[task_id] += not (flagged or (message.headers or {}).get("x-ctask-again"))
            return all(copies[i] for i in ids)
        until("a result of each", take)
        return copies, unflagged


class Cut(NetworkTest):
    """B4: a reset after frame k, either way, for each k of a session."""
    FRAMES = 40

    def session_of_worker(self, way):
        proxy = self.proxy("?heartbeat=0")
        clock = Clock()
        self.addCleanup(clock.__exit__)
        worker = self.worker("-c", "1", url=proxy.url, env=clock.env)
        ids = []
        ks = list(range(1, self.FRAMES + 1))
        for k in ks if FULL else self.random.sample(ks, 16):
            cuts = proxy.count("%s reset-after" % way)
            opened = proxy.count("open")
            looks = 0
            proxy("reset-after any %d %s" % (k, way))
            proxy("reset")

            def is_cut():
                nonlocal looks
                looks += 1
                if k > 12 or looks > 50:  # beyond the handshake something must be said
                    ids.append(self.bus.send(self.queue, "demo.flagged", []))
                if proxy.count("open") == opened or k > 12:
                    clock.move(6, worker.pid)  # no time to lose before the next attempt
                time.sleep(0.03)
                return proxy.count("%s reset-after" % way) > cuts
            until("it is cut after frame %d %s" % (k, way), is_cut)
            proxy("pass")
            ids.append(self.bus.send(self.queue, "demo.flagged", []))

        def all_done():
            clock.move(6, worker.pid)
            time.sleep(0.1)
            return self.bus.depth(self.bus.reply_to) >= len(ids)
        until("all is done", all_done)
        copies, unflagged = self.drained(ids)
        self.assertEqual(set(copies), set(ids))
        self.assertEqual([i for i in ids if unflagged[i] > 1], [], worker.log())
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_a_worker_whose_words_end_after_any_frame(self):
        self.session_of_worker("c2s")

    def test_a_worker_that_hears_only_so_many_frames(self):
        self.session_of_worker("s2c")

    def test_clients_that_are_cut_after_any_frame_get_their_results(self):
        self.worker("-c", "2")
        for way in "c2s", "s2c":
            proxy = self.proxy()
            proxy("blackhole both")
            clients = [subprocess.Popen(
                [os.path.join(BIN, "ctask"), "call", "-Q", self.queue, "demo.add", str(k), "1"],
                env=dict(os.environ, CTASK_BROKER_URL=proxy.url), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for k in range(1, 25)]
            proxy.expect("open", times=len(clients))
            for k in range(1, len(clients) + 1):
                proxy("reset-after any %d %s" % (k, way), k)
            proxy("blackhole none")
            refused = 0
            for k, client in enumerate(clients, 1):
                out, err = client.communicate(timeout=GIVE_UP)
                if client.returncode == 69:  # in the handshake: nothing was sent, and it says so
                    self.assertIn("the broker at 127.0.0.1", err)
                    refused += 1
                    continue
                self.assertEqual((client.returncode, out.strip()), (0, str(k + 1)), (way, err))
            self.assertLessEqual(refused, HANDSHAKE)
            self.assertGreater(proxy.count("%s reset-after" % way), 10)


class HalfOpen(NetworkTest):
    """B5: nobody is told, and yet it is noticed."""

    def test_a_worker_leaves_a_broker_that_does_not_say_goodbye(self):
        """Both connections are still there when it goes; one follows the other."""
        proxy = self.proxy()
        worker = self.worker("-c", "1", url=proxy.url)
        self.assertEqual(self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)
        proxy("blackhole both")
        self.assertEqual(worker.stop(), 0)

    def test_silence_is_noticed_within_two_heartbeats_and_a_second(self):
        faults = {  # what is asked of which connection
            "idle c2s": ("in", "blackhole c2s"), "idle s2c": ("in", "blackhole s2c"),
            "idle both": ("in", "blackhole both"),
            "in a publish": ("out", "hold header 1 c2s"), "in a body": ("out", "hold body 1 c2s"),
            "in a delivery": ("in", "hold body 1 s2c"), "no confirm": ("out", "hold basic.ack 1 s2c"),
        }
        cases = []
        for name, (which, fault) in faults.items():
            proxy = self.proxy("?heartbeat=%d" % HEARTBEAT)
            queue = "%s.%d" % (self.queue, len(cases))
            self.bus.declare(queue)
            self.addCleanup(self.bus_delete, queue)
            worker = self.worker("-c", "1", url=proxy.url, queue=queue)
            cases.append((name, queue, proxy, worker, proxy.named(" %s$" % which), which, fault))
        for name, queue, proxy, worker, number, which, fault in cases:
            self.bus.result(self.bus.send(queue, "demo.add", [1, 2]))
            proxy(fault, number)
        begun = time.monotonic()
        ids = [self.bus.send(case[1], "demo.flagged", []) for case in cases]
        took = {}
        while len(took) < len(cases):
            for name, _, _, worker, _, which, _ in cases:
                said = "connection lost" if which == "in" else "connection for results lost"
                if name not in took and said in worker.log():
                    took[name] = time.monotonic() - begun
            self.assertLess(time.monotonic() - begun, NOTICED + BUSY + 1, took)
            time.sleep(0.01)
        print("noticed after", {k: round(v, 2) for k, v in took.items()}, file=sys.stderr)
        late = {k: v for k, v in took.items() if v > NOTICED + BUSY}
        self.assertEqual(late, {})
        _, unflagged = self.drained(ids)
        self.assertLessEqual(max(unflagged.values()), 1)
        for case in cases:
            self.assertEqual(case[3].stop(), 0, case[0])

    def bus_delete(self, queue):
        bus = type(self.bus)()
        bus.delete(queue)
        bus.close()


class Slow(NetworkTest):
    def test_a_trickle_of_single_bytes_is_no_silence_and_no_spin(self):
        """B6: 16 KB/s each way in segments of one byte, with heartbeats of a second."""
        proxy = self.proxy("?heartbeat=%d" % HEARTBEAT)
        worker = self.worker("-c", "1", url=proxy.url)
        proxy("rate 16000")
        proxy("split 1")
        before = cpu(worker.pid)
        begun = time.monotonic()
        ids = [self.bus.send(self.queue, "demo.big", [12000]) for _ in range(4)]
        self.bus.results(*ids)
        self.assertGreater(time.monotonic() - begun, 2.5)
        self.assertLess(cpu(worker.pid) - before, 1.0)
        self.assertNotIn("lost", worker.log().replace("children lost", ""))
        proxy("pass")
        self.assertEqual(worker.stop(), 0)


class Corrupt(NetworkTest):
    def test_a_turned_byte_costs_a_connection_and_never_the_worker(self):
        """B7: any byte of a session, either way. What it meant nobody knows, so a task may be
        lost to its caller; the worker works on."""
        proxy = self.proxy("?heartbeat=0")
        with Clock() as clock:
            worker = self.worker("-c", "1", url=proxy.url, env=clock.env)
            for _ in range(400 if FULL else 25):
                way = self.random.choice(["c2s", "s2c"])
                offset = int(2 ** self.random.uniform(0, 11))
                hits, opened = proxy.count("%s corrupt" % way), proxy.count("open")
                proxy("corrupt %d %s" % (offset, way))
                proxy("reset")

                def is_corrupt():
                    if proxy.count("open") > opened + 1:  # the handshake is not disturbed by time
                        self.bus.send(self.queue, "demo.big", [300])
                    else:
                        clock.move(6, worker.pid)
                    time.sleep(0.02)
                    return proxy.count("%s corrupt" % way) > hits
                until("byte %d %s is turned" % (offset, way), is_corrupt)
                proxy("pass")
                self.assertIsNone(worker.process.poll(), (offset, way, worker.log()))
            proxy("reset")

            def is_done():
                clock.move(6, worker.pid)
                time.sleep(0.02)
                return self.bus.depth(self.queue) == 0
            until("all is done", is_done)
            self.bus.channel.queue_purge(self.bus.reply_to)  # among them what nobody can read
            clean = self.bus.send(self.queue, "demo.add", [20, 3])
            self.assertEqual(self.bus.result(clean)["result"], 23)
            self.assertEqual(worker.stop(), 0)


class Confirms(NetworkTest):
    def test_confirms_that_come_twice_and_out_of_order_settle_once(self):
        """B20."""
        proxy = self.proxy()
        worker = self.worker("-c", "2", url=proxy.url)
        self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))
        out = proxy.named(" out$")
        for odd in "double", "late":
            proxy(odd + " basic.ack 0 s2c", out)
            ids = [self.bus.send(self.queue, "demo.flagged", []) for _ in range(60)]
            copies, _ = self.drained(ids)
            proxy.expect("s2c " + odd, out)
            proxy("pass", out)
            self.assertEqual(set(copies.values()), {1})
            until("all is settled", lambda: self.bus.depth(self.queue) == 0)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)


if __name__ == "__main__":
    main()
