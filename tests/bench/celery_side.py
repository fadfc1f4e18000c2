"""Celery's side: the tasks, for its worker, and a producer; see sides.py."""
import os

from celery import Celery
from celery.result import ResultSet

import sides

app = Celery("bench", broker=os.environ["CTASK_BROKER_URL"], backend="rpc://")
app.conf.task_default_queue = "bench.celery"
app.task(sides.noop, name="bench.noop")
app.task(sides.spin, name="bench.spin")


class Producer(sides.Side):
    def send(self, n):
        """A batch, with what each of it has to return."""
        values = [self.next_value() for _ in range(n)]
        task = app.tasks[self.o.task]
        return values, [task.delay(v) for v in values]

    def take(self, batch):
        values, results = batch
        if ResultSet(results).join_native(timeout=120) != values:
            sides.wrong()
        self.done += len(values)

    def one(self):
        self.take(self.send(1))

    def handles(self):
        """At least half a window is outstanding at any time."""
        half = max(1, self.o.window // 2)
        if self.o.count:
            self.start()
            batches = [self.send(min(half, self.o.count - i)) for i in range(0, self.o.count, half)]
            for batch in batches:
                self.take(batch)
            return self.stop()
        batches = [self.send(half), self.send(half)]
        self.take(batches.pop(0))
        self.start()
        while not self.is_over():
            batches.append(self.send(half))
            self.take(batches.pop(0))
        self.stop()
        self.take(batches.pop(0))


if __name__ == "__main__":
    app.finalize()
    Producer(sides.options()).run()
