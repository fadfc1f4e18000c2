"""What the runs found that docs/gauntlet.jsonl has, as the tables of docs/gauntlet.md.

    table.py docs/gauntlet.jsonl docs/gauntlet.md
"""
import json
import sys

ELOST = -20  # lib/include/ctask.h: a handle that waits no longer for a reply queue that is gone
BEGIN = "<!-- table.py writes what follows -->\n"


def where(run):
    return "cluster" if run["cluster"] else run["queue_type"]


def seconds(value):
    return "" if value is None else "%.2f" % value


RUN = [
    ("day", lambda r: r["day"]),
    ("tree", lambda r: r["tree"]),
    ("RabbitMQ", lambda r: r["broker"]),
]
FOUND = [
    ("seed", lambda r: r["seed"]),
    ("tasks accepted", lambda r: "{:,}".format(r["accepted"])),
    ("faults", lambda r: "{:,}".format(sum(r["faults"].values()))),
    ("lost", lambda r: r["lost"]),
    ("hung", lambda r: r["hung"]),
    ("second starts", lambda r: "{:,}".format(r["duplicates"])),
    ("of them without a flag", lambda r: r["unflagged"]),
    ("without a reason", lambda r: r["unexplained"]),
    ("dead: planted", lambda r: r["poison"] - r["undead"]),
    ("dead: other", lambda r: r["innocent"]),
]
ONE = RUN + [("queue", where)] + FOUND + [
    ("rescue p99, s", lambda r: seconds(r["rescue_p99"])),
    ("consuming again p99, s", lambda r: seconds(r["consuming_p99"])),
    ("speed under faults", lambda r: "%.0f %%" % (100 * r["speed"])),
]
CLUSTER = RUN + [("fault", lambda r: r["only"] or "all")] + FOUND + [
    ("replies lost", lambda r: r["failures"].get("handle %d" % ELOST, 0)),
    ("flagged, started once", lambda r: "%.2f %%" % (100 * r["flagged_once"])),
    ("longest gap, s", lambda r: seconds(r["gap"])),
    ("gaps of the broker", lambda r: r["broker_gaps"]),
]
VERDICT = ("verdict", lambda r: "passed" if r["passed"] else ", ".join(r["violations"]))


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def table(title, columns, runs):
    columns = columns + [VERDICT]
    rows = [row(cell(run) for _, cell in columns) for run in runs]
    head = row(name for name, _ in columns) + row("---" for _ in columns)
    return "\n### %s\n\n%s%s" % (title, head, "".join(rows)) if rows else ""


def tables(runs):
    def order(run):
        return run["broker"], where(run), run["only"] or "", run["tasks"], run["seed"]
    runs = sorted(runs, key=order)
    tasks, passed = sum(run["accepted"] for run in runs), sum(run["passed"] for run in runs)
    return "\nRuns: {}, passed: {}, tasks: {:,}.\n".format(len(runs), passed, tasks) + \
        table("One broker", ONE, [run for run in runs if not run["cluster"]]) + \
        table("A cluster of three", CLUSTER, [run for run in runs if run["cluster"]])


def write(page, runs):
    with open(page) as f:
        words, found, _ = f.read().partition(BEGIN)
    assert found, "%s does not say where the tables go" % page
    with open(page, "w") as f:
        f.write(words + BEGIN + tables(runs))


if __name__ == "__main__":
    with open(sys.argv[1]) as record:
        write(sys.argv[2], [json.loads(line) for line in record])
