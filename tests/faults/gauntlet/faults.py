"""The gauntlet's faults, each from its own stream of the run's seed, each written to the fault log.

Some come at a rate, some a number of times, each at a certain share of the work. Of those that
concern the broker there is one at a time, so that each has its effect: a restart ends an alarm.
Nothing is judged here."""
import os
import random
import signal
import threading
import time

import amqp

import cut
import fleet
from strangers import Strangers

PARENT_KILL_EVERY = 1.0  # seconds
CHILD_KILL_EVERY = 0.2
CUT_EVERY = 3.0
DEAD_EVERY = 5.0
REPLY_EVERY = 1.0
FULL = 20  # per million tasks
FULL_FOR = 3.0
POLICY_KEPT = 2.0  # until one that is changed outlives a kill of the broker
GONE_EVERY = 15.0
UNKNOWN_PER_MILLION = 10
STOP_EVERY = 60.0
STOP_FOR = 25.0
BROKER_RESTARTS = 10  # per million tasks; of each kind at least one
ALARMS = 2
LISTENERS = 4
LISTENER_FOR = 2.0
ALARM_FOR = 20.0
ALARM_FOR_SMALL = 6.0  # when there is one alarm only
PRODUCER_KILLS = 20
CHILDREN_GONE = 1.0  # seconds after their parent was killed


