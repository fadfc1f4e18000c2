"""A Celery app as its users write one: the same queue on both sides, results over rpc://."""
import json
import os

from celery import Celery
from kombu import Exchange, Queue

app = Celery("pyapp", broker=os.environ["CTASK_TEST_BROKER"], backend="rpc://")
app.conf.task_default_queue = os.environ.get("PYAPP_QUEUE", "celery")
app.conf.worker_hijack_root_logger = False


def queue(name, exchange, **arguments):
    """As in task_queues of an app whose queues have an exchange of that type and arguments."""
    return Queue(name, Exchange(name, type=exchange), routing_key=name, queue_arguments=arguments)


if "PYAPP_EXCHANGE" in os.environ:
    app.conf.task_queues = [queue(os.environ["PYAPP_QUEUE"], os.environ["PYAPP_EXCHANGE"],
                                  **json.loads(os.environ["PYAPP_ARGUMENTS"]))]


@app.task(name="py.add")
def add(a, b=0):
    return a + b


@app.task(name="py.fail")
def fail(text):
    raise ValueError(text)


@app.task(name="py.retry", bind=True, max_retries=5)
def retry(self, times):
    if self.request.retries < times:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(name="py.echo")
def echo(*args, **kwargs):
    return [args, kwargs]


# What a Python producer knows of the C tasks: names. Their code is never run here.
@app.task(name="is_prime")
def is_prime(n):
    raise NotImplementedError("runs in C")


@app.task(name="demo.add")
def c_add(a, b):
    raise NotImplementedError("runs in C")


@app.task(name="demo.fail")
def c_fail(kind, text):
    raise NotImplementedError("runs in C")
