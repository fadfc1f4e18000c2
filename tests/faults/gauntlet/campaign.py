"""The long runs, which take hours in all: as many of those that are missing as the time allows.

    campaign.py DIRECTORY [MINUTES]

docs/gauntlet.jsonl has what each run found, docs/gauntlet.md the same as a table. A run is missing
when that file has no pass of it on this machine's RabbitMQ. So the command can be given again, on
another day and another machine, until it has nothing left to do. Two versions of RabbitMQ may run it
at the same time."""
import json
import os
import subprocess
import sys
import time

import table

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../../..")
RECORD = os.path.join(ROOT, "docs/gauntlet.jsonl")
PAGE = os.path.join(ROOT, "docs/gauntlet.md")
MILLION, BIG, CLUSTER = 1000000, 200000, 100000
CLUSTER_RATE = 500  # two cores are full at that
NODE_FAULTS = ["node-kill", "node-stop", "node-cut", "node-freeze", "roll", "leader", "disk"]
# What, how many tasks, on which queue or cluster, under which fault (None: all), how often.
PLAN = [(CLUSTER, "cluster", fault, 2) for fault in NODE_FAULTS] + \
       [(BIG, "classic", None, 1), (BIG, "quorum", None, 1), (MILLION, "classic", None, 1)]


def key(run):
    return run["broker"], run["tasks"], table.where(run), run["only"]


def record():
    if not os.path.exists(RECORD):
        return []
    with open(RECORD) as f:
        return [json.loads(line) for line in f]


def missing(broker):
    """The runs to be made as arguments of make, first those of a kind that was made least."""
    runs, todo = record(), []
    for tasks, where, fault, times in PLAN:
        same = [run for run in runs if key(run) == (broker, tasks, where, fault)]
        passed = sum(run["passed"] for run in same)
        todo += [(tasks, where, fault, len(same) + 1 + i) for i in range(times - passed)]
    return sorted(todo, key=lambda run: run[-1])


def broker_version():
    said = subprocess.run(["rabbitmqctl", "version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def make(directory, tasks, where, fault, seed):
    env = dict(os.environ, CTASK_GAUNTLET_REPORT=RECORD)
    if fault:
        env.update(CTASK_GAUNTLET_FAULTS=fault, CTASK_GAUNTLET_RATE=str(CLUSTER_RATE))
    command = ["sh", os.path.join(HERE, "gauntlet.sh"), directory, str(tasks), str(seed), where]
    before = len(record())
    status = subprocess.run(command, env=env).returncode
    if status != 0:
        os.replace(directory, "%s-failed-%s-%s-%d" % (directory, where, fault or "all", seed))
    return len(record()) > before


def main():
    directory, minutes = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")
    end = time.monotonic() + 60 * minutes
    broker = broker_version()
    while time.monotonic() < end:
        todo = missing(broker)
        print("campaign: %d runs are missing on RabbitMQ %s" % (len(todo), broker), flush=True)
        if not todo:
            return 0
        if not make(directory, *todo[0]):
            print("campaign: the run could not be judged; %s-failed-* has what it left" % directory)
            return 1
        table.write(PAGE, record())
    return 0


if __name__ == "__main__":
    sys.exit(main())
