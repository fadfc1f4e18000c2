"""The fault bench: what makes a broker, a network, a clock or a call fail, as Python objects.

Each is a context manager, fails at the moment a test names, and ends all that it started. None
touches anything that it did not start itself: a PrivateBroker is a node of its own. README.md in
this folder says which to take for what. Standard library only.
"""
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from leftovers import end_at_exit, forget  # noqa: E402

BUILD = os.environ.get("CTASK_BUILD", os.path.join(HERE, "../../build"))
DEV = os.path.join(HERE, "../../dev")
GIVE_UP = 120
DISK_ALARM_BYTES = 10 ** 15
LEAP = 10 ** 8  # ns

# Reads one Erlang expression a line, has the node evaluate it, answers with one line. rabbitmqctl
# would start a virtual machine for each.
SHELL = r"""
Loop = fun(Loop, Node) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Exprs} = erl_parse:parse_exprs(Tokens),
            Answer = case rpc:call(Node, erl_eval, exprs, [Exprs, []], 30000) of
                {value, Value, _} -> {ok, Value};
                Error -> {error, Error}
            end,
            io:format("~0tp~n", [Answer]),
            Loop(Loop, Node)
    end
end,
io:setopts([{encoding, unicode}]),
Loop(Loop, '%s'),
halt().
"""


def _queue(name):
    return '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>))' % name


