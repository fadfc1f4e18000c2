"""What the producers in Python share: options, START and END, one task outstanding.

    SCRIPT [pool|executor] handles --seconds S --window N --warm N | --count N
    SCRIPT [pool|executor] alone --seconds S --warm N
    and --task bench.spin --argument MICROSECONDS
"""
import argparse
import json
import time

SHARES = (("p50", .5), ("p95", .95), ("p99", .99), ("p999", .999), ("max", 1))


def options(first=()):
    parser = argparse.ArgumentParser()
    for name in first:
        parser.add_argument(name)
    parser.add_argument("mode")
    parser.add_argument("--task", default="bench.noop")
    parser.add_argument("--seconds", type=float, default=3)
    for name, default in (("window", 1000), ("count", 0), ("warm", 100), ("argument", 0),
                          ("repeat", 1)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--list")
    return parser.parse_args()


def noop(n):
    return n


def spin(microseconds):
    """Work: time of this thread on a core, so that waiting for one does not count."""
    end = time.thread_time_ns() + microseconds * 1000
    while time.thread_time_ns() < end:
        pass
    return microseconds


def wrong():
    raise SystemExit("a task returned something else than it had to")


class Side:
    def __init__(self, o):
        self.o, self.sent, self.done = o, 0, 0

    def next_value(self):
        self.sent += 1
        return self.o.argument or self.sent

    def one(self):
        """Sends one task and waits for its result."""
        raise NotImplementedError

    def start(self):
        self.first, self.at = self.done, time.monotonic()
        print("START", flush=True)

    def is_over(self):
        return time.monotonic() - self.at >= self.o.seconds

    def stop(self, tasks=None, **more):
        seconds = time.monotonic() - self.at
        tasks = tasks or self.done - self.first
        print("END", json.dumps(dict(tasks=tasks, seconds=seconds, rate=tasks / seconds, **more)),
              flush=True)

    def alone(self):
        for _ in range(self.o.warm):
            self.one()
        took = []
        self.start()
        while not self.is_over():
            begin = time.monotonic()
            self.one()
            took.append((time.monotonic() - begin) * 1e6)
        took.sort()
        self.stop(**{name + "_us": took[int(share * (len(took) - 1))] for name, share in SHARES})

    def run(self):
        getattr(self, self.o.mode)()
        print("DONE {}")
