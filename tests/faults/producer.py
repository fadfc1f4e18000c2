"""A producer: libctask.so as any C program sees it, driven from Python so that a test can make the
broker fail between two calls. It calls nothing but the public functions.
"""
import ctypes
import json
import os

import harness

OK, ECONN, EBLOCKED, ETIMEDOUT, ENACK, ETASK = 0, -3, -5, -6, -8, -9
RETRIABLE = 1

if os.environ.get("CTASK_SANITIZED"):
    harness.skip("a sanitized library cannot be loaded into Python")

_lib = ctypes.CDLL(os.path.join(harness.BIN, "../lib/libctask.so"))
_jansson = ctypes.CDLL("libjansson.so.4")
_free = ctypes.CDLL(None).free
_free.argtypes = [ctypes.c_void_p]


class _Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("flags", ctypes.c_uint), ("type", ctypes.c_char * 64),
                ("text", ctypes.c_char * 512)]

    def __str__(self):
        return "%d %s: %s" % (self.code, self.type.decode(), self.text.decode())


class _Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("queue", ctypes.c_char_p), ("id", ctypes.c_char_p),
                ("countdown", ctypes.c_double), ("expires", ctypes.c_double),
                ("no_result", ctypes.c_bool)]


def _declare(lib, name, result, *arguments):
    f = getattr(lib, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


_P, _D = ctypes.c_void_p, ctypes.c_double
_open = _declare(_lib, "ctask_open", _P, ctypes.c_char_p, ctypes.POINTER(_Error))
_close = _declare(_lib, "ctask_close", None, _P)
_flush = _declare(_lib, "ctask_flush", ctypes.c_long, _P, _D)
_poll = _declare(_lib, "ctask_poll", ctypes.c_int, _P, _D)
_patience = _declare(_lib, "ctask_set_publish_timeout", None, _P, _D)
_send = _declare(_lib, "ctask_send_json", _P, _P, ctypes.POINTER(_Options), ctypes.c_char_p, _P, _P)
_wait = _declare(_lib, "ctask_result_wait", ctypes.c_int, _P, _D)
_ready = _declare(_lib, "ctask_result_ready", ctypes.c_bool, _P)
_json = _declare(_lib, "ctask_result_json", _P, _P)
_error = _declare(_lib, "ctask_result_error", ctypes.POINTER(_Error), _P)
_redelivered = _declare(_lib, "ctask_result_redelivered", ctypes.c_bool, _P)
_forget = _declare(_lib, "ctask_result_forget", None, _P)
_loads = _declare(_jansson, "json_loads", _P, ctypes.c_char_p, ctypes.c_size_t, _P)
_dumps = _declare(_jansson, "json_dumps", _P, _P, ctypes.c_size_t)


def _from_json(value):
    if not value:
        return None
    text = _dumps(value, 0x200)  # JSON_ENCODE_ANY
    try:
        return json.loads(ctypes.string_at(text))
    finally:
        _free(text)


class Handle:
    """One task's handle; `code` is how a wait ended."""

    def __init__(self, pointer):
        self.pointer = pointer

    def wait(self, timeout=harness.GIVE_UP):
        return _wait(self.pointer, timeout)

    def value(self, timeout=harness.GIVE_UP):
        """The task's value; a wait that ends otherwise fails the test."""
        code = self.wait(timeout)
        assert code == OK, self.error()
        return _from_json(_json(self.pointer))

    def ready(self):
        return _ready(self.pointer)

    def redelivered(self):
        return _redelivered(self.pointer)

    def error(self):
        return _error(self.pointer).contents

    def forget(self):
        _forget(self.pointer)


class Producer:
    """A client. Nothing happens on its connection but inside of its calls."""

    def __init__(self, url, queue):
        why = _Error()
        self.queue = queue.encode()
        self.client = _open(url.encode(), ctypes.byref(why))
        assert self.client, why

    def send(self, task, *args, **options):
        o = _Options(size=ctypes.sizeof(_Options), queue=self.queue, **options)
        arguments = _loads(json.dumps(args).encode(), 0, None)
        return Handle(_send(self.client, ctypes.byref(o), task.encode(), arguments, None))

    def patience(self, seconds):
        """How long a send may wait (publish_timeout)."""
        _patience(self.client, seconds)

    def flush(self, timeout=harness.GIVE_UP):
        """How many are unconfirmed."""
        return _flush(self.client, timeout)

    def poll(self, timeout=0):
        return _poll(self.client, timeout)

    def close(self):
        _close(self.client)
        self.client = None
