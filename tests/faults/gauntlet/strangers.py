"""Messages of others, who mean no good or know no better: reply addresses that the broker answers with
a closed connection, tasks that no worker knows, tasks that are due when their queue is gone. Whatever
they are, nobody else is to notice. What is sent is written down as a producer does it."""
import json
import os
import subprocess
import time

import amqp

import ledger

PRODUCER = 100      # its number
FIRST = 1 << 23     # its tasks' numbers; producers have smaller ones
REPLY_ADDRESSES = ["amq.rabbitmq.reply-to.x.y", "ctask", "ctask.dead", "ctask.reply.gone", "nobody",
                   "celery_delayed_0", "\u00e9" * 100, "x" * 255]
UNKNOWN = 1000      # tasks at a time
DELAYED = 40        # for a queue that goes: more than the 32 that a delay queue can hold at its end
DELAY = 6           # seconds


class Strangers:
    def __init__(self, run):
        self.run = run
        self.number = FIRST
        self.gone = 0

    def message(self, kind, reply_to=None):
        """(id, a task's message as Celery writes it)."""
        self.number += 1
        task = self.number << 16
        name = "gauntlet.unknown" if kind == ledger.UNKNOWN else "gauntlet.run"
        text = "%016x" % task
        body = [[task, kind, 0], {}, {"callbacks": None, "errbacks": None, "chain": None,
                                      "chord": None}]
        headers = {"lang": "py", "task": name, "id": text, "root_id": text, "parent_id": None,
                   "group": None, "eta": None, "expires": None, "retries": 0}
        more = {"reply_to": reply_to} if reply_to else {}
        return task, amqp.Message(json.dumps(body), content_type="application/json",
                                  content_encoding="utf-8", delivery_mode=2, correlation_id=text,
                                  application_headers=headers, **more)

    def send(self, kind, reply_to=(None,)):
        """One with each of these addresses. What the broker did not confirm may be there or not."""
        path = self.run.path("strangers.ledger")
        group = dict(pid=os.getpid(), group=PRODUCER, kind=kind, no_result=1)
        with self.run.channel(confirm_publish=True) as channel:
            for address in reply_to:
                task, message = self.message(kind, address)
                for what in ledger.SEND, ledger.ACCEPTED:
                    ledger.write(path, [ledger.now(id=task, what=what, **group)])
                    if what == ledger.SEND:
                        channel.basic_publish(message, routing_key="ctask", mandatory=True)

    def bad_addresses(self):
        self.send(ledger.NOOP, REPLY_ADDRESSES)

    def unknown_tasks(self):
        self.send(ledger.UNKNOWN, [None] * UNKNOWN)

    def delays_of_a_deleted_queue(self):
        """How many the broker has taken."""
        self.gone += 1
        queue = "gone-%d" % self.gone
        command = [os.path.join(os.environ["CTASK_BIN"], "ctask"), "call", "--no-wait", "-Q", queue,
                   "--countdown", "%ds" % DELAY, "gauntlet.run"]
        began = time.monotonic()
        calls = [subprocess.Popen(command, env=self.run.env(0),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) for _ in range(DELAYED)]
        sent = sum(call.wait() == 0 for call in calls)
        with self.run.channel() as channel:
            channel.queue_delete(queue)
        return sent if time.monotonic() - began < DELAY else 0  # some were in it already
