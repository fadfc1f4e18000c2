"""Each mutant of the gauntlet (tests/faults/gauntlet/mutants/) fits the source as it is."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../faults/gauntlet"))
import mutants  # noqa: E402

sys.exit(mutants.check())
