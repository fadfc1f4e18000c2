"""Judges a gauntlet by its ledgers and its fault log alone; the exit status is the verdict.

    check.py DIRECTORY [REPORT]

0: everything held. 1: something did not. 2: it cannot be judged. One line of JSON with all figures
is appended to REPORT. test_checker.py shows for each check that it can fail."""
import json
import sys

from evidence import Evidence
from failures import Failures
from gaps import Gaps
from promise import Promise
from remains import Remains
from repeats import Repeats
from times import Times


class Check(Promise, Failures, Repeats, Times, Gaps, Remains):
    def all(self):
        for check in (self.work, self.lost, self.hung, self.answers, self.failures, self.calls,
                      self.duplicates, self.flags, self.delays, self.poison, self.undelivered,
                      self.rescue, self.consuming, self.speed, self.gaps, self.end):
            check()
        return not self.violations


def faults(evidence):
    """How often each happened."""
    kinds = ["parent-kill", "child-kill", "cut", "stop", "broker-down", "node-down", "alarm",
             "listener-down", "producer-kill", "dead-queue", "dead-queue-full", "bad-addresses",
             "queue-gone", "unknown-tasks"]
    return {kind: len(evidence.all(kind)) for kind in kinds}


def print_report(evidence, check):
    run = evidence.run
    broker = evidence.one("broker", {"version": "?"})["version"]
    print("gauntlet: %d tasks, seed %d, %s queue, RabbitMQ %s, %d workers with %d children" % (
        run["tasks"], run["seed"], run["queue_type"], broker, run["workers"], run["children"]))
    print("  faults: " + ", ".join("%d %s" % (n, kind) for kind, n in faults(evidence).items()))
    for text, value, demand in check.figures:
        print("  %-52s %s%s" % (text, value, "   (%s)" % demand if demand else ""))
    for key, text in check.violations:
        print("VIOLATION %s: %s" % (key, text))
    print("verdict: " + ("FAILED" if check.violations else "passed"))


def main():
    try:
        evidence = Evidence(sys.argv[1])
    except (OSError, ValueError, KeyError) as e:
        print("cannot be judged: %r" % e)
        return 2
    check = Check(evidence)
    good = check.all()
    print_report(evidence, check)
    if len(sys.argv) > 2:
        line = dict(evidence.run, broker=evidence.one("broker", {"version": "?"})["version"],
                    faults=faults(evidence), passed=good,
                    violations=[key for key, _ in check.violations], **check.values)
        with open(sys.argv[2], "a") as f:
            f.write(json.dumps(line) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
