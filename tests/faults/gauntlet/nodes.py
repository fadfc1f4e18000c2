"""The gauntlet on a cluster of three: its broker, what happens to its nodes, and probes that tell
when the broker itself stood still.

One node fault at a time, in an order that the seed gives, again and again until the work is done. The
next one comes when all nodes are back and some seconds have passed."""
import contextlib
import os
import signal
import sys
import threading
import time

import amqp  # Debian: python3-amqp

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from cluster import Cluster  # noqa: E402
from faults import Faults  # noqa: E402

CALM_FOR = 8.0       # seconds between two node faults
DOWN_FOR = 10.0
CUT_FOR = 40.0
FREEZE_FOR = 20.0
ALARM_FOR = 10.0
PROBE_EVERY = 0.1
PROBE_TIMEOUT = 2.0
STANDSTILL = 1.0     # a longer one of a probe is written down


def connect(node, heartbeat=10):
    return amqp.Connection("%s:%d" % (node.address, node.port), "guest", "guest", heartbeat=heartbeat,
                           connect_timeout=PROBE_TIMEOUT, read_timeout=PROBE_TIMEOUT,
                           write_timeout=PROBE_TIMEOUT, confirm_publish=True)


def declares(node):
    try:
        with connect(node) as connection:
            connection.channel().queue_declare(exclusive=True)
        return True
    except (amqp.exceptions.AMQPError, OSError):
        return False


class ClusterBroker(Cluster):
    """Looks like one PrivateBroker to callers that do not care which node they use."""

    def __enter__(self):
        super().__enter__()
        self.urls_of_nodes = [node.url for node in self.nodes.values()]
        return self

    def urls(self, number):
        """All nodes; each process begins with another one."""
        first = number % len(self.urls_of_nodes)
        return ";".join(self.urls_of_nodes[first:] + self.urls_of_nodes[:first])

    def running(self):
        return [node for node in self.nodes.values() if node.pid() and not node.is_paused()]

    @property
    def url(self):
        return self.running()[0].url

    def evaluate(self, expression):
        """Evaluates the text on the first node that answers."""
        for node in self.running():
            with contextlib.suppress(RuntimeError):
                return node.evaluate(expression)
            node._shell_end()
        raise RuntimeError("no node answers " + expression)

    def ctl(self, *args):
        return self.running()[0].ctl(*args)

    def connections(self):
        return sum(node.connections() for node in self.nodes.values())

    def is_whole(self):
        return self.not_whole() == ""

    def not_whole(self):
        """What keeps the cluster from being whole, or "". All nodes have to see each other, each of them
        to declare a queue, and each quorum queue to have all of its members online. While a node is cut
        off no declaration is answered. A quorum queue that was declared while a node was down has two
        members. A queue of a lease or of replies that was declared or deleted as a node was lost may stay
        on 3.10 as a name without a leader; what speaks for its client is that no handle hangs."""
        mute = [node.number for node in self.nodes.values() if not declares(node)]
        if mute:
            return "nodes %s declare no queue" % mute
        try:
            said = self.evaluate(
                "case length(rabbit_nodes:all_running()) of 3 -> "
                "[{element(4, amqqueue:get_name(Q)), I} || Q <- rabbit_amqqueue:list(), "
                "amqqueue:get_type(Q) =:= rabbit_quorum_queue, "
                "I <- [rabbit_quorum_queue:info(Q, [online, members, leader])], "
                "[{online, N}, {members, M}, {leader, L}] <- [I], length(N) =/= length(M), "
                "L =/= '' orelse re:run(element(4, amqqueue:get_name(Q)), <<\"^ctask[.](lease|reply)[.]\">>) "
                "=:= nomatch]; N -> {N, nodes} end")
        except RuntimeError as e:
            return str(e)
        return "" if said == "[]" else said

    def lead(self, queue, node):
        """The quorum queue gets its leader there."""
        with contextlib.suppress(RuntimeError):
            self.evaluate('{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
                          "rabbit_quorum_queue:transfer_leadership(Q, 'ctask%d@%s'), ok"
                          % (queue, node.port, node.address))


class Probe:
    """Has a quorum queue of its own and does the same with it again and again, without ctask, by
    whichever node answers. Writes down when it could not."""

    STANDS, NEXT = "standstill", 0

    def __init__(self, broker, number, log):
        """The node of this number leads the queue. NEXT: how many nodes after it the first is to speak to."""
        nodes = list(broker.nodes.values())
        first = (number + self.NEXT) % len(nodes)
        self.broker, self.leader, self.nodes = broker, nodes[number], nodes[first:] + nodes[:first]
        self.queue, self.number, self.log = self.QUEUE % number, number, log
        self.over = threading.Event()
        self.node, self.last = self.nodes[0], time.monotonic()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        turn = 0
        while not self.over.wait(PROBE_EVERY):
            self.node = self.nodes[turn % len(self.nodes)]
            turn += 1
            with contextlib.suppress(amqp.exceptions.AMQPError, amqp.exceptions.MessageNacked,
                                     OSError):
                self.speak()
                turn = 0

    def declare(self, channel):
        channel.queue_declare(self.queue, durable=True, auto_delete=False,
                              arguments={"x-queue-type": "quorum"})

    def moved(self):
        now = time.monotonic()
        if now - self.last > STANDSTILL:
            self.log.note(self.STANDS, number=self.number, node=self.node.number, begin=self.last,
                          end=now)
        self.last = now

    def begin_anew(self):
        """All nodes are there again. With the next one a leader is lost, and this tells for how long."""
        self.broker.lead(self.queue, self.leader)

    def end(self):
        self.over.set()
        self.thread.join()
        self.moved()