class Faults:
    def __init__(self, run):
        self.run, self.log, self.workers, self.broker = run, run.log, run.workers, run.broker
        self.strangers = Strangers(run)
        self.over = threading.Event()
        self.trouble = []  # exceptions of the threads
        self.threads = []

    def random(self, kind):
        return random.Random("%d/%s" % (self.run.seed, kind))

    def begin(self):
        self.log.note("faults-begin")
        self._thread("parent", self.rate, PARENT_KILL_EVERY, self.kill_parent)
        self._thread("child", self.rate, CHILD_KILL_EVERY, self.kill_child)
        self._thread("cut", self.rate, CUT_EVERY, self.cut)
        self._thread("dead", self.rate, DEAD_EVERY, self.delete_dead_queue)
        self._thread("reply", self.rate, REPLY_EVERY, self.bad_addresses)
        self._thread("gone", self.rate, GONE_EVERY, self.delete_queue)
        thousands = max(1, UNKNOWN_PER_MILLION * self.run.tasks // 1000000)
        self._thread("unknown", self.planned, [self.unknown_tasks] * thousands)
        self._thread("stop", self.stops)
        self._thread("broker", self.planned, self.broker_faults())
        kills = max(2, PRODUCER_KILLS * self.run.tasks // 1000000)
        self._thread("producer", self.planned, [self.kill_producer] * kills)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.log.note("faults-end")
        if self.trouble:
            raise self.trouble[0]

    def _thread(self, kind, f, *args):
        if kind not in self.run.faults:
            return
        if f == self.rate:
            args = (self.run.faults[kind] or args[0],) + args[1:]

        def guarded():
            try:
                f(self.random(kind), *args)
            except Exception as e:  # the run must hear of it: fewer faults than said are a lie
                self.trouble.append(e)
                self.run.broken.set()
        self.threads.append(threading.Thread(target=guarded, daemon=True))
        self.threads[-1].start()

    def rate(self, draw, every, action):
        while not self.over.wait(draw.expovariate(1 / every)):
            action(draw)

    def planned(self, draw, actions):
        """Each at its share of the work, somewhere in the middle of it. All of them happen."""
        for i, action in enumerate(actions):
            share = (i + draw.uniform(0.2, 0.8)) / len(actions)
            while self.run.progress() < share and not self.over.wait(0.05):
                pass
            action(draw)

    # ---- Workers

    def victims(self):
        """The first one is never killed, so that one has seen it all and would show a leak."""
        return [w for w in self.workers[1:] + [self.run.leaser] if not w.spared]

    def kill_parent(self, draw):
        worker = draw.choice(self.victims() or [None])
        if worker:
            family = fleet.children(worker.pid or 0)
            born = {pid: fleet.birth(pid) for pid in family}
            if worker.send_signal(signal.SIGKILL, "parent-kill"):
                self._thread("parent", self.orphans, worker.number, born)

    def orphans(self, draw, number, born):
        """What a killed worker's children still do a second later."""
        time.sleep(CHILDREN_GONE)
        left = [pid for pid, birth in born.items() if birth and fleet.birth(pid) == birth]
        if left:
            self.log.note("orphans", number=number, pids=left)

    def kill_child(self, draw):
        worker = draw.choice(self.workers + [self.run.leaser])
        family = fleet.children(worker.pid or 0)
        if family:
            child, at = draw.choice(family), time.monotonic()
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.log.note("child-kill", at=at, number=worker.number, pid=child)

    def stops(self, draw):
        """One worker at a time stands still for longer than the broker waits for its heartbeat."""
        while not self.over.is_set():
            worker = draw.choice(self.workers)
            spared, worker.spared = worker.spared, True
            if worker.send_signal(signal.SIGSTOP, "stop", seconds=STOP_FOR):
                time.sleep(STOP_FOR)
                worker.send_signal(signal.SIGCONT, "continue")
            worker.spared = spared
            self.over.wait(STOP_EVERY - STOP_FOR)

    # ---- Connections

    def cut(self, draw):
        process = draw.choice(self.workers + self.run.producers)
        pid = process.pid
        try:
            fds = cut.sockets(pid, (self.broker.port, self.broker.port + 2)) if pid else []
        except OSError:
            return
        if fds:
            fd = draw.choice(fds)
            if cut.cut(pid, fd):
                self.log.note("cut", who=process.name, number=process.number, pid=pid, fd=fd)

    # ---- The broker

    def broker_faults(self):
        """Half of the restarts graceful."""
        restarts = max(2, BROKER_RESTARTS * self.run.tasks // 1000000)
        alarms = max(1, ALARMS * self.run.tasks // 1000000)
        self.alarm_for = ALARM_FOR_SMALL if alarms == 1 else ALARM_FOR
        actions = [self.stop_broker, self.kill_broker] * (restarts // 2)
        actions += [self.kill_broker] * (restarts % 2)
        if "restart" not in self.run.faults:
            actions = []
        if "alarm" in self.run.faults:
            actions += [self.alarm] * alarms
        if "listener" in self.run.faults:
            actions += [self.close_listener] * max(1, LISTENERS * self.run.tasks // 1000000)
        if "full" in self.run.faults:
            actions += [self.fill_dead_queue] * max(1, FULL * self.run.tasks // 1000000)
        self.random("broker order").shuffle(actions)
        return actions

    def stop_broker(self, draw):
        self.log.note("broker-down", how="stop")
        self.broker.stop()
        self.back()

    def kill_broker(self, draw):
        self.log.note("broker-down", how="kill")
        self.broker.kill()
        self.back()

    def back(self):
        starting = self.broker.start(wait=False)
        self.log.note("broker-port", at=self.broker.answers_at())
        self.broker.started(starting)
        self.log.note("broker-up")

    def close_listener(self, draw):
        """The first of the broker's two addresses is gone for a while, with all that came over it:
        what has both goes on at the other one."""
        at = time.monotonic()
        self.broker.close_listener()
        self.log.note("listener-down", at=at, took=time.monotonic() - at)
        time.sleep(LISTENER_FOR)
        self.broker.open_listener()
        self.log.note("listener-up")

    def alarm(self, draw):
        """For memory it is only said so: a broker that is really out of memory writes all of its
        queues to disk, and 3.10 stays slow for five seconds after."""
        what = draw.choice(["memory", "disk"])
        name = "{resource_limit, %s, node()}" % what
        self.log.note("alarm", of=what)
        self.broker.evaluate("rabbit_alarm:set_alarm({%s, []})" % name)
        time.sleep(self.alarm_for)
        self.broker.evaluate("rabbit_alarm:clear_alarm(%s)" % name)
        self.log.note("alarm-over")

    # ---- Queues, and messages of others

    def tried(self, what, action):
        """Without a broker nothing comes of it. It was done between `at` and `took` seconds later."""
        at = time.monotonic()
        try:
            done = action()
        except (amqp.exceptions.AMQPError, amqp.exceptions.MessageNacked, OSError):
            return
        if done is not False:
            self.log.note(what, at=at, took=time.monotonic() - at, count=int(done or 0))

    def delete_dead_queue(self, draw):
        self.tried("dead-queue", self.run.delete_dead_queue)

    def bad_addresses(self, draw):
        self.tried("bad-addresses", self.strangers.bad_addresses)

    def unknown_tasks(self, draw):
        self.tried("unknown-tasks", self.strangers.unknown_tasks)

    def delete_queue(self, draw):
        self.tried("queue-gone", self.strangers.delays_of_a_deleted_queue)

    def fill_dead_queue(self, draw):
        """It takes no more for a while. Two steps: where a length comes before the overflow, RabbitMQ
        drops what is there already."""
        self.policy('{"overflow": "reject-publish"}')
        self.policy('{"max-length": 0, "overflow": "reject-publish"}')
        self.log.note("dead-queue-full")
        time.sleep(FULL_FOR)
        self.policy('{"overflow": "reject-publish"}')
        time.sleep(POLICY_KEPT)

    def policy(self, text):
        self.broker.evaluate(
            'rabbit_policy:parse_set(<<"/">>, <<"full">>, <<"^ctask[.]dead$">>, <<"%s">>, 100, '
            '<<"queues">>, <<"gauntlet">>)' % text.replace('"', '\\"'))

    # ---- Producers

    def kill_producer(self, draw):
        alive = [p for p in self.run.producers if p.pid]
        if alive:
            draw.choice(alive).send_signal(signal.SIGKILL, "producer-kill")
