"""One gauntlet: tasks, workers, producers and a broker, and everything that can go wrong with them.

    run.py DIRECTORY TASKS SEED classic|quorum|cluster

Leaves ledgers, fault log and the processes' own logs in DIRECTORY; check.py reads them and judges.
First some of the tasks without any fault, so that the speed under faults can be compared; then all
faults at once until the producers are done; then rest, in which everything has to come back."""
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import amqp  # Debian: python3-amqp

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import fleet  # noqa: E402
import ledger  # noqa: E402
from bench import PrivateBroker  # noqa: E402
from faults import Faults  # noqa: E402
from nodes import ClusterBroker, NodeFaults  # noqa: E402

WORKERS, CHILDREN = 4, 2
PRODUCERS = 4
RATE = int(os.environ.get("CTASK_GAUNTLET_RATE", "2000"))  # tasks a second, in all
LONGER = os.environ.get("CTASK_GAUNTLET_LONGER", "1")  # how many times as long as usual tasks take
POISON_EACH = 2000    # every so many tasks one that crashes
QUEUE = "ctask"       # the policy of broker-config is for this one
TIMES_TASKS = 100000  # with fewer, too few faults of each kind to judge times by
UNKNOWN_FOR = 400     # seconds, until nobody is asked any more whether they know a task
LEASED, LEASE = QUEUE + ".leased", 1  # a queue, and a worker, whose tasks are leased after a second
PROBE = "probe-delays"
GIVE_UP = float(os.environ.get("CTASK_GAUNTLET_GIVE_UP", "60"))
# CTASK_GAUNTLET_FAULTS: only some of them; of those that come at a rate, "cut:0.5" says one each 0.5 s.
# In a long run also "unknown": tasks that no worker knows, by the thousand; they take three minutes.
FAULTS = "parent,child,cut,stop,broker,restart,alarm,listener,producer,dead,full,gone,reply"
# On a cluster: what happens to its nodes.
CLUSTER_FAULTS = "child:2," + ",".join(NodeFaults.KINDS)
PR_SET_CHILD_SUBREAPER = 36
COUNTED_EVERY = 5  # seconds: how often RabbitMQ counts what a quorum queue holds

DEAD_ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 10 ** 9}


