"""Three RabbitMQ nodes that are one cluster, as Python objects: see ../support/cluster.sh.

with Cluster() as cluster:
    worker = Worker(url=cluster.url)
    cluster.nodes[2].cut()
    cluster.heal()

The nodes live in a network namespace of their own, and so does the test from then on: it reaches no
other broker any more. Standard library only.
"""
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from leftovers import end_at_exit, forget  # noqa: E402

from bench import DEV, PrivateBroker  # noqa: E402

NODES = 1, 2, 3
NETWORK = 0x40000000  # CLONE_NEWNET


class ClusterNode(PrivateBroker):
    """A PrivateBroker that is node N of a cluster. It starts and ends with its cluster."""

    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.address = "127.0.0.1%d" % number
        self._lives_in(os.path.join(cluster.dir, str(number)))
        self.port = PrivateBroker.epmd_port(self) + 1
        self.name = "ctask%d@%s" % (self.port, self.address)
        self.url = "amqp://guest:guest@%s:%d" % (self.address, self.port)

    def epmd_port(self):
        with open(os.path.join(self.dir, "epmd")) as f:
            return int(f.read())

    def start(self, wait=True):
        starting = self.cluster.begin("start", str(self.number))
        if wait:
            self.started(starting)
        return starting

    def started(self, starting):
        error = starting.communicate()[1]
        if starting.returncode:
            raise RuntimeError("node %d does not start: %s" % (self.number, error))

    def cut(self):
        """Drops all packets between this node and others, clients too, until cluster.heal()."""
        self.cluster.do("cut", str(self.number))

    def leads(self, queue, asked=None):
        """True if `asked` says that the queue, or the leader of a quorum queue, is on this node."""
        return self.name in (asked or self).evaluate(
            '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
            "case amqqueue:get_pid(Q) of {_, N} -> N; P -> node(P) end" % queue)

    def __exit__(self, *_):
        raise RuntimeError("a node ends with its cluster")


class Cluster:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="ctask-cluster-")
        self.env = dict(os.environ, CTASK_CLUSTER_DIR=self.dir)
        end_at_exit(self.__exit__)

    def __enter__(self):
        try:
            self.do("start")
            self._enter_network()
            self.nodes = {n: ClusterNode(self, n) for n in NODES}
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def url(self):
        return ";".join(node.url for node in self.nodes.values())

    def __exit__(self, *_):
        forget(self.__exit__)
        for node in getattr(self, "nodes", {}).values():
            node._shell_end()
        subprocess.run([DEV, "cluster", "stop"], env=self.env, stdin=subprocess.DEVNULL,
                       capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _enter_network(self):
        """Takes this process, and those that it starts from now on, into the namespace."""
        with open(os.path.join(self.dir, "epmd.pid")) as f:
            pid = f.read().split()[0]
        with open("/proc/%s/ns/net" % pid) as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "cannot enter the cluster's network")

    def begin(self, *args):
        return subprocess.Popen([DEV, "cluster"] + list(args), env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def do(self, *args):
        """./dev cluster ...; returns what it printed."""
        doing = self.begin(*args)
        out, error = doing.communicate()
        if doing.returncode:
            raise RuntimeError("dev cluster %s: %s" % (" ".join(args), error))
        return out

    def heal(self):
        """Brings back the nodes that were cut off or frozen."""
        self.do("heal")
