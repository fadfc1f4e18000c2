"""The parent under valgrind: thousands of tasks, retries, crashes and burials, and not one byte read
or written that is not its own, and none lost. Runs alone: RUN_ALONE."""
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import BIN, URL, BrokerTest, main, skip  # noqa: E402

if not shutil.which("valgrind"):
    skip("needs valgrind (Debian: valgrind)")
if os.environ.get("CTASK_SANITIZED"):
    skip("valgrind does not run programs with sanitizers in them")
if subprocess.run(["valgrind", "-q", os.path.join(BIN, "ctask-worker"), "--version"],
                  capture_output=True).returncode != 0:
    skip("valgrind cannot run here")

TASKS = int(os.environ.get("CTASK_TEST_TASKS", "3000"))


class Memory(BrokerTest):
    def test_the_parent_uses_only_its_own_memory_and_loses_none(self):
        self.bus.declare(self.queue)
        odd = [self.bus.send(self.queue, "demo.crash", ["abort"]),
               self.bus.send(self.queue, "demo.retry", [2, 0]),
               self.bus.send(self.queue, headers={"expires": "2020-01-01T00:00:00+00:00"}),
               self.bus.send(self.queue, "nobody.knows", headers={"x-ctask-unknown": 10})]
        ids = [self.bus.send(self.queue, args=[n]) for n in range(TASKS)]
        worker = subprocess.Popen(
            ["valgrind", "-q", "--error-exitcode=99", "--child-silent-after-fork=yes",
             "--leak-check=full", "--errors-for-leak-kinds=definite,indirect",
             os.path.join(BIN, "ctask-worker"), "-A", "primes,demo", "-c", "2", "-Q", self.queue],
            env=dict(os.environ, CTASK_BROKER_URL=URL), stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        try:
            self.assertEqual(len(self.bus.results(*odd, *ids)), TASKS + len(odd))
        finally:
            worker.send_signal(signal.SIGTERM)
            said = worker.communicate(timeout=60)[1]
        self.assertEqual(worker.returncode, 0, said[-8000:])


if __name__ == "__main__":
    main()