def calm_tasks(tasks):
    """How many run before the faults begin."""
    return int(os.environ.get("CTASK_GAUNTLET_CALM", max(4000, min(tasks // 10, 40000))))


def chosen_faults(default):
    """{fault: seconds between two, or None: as it is}."""
    chosen = [part.partition(":") for part in
              os.environ.get("CTASK_GAUNTLET_FAULTS", default).split(",")]
    return {name: float(every) if every else None for name, _, every in chosen}


def tree():
    """The commit that runs, with a + when files differ from it; "" where git does not know."""
    if not shutil.which("git"):
        return ""
    said = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty=+", "--exclude=*"],
                          capture_output=True, text=True)
    return said.stdout.strip()


def first_argument(message):
    """Of a task's message; 0, which is no task's id, if it has none."""
    try:
        return int(json.loads(message.body)[0][0])
    except (ValueError, TypeError, LookupError):
        return 0


class Run:
    queue = QUEUE

    def __init__(self, directory, tasks, seed, queue_type):
        self.dir, self.tasks, self.seed = directory, tasks, seed
        self.cluster = queue_type == "cluster"
        self.queue_type = "quorum" if self.cluster else queue_type
        usual = FAULTS + ",unknown" * (tasks >= TIMES_TASKS)
        self.faults = chosen_faults(CLUSTER_FAULTS if self.cluster else usual)
        self.dead = []  # dead letters so far
        self.mark = "GAUNTLET_LEDGER=" + self.path("tasks.ledger")
        self.log = ledger.FaultLog(self.path("faults.jsonl"))
        self.workers, self.leaser, self.producers = [], None, []
        self.broken = threading.Event()

    def path(self, name):
        return os.path.join(self.dir, name)

    def written(self, number):
        return self.path("producer-%d.ledger" % number)

    def progress(self):
        return ledger.count(self.path("tasks.ledger")) / 2 / self.tasks

    def until(self, what, condition, seconds=GIVE_UP):
        """False, and a line in the log, if it does not come about."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self.broken.is_set():
                self.log.note("never", text=what)
                return False
            time.sleep(0.05)
        return True

    # ---- What takes part

    def env(self, number):
        env = dict(os.environ, CTASK_BROKER_URL=self.broker.urls(number), CTASK_QUEUE=QUEUE,
                   GAUNTLET_LEDGER=self.path("tasks.ledger"))
        return dict(env, CTASK_QUEUE_TYPE=self.queue_type)

    def start_workers(self):
        app = os.path.join(os.environ["CTASK_BUILD"], "tests/apps/gauntlet.so")
        command = [os.path.join(os.environ["CTASK_BIN"], "ctask-worker"), "-c", str(CHILDREN),
                   "-A", app]
        for i in range(WORKERS):
            self.workers.append(fleet.Keeper("worker", i, command + ["-Q", QUEUE],
                                             self.env(i), self.dir, self.log))
        self.leaser = fleet.Keeper(
            "worker", WORKERS, command + ["-Q", LEASED, "--lease=%d" % LEASE],
            self.env(WORKERS), self.dir, self.log)
        self.until("the workers are there", self.all_consume)
        self.snapshot("fresh")

    def start_producers(self):
        share = self.tasks // PRODUCERS
        for i in range(PRODUCERS):
            count = share if i else self.tasks - share * (PRODUCERS - 1)
            first = i * self.tasks + 1
            args = [self.written(i), i, first, count, RATE / PRODUCERS, self.seed, POISON_EACH,
                    GIVE_UP, LONGER]
            command = [os.path.join(os.environ["CTASK_BUILD"], "tests/gauntlet-producer")]
            self.producers.append(fleet.Keeper("producer", i, command + [str(a) for a in args],
                                               self.env(i), self.dir, self.log))

    def declare(self):
        """As Celery does, but with the type asked for; workers and producers use what is there."""
        with self.channel() as channel:
            for name in QUEUE, LEASED:
                channel.exchange_declare(name, "direct", durable=True, auto_delete=False)
                channel.queue_declare(name, durable=True, auto_delete=False,
                                      arguments={"x-queue-type": self.queue_type})
                channel.queue_bind(name, name, name)
            if self.cluster:  # the one of broker-config lives on one node
                channel.queue_delete(QUEUE + ".dead")
            channel.queue_declare(QUEUE + ".dead", durable=True, auto_delete=False,
                                  arguments=DEAD_ARGUMENTS if self.cluster else None)

    @contextlib.contextmanager
    def channel(self, **options):
        user, password, address = re.match(r"amqp://(.*?):(.*?)@(.*)", self.broker.url).groups()
        with amqp.Connection(address, user, password, heartbeat=0, **options) as connection:
            yield connection.channel()

    # ---- What can be seen

    def delays_pass(self):
        """A message came through three of the delay queues. In the first half minute of a new cluster
        on a busy machine none does. Another one is sent each second, since a queue that is not bound
        yet gets none."""
        with contextlib.suppress(amqp.exceptions.AMQPError, OSError), self.channel() as channel:
            channel.queue_declare(PROBE, durable=True, auto_delete=False)
            channel.queue_bind(PROBE, "celery_delayed_delivery", "#." + PROBE)
            channel.basic_publish(amqp.Message("?"), "celery_delayed_2", "0." * 25 + "1.1.1." + PROBE)
            time.sleep(1)
            return channel.basic_get(PROBE, no_ack=True) is not None
        return False

    def all_consume(self):
        return [self.consumers(QUEUE), self.consumers(LEASED)] == [WORKERS, 1]

    def consumers(self, queue):
        """How many channels consume it: a worker has several consumers on one."""
        return int(self.broker.evaluate(
            '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
            "length(lists:usort([element(1, C) || C <- rabbit_amqqueue:consumers(Q)]))" % queue))

    def queues(self):
        """Messages of each queue, ready or not, by name."""
        lines = self.broker.ctl("-q", "--no-table-headers", "list_queues", "name", "messages")
        rows = [line.split("\t") for line in lines.splitlines() if "\t" in line]
        return {name: int(messages) for name, messages in rows}

    def full_queues(self):
        """Names of those that are to be empty at the end, and are not. Only the node on which the
        queue is, or its leader, knows how many messages are in it."""
        return re.findall(r'<<"(.*?)">>', self.broker.evaluate(
            "[N || Q <- rabbit_amqqueue:list(), {resource, _, queue, N} <- [amqqueue:get_name(Q)], "
            'string:prefix(N, <<"ctask.reply.">>) =:= nomatch, N =/= <<"ctask.undelivered">>, '
            'string:prefix(N, <<"probe-">>) =:= nomatch, '
            'string:find(N, <<".dead">>, trailing) =:= nomatch, '
            "rpc:call(case amqqueue:get_pid(Q) of {_, Leader} -> Leader; Pid -> node(Pid) end, "
            "rabbit_amqqueue, info, [Q, [messages]]) =/= [{messages, 0}]]"))

    def all_empty(self):
        """Twice: what a message leaves and what it comes to are not counted at the same time."""
        if self.full_queues():
            return False
        time.sleep(COUNTED_EVERY + 1)
        return not self.full_queues()

    def snapshot(self, when):
        for w in self.workers:
            if w.pid:
                self.log.note("resources", when=when, number=w.number, pid=w.pid,
                              **fleet.resources(w.pid))

    def take_dead_letters(self):
        """Takes them out of their queues, as far as these exist, into memory."""
        for queue in QUEUE + ".dead", LEASED + ".dead":
            with contextlib.suppress(amqp.exceptions.NotFound), self.channel() as channel:
                while message := channel.basic_get(queue, no_ack=True):
                    self.dead.append(ledger.record(
                        id=first_argument(message), at=time.monotonic(), what=ledger.DEAD,
                        type=message.headers.get("x-ctask-dead-type") or "dropped"))

    def delete_dead_queue(self):
        """If nothing is in it; whoever needs it next declares it again. False if it was not to be."""
        try:
            self.take_dead_letters()
            with self.channel() as channel:
                channel.queue_delete(QUEUE + ".dead", if_empty=True)
        except (amqp.exceptions.AMQPError, OSError):
            return False
        return True

    # ---- The run

    def work(self):
        """Until the producers are done; it is the faults' business to let them."""
        self.start_producers()
        calm = calm_tasks(self.tasks) / self.tasks
        self.until("the calm part", lambda: self.progress() >= calm,
                   calm * self.tasks / RATE * 5 + GIVE_UP)
        faults = (NodeFaults if self.cluster else Faults)(self)
        faults.begin()
        last, moved = -1, time.monotonic()
        while not all(p.done.is_set() for p in self.producers) and not self.broken.is_set():
            time.sleep(0.05)
            now = sum(ledger.count(self.written(p.number)) for p in self.producers)
            if now != last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > 3 * GIVE_UP:
                self.log.note("never", text="the producers move on")
                break
        faults.end()

    def rest(self):
        if not self.until("the queues are empty", self.all_empty,
                          UNKNOWN_FOR if "unknown" in self.faults else 2 * GIVE_UP):
            self.log.note("full", queues=self.full_queues())
        self.until("all workers are there", self.all_consume)
        self.snapshot("end")
        queues = self.queues()
        self.log.note("queues", messages=queues)
        self.log.note("undelivered", count=queues.get("ctask.undelivered", 0))
        self.take_dead_letters()
        ledger.write(self.path("dead.ledger"), self.dead)
        for w in self.workers + [self.leaser]:
            w.keep = False
            w.send_signal(signal.SIGTERM)
        for w in self.workers + [self.leaser]:
            self.log.note("worker-left", number=w.number, status=w.stop())
        self.until("nobody is connected", lambda: self.broker.connections() == 0, 10)
        self.log.note("connections", count=self.broker.connections())
        self.log.note("processes", left=fleet.left_behind(self.mark))

    def keep_broker_logs(self):
        """Copies them here: the broker removes its directory when it ends."""
        for path in glob.glob(os.path.join(self.broker.dir, "**/log/*.log"), recursive=True):
            name = os.path.relpath(path, self.broker.dir).replace("/", "-")
            shutil.copy(path, self.path("broker-" + name))

    def all(self):
        with open(self.path("run.json"), "w") as f:
            json.dump({"tasks": self.tasks, "seed": self.seed, "queue_type": self.queue_type,
                       "cluster": self.cluster, "only": os.environ.get("CTASK_GAUNTLET_FAULTS"),
                       "day": time.strftime("%Y-%m-%d"), "tree": tree(),
                       "times": self.tasks >= TIMES_TASKS and not self.cluster, "workers": WORKERS,
                       "children": CHILDREN, "producers": PRODUCERS, "rate": RATE}, f)
        with ClusterBroker() if self.cluster else PrivateBroker() as self.broker:
            self.log.note("broker", version=self.broker.evaluate(
                "{ok, V} = application:get_key(rabbit, vsn), list_to_binary(V)").strip('<>"'))
            self.declare()
            try:
                self.start_workers()
                if self.cluster:
                    self.until("the delay queues are there", self.delays_pass)
                self.work()
                self.rest()
            finally:
                for process in self.producers + self.workers + [self.leaser]:
                    process.stop(signal.SIGKILL)
                self.keep_broker_logs()
        self.log.note("done")


def main():
    directory, tasks, seed, queue_type = sys.argv[1:]
    # Orphans become ours, so none is overlooked.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.makedirs(directory)
    Run(os.path.abspath(directory), int(tasks), int(seed), queue_type).all()


if __name__ == "__main__":
    main()
