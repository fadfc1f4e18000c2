"""Time that passes without being waited for: what a worker does when its clocks move."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import Clock, FaultProxy  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
from harness import URL, BrokerTest, main, until  # noqa: E402


HOUR, YEARS = 3600, 10 * 365 * 86400


class Confirms(BrokerTest):
    def test_a_confirm_that_never_comes_costs_the_connection_and_no_result(self):
        with Clock() as clock, FaultProxy(URL, "?heartbeat=0") as proxy:
            worker = self.worker("-c", "1", "-l", "trace", url=proxy.url, env=clock.env)
            first = self.bus.send(self.queue, "demo.add", [1, 2])
            self.bus.result(first)
            out = proxy.named(" out$")
            proxy("drop basic.ack 0 s2c", out)
            lost = self.bus.send(self.queue, "demo.add", [3, 4])
            proxy.expect("s2c drop basic.ack", out)
            clock.move(29, worker.pid)
            time.sleep(0.2)
            self.assertNotIn("confirm", worker.log())
            clock.move(1.5, worker.pid)
            clock.move(1.5, worker.pid)
            worker.expect("a confirm does not come")
            copies = []
            while len(copies) < 2:  # beside the first one's, if its confirm was late
                message = self.bus.take(self.bus.reply_to)
                if message.properties["correlation_id"] == lost:
                    copies.append(message)
            flags = [(m.headers or {}).get("x-ctask-again") for m in copies]
            self.assertEqual(flags, [None, True])
            until("it is acknowledged", lambda: self.bus.depth(self.queue) == 0)
            self.assertEqual(worker.stop(), 0)
            self.assertEqual(self.bus.depth(self.queue), 0)


class Jumps(BrokerTest):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.addCleanup(self.clock.__exit__)

    def works(self):
        self.assertEqual(self.bus.result(self.bus.send(self.queue, "demo.add", [1, 2]))["result"], 3)

    def test_a_wall_clock_that_is_set_disturbs_nothing(self):
        worker = self.worker("-c", "1", env=self.clock.env)
        running = self.bus.send(self.queue, "demo.sleep", [0.5])
        for seconds in HOUR, -HOUR, YEARS, -2 * YEARS, YEARS:
            self.clock.move(0, worker.pid, wall=seconds)
            time.sleep(0.02)
        self.assertEqual(self.bus.result(running)["status"], "SUCCESS")
        self.works()
        self.assertNotIn("connection lost", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_a_machine_that_slept_connects_anew_and_runs_what_came_meanwhile(self):
        worker = self.worker("-c", "1", env=self.clock.env)
        self.works()
        self.clock.move(HOUR, worker.pid)
        worker.expect("lost.*silent")  # the other one may just have had a last confirm to read
        self.works()
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.bus.depth(self.queue), 0)

    def test_the_wait_before_a_new_connection_has_an_end(self):
        """However often it failed: 5 s, and no attempt is made before its time."""
        with FaultProxy(URL) as proxy:
            worker = self.worker("-c", "1", url=proxy.url, env=self.clock.env)
            proxy("accept reset")
            proxy("reset")
            worker.expect("lost", 2)
            for _ in range(20):
                self.clock.move(5, worker.pid)
                time.sleep(0.02)
            proxy("accept yes")
            self.clock.move(5.1, worker.pid)
            proxy.named(" in$")
            self.works()
            self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    main()
