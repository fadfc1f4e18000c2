#!/usr/bin/python3
"""Makes celery-tasks.txt and celery-results.txt out of captures of Celery's traffic; see README.md.

usage: extract.py DIRECTORY-OF-CAPTURES
"""
import json
import os
import sys

from amqp.basic_message import Message

# name of the case, capture, section, which publish in it that has a task or result
TASKS = [
    ("delay", "c1-task-messages.txt", "is_prime.delay(97)", 0),
    ("options", "c1-task-messages.txt", "options", 0),
    ("eta and no result", "c1-task-messages.txt", "eta+ignore", 0),
    ("callbacks", "c1-task-messages.txt", "link", 0),
    ("chain", "c1-task-messages.txt", "chain", 0),
    ("group", "c1-task-messages.txt", "group", 0),
    ("stamps", "c2-json-stamps-chord-proto1.txt", "stamp", 0),
    ("protocol 1", "c2-json-stamps-chord-proto1.txt", "proto1", 0),
    ("expires", "c3-worker-tasks.txt", "expired", 0),
    ("before a retry", "c7-canvas-errors.txt", "retry w/ chain+headers", 0),
    ("retried", "c7-canvas-errors.txt", "retry w/ chain+headers", 1),
    ("chunks", "c1-task-messages.txt", "chunks", 0),
    ("map", "c1-task-messages.txt", "map", 0),
    ("starmap", "c1-task-messages.txt", "starmap", 0),
]
RESULTS = [
    ("success", "c3-worker-tasks.txt", "add", 0),
    ("failure", "c3-worker-tasks.txt", "fail", 0),
    ("failure of its own type", "c3-worker-tasks.txt", "fail2", 0),
    ("started", "c3-worker-tasks.txt", "started", 0),
    ("retry", "c3-worker-tasks.txt", "retry", 0),
    ("progress", "c3-worker-tasks.txt", "prog", 0),
    ("rejected", "c3-worker-tasks.txt", "reject", 0),
    ("revoked", "c3-worker-tasks.txt", "expired", 0),
    ("unknown task", "c3-worker-tasks.txt", "unregistered", 0),
    ("wrong arguments", "c3-worker-tasks.txt", "argerr", 0),
    ("chunk", "c10-canvas.txt", "chain w chunks", 2),
]


def publishes(path, section):
    """The publishes of one section that are no events and no control messages."""
    here = False
    for line in open(path, encoding="utf-8"):
        if line.startswith("##### "):
            here = line[6:].strip() == section
        elif here and line.startswith("basic.publish {"):
            sent = json.loads(line[len("basic.publish "):])
            if sent["exchange"] == "":
                yield sent


def block(name, sent):
    properties = dict(sent["properties"], priority=sent["priority"],
                      content_type=sent["content_type"],
                      content_encoding=sent["content_encoding"],
                      application_headers=sent["headers"])
    raw = Message("", **properties)._serialize_properties()
    return f"case: {name}\nprops: {raw.hex()}\nbody: {sent['body']}\n"


def extract(captures, cases, is_result, path):
    blocks = []
    for name, capture, section, index in cases:
        found = [sent for sent in publishes(os.path.join(captures, capture), section)
                 if ('"status"' in sent["body"][:12]) == is_result]
        blocks.append(block(name, found[index]))
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(blocks))


if len(sys.argv) != 2:
    sys.exit(__doc__)
here = os.path.dirname(os.path.abspath(__file__))
extract(sys.argv[1], TASKS, False, os.path.join(here, "celery-tasks.txt"))
extract(sys.argv[1], RESULTS, True, os.path.join(here, "celery-results.txt"))
