"""Feeds messages that ctask writes to Celery's own readers: py-amqp for the properties, kombu for
the body, the worker's Request and tracer for tasks, the rpc:// backend for results.
"""
import sys
from datetime import datetime, timezone

import billiard.exceptions
import celery.exceptions
from amqp.basic_message import Message as AmqpMessage
from celery import Celery
from celery.result import AsyncResult
from celery.worker.request import Request
from kombu.transport.pyamqp import Message

ID = "11111111-2222-4333-8444-555555555555"


def cases(path):
    found = {}
    for line in open(path, encoding="utf-8"):
        key, _, value = line.rstrip("\n").partition(": ")
        if key == "case":
            case = found.setdefault(value, {})
        elif key:
            case[key] = value
    return found


def delivered(case):
    """The message as kombu hands it to Celery."""
    raw = bytes.fromhex(case["props"])
    message = AmqpMessage(case["body"].encode())
    end = message._load_properties(60, raw, 0)  # 60: the basic class
    assert end == len(raw), f"{len(raw) - end} bytes of the properties were not read"
    message.delivery_info = {"delivery_tag": 1, "exchange": "", "routing_key": "q",
                             "redelivered": False}
    return Message(message, channel=None, accept={"application/json"})


def run(case):
    """The request a worker makes of a task message, after the worker has run it."""
    ran = []
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)

    def body(*args, **kwargs):
        ran.append((args, kwargs))

    for name in ("is_prime", "add"):
        app.task(body, name=name, shared=False)
    message = delivered(case)
    app.finalize()
    request = Request(message, app=app, hostname="w@h", task=app.tasks[message.headers["task"]])
    request.execute()
    assert len(ran) == 1, f"the task ran {len(ran)} times"
    return request, ran[0]


def check_task(case):
    request, ran = run(case)
    assert ran == ((97,), {}), ran
    assert (request.name, request.id) == ("is_prime", ID)
    assert request.correlation_id == ID
    assert request.reply_to == "ctask.reply." + ID
    assert request.eta is None and request.expires is None
    assert request.time_limits == (None, None)
    assert not request.ignore_result
    assert request.message.properties["delivery_mode"] == 2


def check_starmap(case):
    ran = []
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)

    def body(*args):
        ran.append(args)

    app.task(body, name="add", shared=False)
    message = delivered(case)
    app.finalize()
    request = Request(message, app=app, hostname="w@h", task=app.tasks[message.headers["task"]])
    request.execute()
    assert ran == [(1, 2), (3, "x")], ran
    assert (request.name, request.id) == ("celery.starmap", ID)


def check_full(case):
    request, ran = run(case)
    assert ran == ((2, "Zo\u00eb"), {"z": 0.5}), ran
    assert request.root_id == "root" and request.parent_id == "parent"
    assert request.reply_to is None
    eta = datetime(2099, 12, 31, 23, 59, 59, 250000, tzinfo=timezone.utc)
    assert request.eta == eta, request.eta
    assert request.expires == datetime(2100, 1, 1, tzinfo=timezone.utc), request.expires
    assert request.ignore_result is True


def check_retried(case):
    request, _ = run(case)
    assert request.request_dict["retries"] == 1
    assert request.id == ID and request.parent_id == ID
    assert request.eta == datetime(2026, 11, 22, 15, 45, 58, 250000, tzinfo=timezone.utc)
    assert request.reply_to == "ctask.reply." + ID


def result_of(case):
    """What a client's AsyncResult says once its consumer has seen the message, and by polling."""
    app = Celery(broker="memory://", backend="rpc://", set_as_current=False)
    message = delivered(case)
    assert app.backend._get_message_task_id(message) == ID
    waiting = AsyncResult(ID, app=app)
    app.backend._pending_results.concrete[ID] = waiting
    app.backend.result_consumer.on_state_change(
        app.backend.meta_from_decoded(message.payload), message)
    polled = app.backend._set_cache_by_message(ID, delivered(case))
    return waiting._cache, polled


def check_result(status, same, ready=True):
    def check(case):
        awaited, polled = result_of(case)
        assert (awaited is not None) == ready, awaited
        for meta in (awaited, polled) if ready else (polled,):
            assert meta["status"] == status, meta
            assert meta["task_id"] == ID, meta
            assert same(meta["result"]), repr(meta["result"])
    return check


def exception(cls, *args):
    return lambda e: type(e) is cls and e.args == args


CHECKS = {
    "task": check_task,
    "task with everything": check_full,
    "retried task": check_retried,
    "starmap": check_starmap,
    "starmap reply": check_result("SUCCESS", lambda r: r == [3, None, None, "x"]),
    "success": check_result("SUCCESS", lambda r: r == {"a": [3, None, True], "z": "Zo\u00eb"}),
    "success with nothing": check_result("SUCCESS", lambda r: r is None),
    "failure": check_result("FAILURE", exception(ValueError, '7 is no "prime"')),
    "failure of no python type": check_result(
        "FAILURE", lambda e: type(e).__name__ == "NoSuchThing" and e.args == ("gone",)
        and isinstance(e, Exception)),
    "worker lost": check_result(
        "FAILURE", exception(billiard.exceptions.WorkerLostError, "signal 9")),
    "revoked": check_result(
        "REVOKED", exception(celery.exceptions.TaskRevokedError, "expired")),
    "retry": check_result("RETRY", exception(OSError, "net"), ready=False),
    "retry without a reason": check_result("RETRY", lambda r: r is None, ready=False),
    "progress": check_result("PROGRESS", lambda r: r == {"done": 1}, ready=False),
}


def main():
    found = cases(sys.argv[1])
    wrong = sorted(set(found) ^ set(CHECKS))
    for name in wrong:
        print(f"'{name}': only on one side")
    for name in sorted(set(found) & set(CHECKS)):
        try:
            CHECKS[name](found[name])
        except Exception as e:  # each case says what is wrong with it
            wrong.append(name)
            print(f"'{name}': {type(e).__name__}: {e}")
    print(f"{len(found)} messages, {len(wrong)} wrong; celery {celery.__version__}")
    return bool(wrong)


sys.exit(main())
