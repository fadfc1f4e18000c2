"""The ledgers' format, for Python: see ledger.h. Reads what C wrote; writes what the run knows.

The fault log is beside the ledgers: one JSON object a line, each with its time `at` (seconds of the
same clock) and `what`."""
import collections
import json
import os
import struct
import threading
import time

FORMAT = struct.Struct("<QqIIiIIIBBBBBB18s")
START, END, SEND, REFUSED, SENT, ACCEPTED, SUCCESS, FAILURE, UNANSWERED, DEAD, RETRY = range(1, 12)
NOOP, SLEEP, SEGV, ABORT, RETRIED, FAIL, FOLLOW, UNKNOWN = range(8)
PLAIN, COUNTDOWN, MAP, FOLLOWS, LEASED = range(5)
POISON = (SEGV, ABORT)
ID_BITS = 40  # above them: which run of a task has sent it

Record = collections.namedtuple(
    "Record", "id at pid group code took value wait what kind lane flagged no_result attempt type")


def sender(task):
    """The task that has sent this one; 0: a producer has."""
    return task & ((1 << ID_BITS) - 1) if task >> ID_BITS else 0


def value_of(task):
    """What a task returns, see ledger.h."""
    mask = (1 << 64) - 1
    x = (task + 0x9e3779b97f4a7c15) & mask
    x = ((x ^ (x >> 30)) * 0xbf58476d1ce4e5b9) & mask
    x = ((x ^ (x >> 27)) * 0x94d049bb133111eb) & mask
    return (x ^ (x >> 31)) & 0xffffffff


def read(path):
    """All records of a ledger, in the order in which they were written. Times are seconds."""
    with open(path, "rb") as f:
        for fields in FORMAT.iter_unpack(f.read()):
            yield Record(fields[0], fields[1] / 1e9, *fields[2:14],
                         fields[14].rstrip(b"\0").decode(errors="replace"))


def write(path, records):
    with open(path, "ab") as f:
        for r in records:
            f.write(FORMAT.pack(r.id, int(r.at * 1e9), *r[2:14], r.type.encode()[:17]))


def record(**fields):
    """A record with zeros where nothing is said."""
    blank = dict.fromkeys(Record._fields, 0)
    blank["type"] = ""
    return Record(**dict(blank, **fields))


def now(**fields):
    return record(at=time.monotonic(), **fields)


def count(path):
    """How many records it has."""
    try:
        return os.path.getsize(path) // FORMAT.size
    except OSError:
        return 0


class FaultLog:
    """Appends what happens to the fault log; threads share it."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1)
        self.lock = threading.Lock()

    def note(self, what, at=None, **more):
        line = json.dumps(dict({"at": at or time.monotonic(), "what": what}, **more))
        with self.lock:
            self.file.write(line + "\n")


def read_log(path):
    with open(path) as f:
        return sorted((json.loads(line) for line in f), key=lambda event: event["at"])
