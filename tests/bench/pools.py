"""Python's own process pools, which have no broker, and ipyparallel's, whose broker is a process of
its own. See sides.py; and the talk's list:

    pools.py pool|executor list --list FILE --repeat N
"""
import collections
import concurrent.futures
import logging
import multiprocessing

import sides

PROCESSES = 2


def is_prime(n):
    """The talk's function, as tasks/is_prime.h has it."""
    if n < 4:
        return n > 1
    if n % 2 == 0:
        return False
    d = 3
    while d * d <= n:
        if n % d == 0:
            return False
        d += 2
    return True


class Pool:
    """multiprocessing.Pool; that below under the same names."""

    def __init__(self):
        self.pool = multiprocessing.Pool(PROCESSES)

    def send(self, function, value):
        return self.pool.apply_async(function, (value,))

    def get(self, handle):
        return handle.get()

    def map(self, function, values):
        return self.pool.map(function, values, chunksize=1)

    def close(self):
        self.pool.close()
        self.pool.join()


class Executor:
    def __init__(self):
        self.pool = concurrent.futures.ProcessPoolExecutor(PROCESSES)

    def send(self, function, value):
        return self.pool.submit(function, value)

    def get(self, handle):
        return handle.result()

    def map(self, function, values):
        return self.pool.map(function, values)

    def close(self):
        self.pool.shutdown()


class Parallel:
    def __init__(self):
        import ipyparallel
        self.cluster = ipyparallel.Cluster(n=PROCESSES, log_level=logging.ERROR)
        self.view = self.cluster.start_and_connect_sync().load_balanced_view()

    def send(self, function, value):
        return self.view.apply_async(function, value)

    def get(self, handle):
        return handle.get()

    def close(self):
        self.cluster.stop_cluster_sync()


class Producer(sides.Side):
    def __init__(self, pool, o):
        super().__init__(o)
        self.pool = pool
        self.function = {"bench.noop": sides.noop, "bench.spin": sides.spin}[o.task]
        self.under_way = collections.deque()

    def send(self):
        value = self.next_value()
        self.under_way.append((value, self.pool.send(self.function, value)))

    def take(self):
        value, handle = self.under_way.popleft()
        if self.pool.get(handle) != value:
            sides.wrong()
        self.done += 1

    def take_all(self):
        while self.under_way:
            self.take()

    def one(self):
        self.send()
        self.take()

    def handles(self):
        for _ in range(PROCESSES):
            self.pool.get(self.pool.send(sides.noop, 0))  # its processes are there
        if self.o.count:
            self.start()
            for _ in range(self.o.count):
                if len(self.under_way) == self.o.window:
                    self.take()
                self.send()
            self.take_all()
            return self.stop()
        for _ in range(self.o.window):
            self.send()
        for _ in range(self.o.warm):
            self.one()
        self.start()
        while not self.is_over():
            self.one()
        self.stop()
        self.take_all()

    def list(self):
        with open(self.o.list) as f:
            numbers = [int(line) for line in f] * self.o.repeat
        self.start()
        primes = sum(self.pool.map(is_prime, numbers))
        self.stop(tasks=len(numbers), primes=primes)


if __name__ == "__main__":
    o = sides.options(first=("pool",))
    pool = {"pool": Pool, "executor": Executor, "ipyparallel": Parallel}[o.pool]()
    Producer(pool, o).run()
    pool.close()