class PrivateBroker:
    """A RabbitMQ node of its own in a temporary directory, with stable ports.

    with PrivateBroker() as broker:
        worker = Worker(url=broker.url)
        broker.kill()
        broker.start()
    """

    address = "127.0.0.1"

    def __init__(self):
        self._lives_in(tempfile.mkdtemp(prefix="ctask-broker-"))
        end_at_exit(self.__exit__)

    def _lives_in(self, directory):
        self.dir = directory
        self.env = dict(os.environ, CTASK_BROKER_DIR=directory)
        self.url = self.port = self.shell = None
        self.second = False

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        forget(self.__exit__)
        self._shell_end()
        if self.pid():
            self.kill()
        self._dev("stop", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _dev(self, *args, check=True):
        done = subprocess.run([DEV, "broker"] + list(args), env=self.env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)
        if check and done.returncode:
            raise RuntimeError("dev broker %s: %s" % (" ".join(args), done.stderr))
        return done.stdout

    def ctl(self, *args):
        """rabbitmqctl against this node: a second or two each, so prefer evaluate()."""
        return self._dev("ctl", *args)

    # ---- The node's life

    def start(self, wait=True):
        """Starts the node, on the ports of last time. With wait, until it answers a login; without,
        answers_at() tells when its port opened and started() waits for the rest."""
        starting = subprocess.Popen([DEV, "broker", "start"], env=self.env, text=True,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        if wait:
            self.started(starting)
        return starting

    def started(self, starting):
        """Waits for what start(wait=False) returned."""
        out, err = starting.communicate()
        if starting.returncode:
            raise RuntimeError("the node does not start: " + err)
        self.url = out.strip()
        self.port = int(self.url.rsplit(":", 1)[1])
        if self.second:
            self._listen(self.port + 2)

    def answers_at(self):
        """Waits until the port takes connections; returns when that was (time.monotonic)."""
        end = time.monotonic() + GIVE_UP
        while not self.answers():
            if time.monotonic() > end:
                raise RuntimeError("nobody listens at port %d" % self.port)
            time.sleep(0.01)
        return time.monotonic()

    def answers(self):
        """Its port takes connections; that it is ready for a login comes a little later."""
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return True
        except OSError:
            return False

    def pid(self):
        """The node's, or None when it does not run (a zombie does not)."""
        try:
            with open(os.path.join(self.dir, "broker.pid")) as f:
                pid, birth = f.read().split()
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except (OSError, ValueError):
            return None
        return int(pid) if fields[0] not in "ZX" and fields[19] == birth else None

    def stop(self):
        """Ends it in the ordinary way: it closes its connections with CONNECTION_FORCED."""
        self._shell_end()
        self._dev("stop")

    def kill(self):
        """SIGKILL: the node is gone when this returns, and its port closed."""
        self._signal(signal.SIGKILL)
        while self.pid() or (self.port and self.answers()):
            time.sleep(0.005)
        self._shell_end()

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        """SIGSTOP: the kernel still takes bytes, nobody reads them."""
        self._signal(signal.SIGSTOP)
        while not self.is_paused():
            time.sleep(0.001)

    def is_paused(self):
        threads = "/proc/%d/task" % self.pid()
        for thread in os.listdir(threads):
            with open("%s/%s/stat" % (threads, thread)) as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        return True

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        pid = self.pid()
        if not pid:
            raise RuntimeError("the node does not run")
        os.kill(pid, number)

    # ---- What it is made to do

    def evaluate(self, expression):
        """Has the node evaluate Erlang (one line, no dot at its end); returns the value as text.
        A few milliseconds, after half a second for the first."""
        if not self.shell:
            self._shell_start()
        self.shell.stdin.write(expression.replace("\n", " ") + ".\n")
        self.shell.stdin.flush()
        if not select.select([self.shell.stdout], [], [], GIVE_UP)[0]:
            raise RuntimeError("the node does not answer " + expression)
        answer = self.shell.stdout.readline().strip()
        value = re.fullmatch(r"\{ok,(.*)\}", answer)
        if not value:
            raise RuntimeError("%s: %s" % (expression, answer))
        return value.group(1)

    def _shell_start(self):
        node = "ctask%d@%s" % (self.port, self.address)
        env = dict(os.environ, HOME=self.dir, ERL_EPMD_PORT=str(self.epmd_port()), LANG="C.UTF-8")
        name = "bench%d-%d@127.0.0.1" % (os.getpid(), self.port)
        self.shell = subprocess.Popen(
            ["erl", "-noinput", "-noshell", "-hidden", "-name", name,
             "-kernel", "inet_dist_use_interface", "{127,0,0,1}",
             "-kernel", "logger_level", "none",  # what it reports of other nodes is no answer
             "-eval", SHELL % node],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def epmd_port(self):
        with open(os.path.join(self.dir, "port")) as f:
            return int(f.read())

    def _shell_end(self):
        if self.shell:
            self.shell.stdin.close()
            self.shell.kill()
            self.shell.wait()
            self.shell.stdout.close()
        self.shell = None

    def memory_alarm(self, on):
        self.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(%s)" % (0.0 if on else 0.4))

    def disk_alarm(self, on):
        limit = DISK_ALARM_BYTES if on else 50 * 1024 * 1024
        self.evaluate("rabbit_disk_monitor:set_disk_free_limit(%d)" % limit)

    def close_connections(self, why="closed by the test"):
        self.evaluate('rabbit_networking:close_connections(rabbit_networking:connections(), <<"%s">>)'
                      % why)

    def second_url(self):
        """The node's second address, open from now on: on the port that TLS would have."""
        if not self.second:
            self._listen(self.port + 2)
        self.second = True
        return self.url.replace(":%d" % self.port, ":%d" % (self.port + 2))

    def urls(self, number):
        """What process `number` is to connect to."""
        return self.url + ";" + self.second_url()

    def _listen(self, port):
        self.evaluate('rabbit_networking:start_tcp_listener({"127.0.0.1", %d}, 10)' % port)

    def close_listener(self):
        """Closes the first address: no new connections, and those that it has are cut."""
        self.evaluate('rabbit_networking:stop_tcp_listener({"127.0.0.1", %d})' % self.port)
        self.evaluate(
            '[rabbit_networking:close_connection(C, <<"closed by the test">>) || '
            'C <- rabbit_networking:connections(), '
            '[{port, %d}] =:= (catch rabbit_networking:connection_info(C, [port]))], ok' % self.port)

    def open_listener(self):
        self._listen(self.port)

    def connections(self):
        return int(self.evaluate("length(rabbit_networking:connections())"))

    def delete_queue(self, name):
        self.evaluate(_queue(name) + ', rabbit_amqqueue:delete(Q, false, false, <<"ctask">>), ok')

    def consumer_timeout(self, seconds):
        """For channels opened from now on; the broker looks each second."""
        self.evaluate("application:set_env(rabbit, consumer_timeout, %d), "
                      "application:set_env(rabbit, channel_tick_interval, 1000)" % (seconds * 1000))

    def suspend_queue(self, name):
        """The queue's process stops answering; the node lives. Give the queue time to exist."""
        self.evaluate(_queue(name) + ", sys:suspend(amqqueue:get_pid(Q))")

    def resume_queue(self, name):
        self.evaluate(_queue(name) + ", sys:resume(amqqueue:get_pid(Q))")

    def depth(self, name):
        """Messages in the queue: (ready, unacknowledged)."""
        found = self.evaluate(
            _queue(name) + ", [{_, R}, {_, U}] = rabbit_amqqueue:info(Q, [messages_ready, "
            "messages_unacknowledged]), {R, U}")
        return tuple(int(n) for n in found.strip("{}").split(","))


class FaultProxy:
    """Between a client or worker and a broker; see proxy/main.c for what it can be told.

    with FaultProxy(url) as proxy:
        worker = Worker(url=proxy.url)
        out = proxy.named(" out$")                          # the number of that connection
        proxy("reset-after basic.publish 1 c2s", out)
        proxy.expect("closed", out)
    """

    def __init__(self, url, query=""):
        user, password, host, port = re.match(r"amqps?://(.*?):(.*?)@(.*?):(\d+)", url).groups()
        program = os.path.join(BUILD, "tests/faultproxy")
        self.process = subprocess.Popen([program, host, port], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, errors="replace")
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = "%s://%s:%s@127.0.0.1:%d/%s" % (url.split(":")[0], user, password, self.port,
                                                   query)
        self.events, self.answers = [], []
        self.news = threading.Condition()
        self.orders = threading.Lock()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(GIVE_UP)
        self.reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            with self.news:
                (self.answers if line in ("ok", "error") else self.events).append(line)
                self.news.notify_all()

    def __call__(self, command, connection=None):
        """Does what the command says, to one connection or to all; it is done on return."""
        if connection:
            command = "%d %s" % (connection, command)
        with self.orders:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            with self.news:
                if not self.news.wait_for(lambda: self.answers, GIVE_UP):
                    raise RuntimeError("the proxy does not answer " + command)
                if self.answers.pop(0) != "ok":
                    raise ValueError("the proxy does not know " + command)

    def count(self, pattern, connection=None):
        """How often such an event has been told."""
        pattern = re.compile(("%d " % connection if connection else r"\d+ .*?") + pattern)
        with self.news:
            return sum(bool(pattern.match(line)) for line in self.events)

    def expect(self, pattern, connection=None, times=1):
        """Waits until such an event was told so often."""
        end = time.monotonic() + GIVE_UP
        while self.count(pattern, connection) < times:
            with self.news:
                self.news.wait(0.1)
            if time.monotonic() > end:
                raise AssertionError("the proxy never said %r:\n%s" % (pattern,
                                                                       "\n".join(self.events)))

    def named(self, pattern):
        """The youngest open connection whose name is like that; waits for it."""
        end = time.monotonic() + GIVE_UP
        with self.news:
            while True:
                closed = {line.split()[0] for line in self.events if line.endswith(" closed")}
                for line in reversed(self.events):
                    words = line.split(" ", 2)
                    if words[1] == "name" and words[0] not in closed and re.search(pattern, words[2]):
                        return int(words[0])
                if not self.news.wait(end - time.monotonic()):
                    raise AssertionError("no connection is named like %r" % pattern)


def preload(name, **env):
    """The environment that puts tests/NAME.so before a program's calls."""
    sanitizer = os.environ.get("ASAN_OPTIONS", "")
    return dict(env, LD_PRELOAD=os.path.join(BUILD, "tests", name + ".so"),
                ASAN_OPTIONS=sanitizer + ":verify_asan_link_order=0")


class Clock:
    """The clocks of the processes that are started with `env`, moved while they run.

    with Clock() as clock:
        worker = Worker(env=clock.env)
        clock.move(3600, worker.pid)        # an hour passes; a worker turns its loop on SIGUSR1
        clock.move(0, worker.pid, wall=-60) # somebody sets the wall clock back
        clock.stop()                        # what waits for a point in time waits for ever
    """

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.monotonic = self.wall = 0
        self.file.write(bytes(24))
        self.file.flush()
        self.env = preload("timewarp", CTASK_TIMEWARP=self.file.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def move(self, seconds, pid=None, wall=None):
        """Both clocks by so much, or the wall clock by another amount; then wakes pid."""
        self.monotonic += int(seconds * 1e9)
        self.wall += int((seconds if wall is None else wall) * 1e9)
        os.pwrite(self.file.fileno(), struct.pack("=qq", self.monotonic, self.wall), 0)
        if pid:
            os.kill(pid, signal.SIGUSR1)

    def stop(self):
        """The monotonic clock leaps a little, so that it goes back for nobody, and stands still there
        until goes_on()."""
        self.monotonic += LEAP
        os.pwrite(self.file.fileno(), struct.pack("=q", time.monotonic_ns() + self.monotonic), 16)
        os.pwrite(self.file.fileno(), struct.pack("=q", self.monotonic), 0)

    def goes_on(self, pid=None):
        """From where it would be; then wakes pid."""
        os.pwrite(self.file.fileno(), bytes(8), 16)
        if pid:
            os.kill(pid, signal.SIGUSR1)
