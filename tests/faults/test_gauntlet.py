"""A small gauntlet as an ordinary test: 16,000 tasks and each kind of fault at least once. The big
ones are run by a person with ./dev gauntlet."""
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ["CTASK_BUILD"]
TASKS = os.environ.get("GAUNTLET_TASKS", "16000")
SEED = os.environ.get("GAUNTLET_SEED", "1")


class Gauntlet(unittest.TestCase):
    def test_nothing_is_lost_and_nothing_hangs(self):
        directory = os.path.join(BUILD, "gauntlet-test")
        status = subprocess.call(["sh", os.path.join(HERE, "gauntlet/gauntlet.sh"), directory, TASKS,
                                  SEED, "classic"], stdin=subprocess.DEVNULL)
        self.assertEqual(status, 0, "ledgers and logs are in " + directory)


if __name__ == "__main__":
    if os.environ.get("CTASK_SANITIZED"):
        print("SKIPPED: what it measures, sanitizers change")
        sys.exit(77)
    unittest.main(verbosity=2)
