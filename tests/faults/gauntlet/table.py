"""The runs whose lines of JSON are in a file ($CTASK_GAUNTLET_REPORT), as the table of docs/gauntlet.md.

    table.py FILE
"""
import json
import sys

COLUMNS = [
    ("RabbitMQ", lambda r: r["broker"]),
    ("queue", lambda r: r["queue_type"]),
    ("seed", lambda r: r["seed"]),
    ("tasks accepted", lambda r: "{:,}".format(r["accepted"])),
    ("faults", lambda r: "{:,}".format(sum(r["faults"].values()))),
    ("lost", lambda r: r["lost"]),
    ("hung", lambda r: r["hung"]),
    ("second starts", lambda r: "{:,}".format(r["duplicates"])),
    ("of them without a flag", lambda r: r["unflagged"]),
    ("without a reason", lambda r: r["unexplained"]),
    ("dead: poison", lambda r: r["poison"] - r["undead"]),
    ("dead: other", lambda r: r["innocent"]),
    ("rescue p99, s", lambda r: "%.2f" % r["rescue_p99"]),
    ("consuming again p99, s", lambda r: "%.2f" % r["consuming_p99"]),
    ("tasks/s without faults", lambda r: "{:,.0f}".format(r["rate_calm"])),
    ("speed under faults", lambda r: "%.0f %%" % (100 * r["speed"])),
    ("verdict", lambda r: "passed" if r["passed"] else ", ".join(r["violations"])),
]


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main(path):
    with open(path) as f:
        runs = [json.loads(line) for line in f]
    runs.sort(key=lambda r: (r["broker"], r["queue_type"], r["seed"]))
    print(row(name for name, _ in COLUMNS))
    print(row("---" for _ in COLUMNS))
    for run in runs:
        print(row(cell(run) for _, cell in COLUMNS))


if __name__ == "__main__":
    main(sys.argv[1])
