"""What a test started ends with it, also when the test fails or is told to go (SIGTERM, as when
`./dev test` is interrupted). Ends nothing that was not put here. Standard library only."""
import atexit
import signal
import threading


def end_at_exit(end):
    """Calls end() when the program ends, the youngest first, unless forget(end) came before."""
    atexit.register(end)


def forget(end):
    atexit.unregister(end)


if threading.current_thread() is threading.main_thread():
    # As Ctrl-C does: unittest takes a SystemExit for one more failure and goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