class Feed(Probe):
    """Sends messages to the queue that Consumer has."""

    QUEUE = "probe-fed-%d"

    def speak(self):
        with connect(self.node) as connection:
            channel = connection.channel()
            self.declare(channel)
            while not self.over.wait(PROBE_EVERY):
                channel.basic_publish(amqp.Message("?", delivery_mode=2), "", self.queue,
                                      timeout=PROBE_TIMEOUT)
                self.sent(channel)
                self.moved()

    def sent(self, channel):
        pass


class Exchange(Feed):
    """Sends messages to a queue that nobody else has, and takes them out again."""

    QUEUE = "probe-%d"

    def sent(self, channel):
        while message := channel.basic_get(self.queue):
            channel.basic_ack(message.delivery_tag)


class Consumer(Probe):
    """Consumes at a node that does not lead the queue. The connection has no heartbeats, so it ends only
    with its node: a consumer of before the fault is what is to be seen."""

    QUEUE, STANDS, NEXT = Feed.QUEUE, "starved", 1
    goes_home = False

    def speak(self):
        self.goes_home = False
        with connect(self.node, heartbeat=0) as connection:
            channel = connection.channel()
            self.declare(channel)
            channel.basic_qos(0, 100, False)
            channel.basic_consume(self.queue, callback=self.take)
            while not self.over.is_set() and not self.goes_home:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=PROBE_EVERY)

    def take(self, message):
        message.channel.basic_ack(message.delivery_tag)
        self.moved()

    def begin_anew(self):
        super().begin_anew()
        self.goes_home = self.node is not self.nodes[0]


class NodeFaults(Faults):
    KINDS = ("node-kill", "node-stop", "node-cut", "node-freeze", "roll", "leader", "disk")

    def begin(self):
        super().begin()
        self.taken = 0  # nodes so far
        self.probes = [kind(self.broker, number, self.log) for kind in (Exchange, Feed, Consumer)
                       for number in range(len(self.broker.nodes))]
        chosen = [kind for kind in self.KINDS if kind in self.run.faults]
        if chosen:
            self._thread(chosen[0], self.node_faults, chosen)

    def end(self):
        super().end()
        for probe in self.probes:
            probe.end()

    def node_faults(self, draw, kinds):
        while not self.over.is_set():
            draw.shuffle(kinds)
            for kind in kinds:
                self.over.wait(CALM_FOR)
                if self.over.is_set():
                    return
                getattr(self, kind.replace("-", "_"))(draw)
                self.await_whole("after " + kind)
                for probe in self.probes:
                    probe.begin_anew()

    def await_whole(self, when):
        if not self.run.until("the cluster is whole " + when, self.broker.is_whole):
            self.log.note("not-whole", text=self.broker.not_whole())

    @contextlib.contextmanager
    def noted(self, kind, node):
        self.log.note("node-down", how=kind, node=node)
        yield
        self.log.note("node-up", how=kind, node=node)

    def a_node(self, draw):
        """Every second time, beginning with the first, the one that leads the queue of tasks."""
        nodes = list(self.broker.nodes.values())
        self.taken += 1
        leaders = [node for node in nodes if self.leads(node)] if self.taken % 2 else []
        return draw.choice(leaders or nodes)

    def leads(self, node):
        with contextlib.suppress(RuntimeError):
            return node.leads(self.run.queue)

    def node_kill(self, draw):
        node = self.a_node(draw)
        with self.noted("kill", node.number):
            node.kill()
            time.sleep(DOWN_FOR)
            node.start()

    def node_stop(self, draw):
        node = self.a_node(draw)
        with self.noted("stop", node.number):
            node.stop()
            time.sleep(DOWN_FOR)
            node.start()

    def node_cut(self, draw):
        node = self.a_node(draw)
        with self.noted("cut", node.number):
            node.cut()
            time.sleep(CUT_FOR)
            self.broker.heal()

    def node_freeze(self, draw):
        node = self.a_node(draw)
        with self.noted("freeze", node.number):
            node.pause()
            time.sleep(FREEZE_FOR)
            node.resume()

    def roll(self, draw):
        """As an upgrade does: one node after the other, and a worker with each of them."""
        for node, worker in zip(self.broker.nodes.values(), self.workers[1:]):
            with self.noted("roll", node.number):
                worker.send_signal(signal.SIGTERM, "worker-roll")
                node.stop()
                node.start()
            self.await_whole("while it rolls")

    def leader(self, draw):
        """The leaders of all quorum queues move on by one node."""
        with self.noted("leader", 0):
            self.broker.evaluate(
                "[begin {_, L} = amqqueue:get_pid(Q), "
                "[{members, All}] = rabbit_quorum_queue:info(Q, [members]), "
                "rabbit_quorum_queue:transfer_leadership(Q, hd(All -- [L])) end || "
                "Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue], ok")

    def disk(self, draw):
        node = self.a_node(draw)
        with self.noted("disk", node.number):
            self.log.note("alarm", of="disk")
            node.evaluate("rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []})")
            time.sleep(ALARM_FOR)
            node.evaluate("rabbit_alarm:clear_alarm({resource_limit, disk, node()})")
            self.log.note("alarm-over")
