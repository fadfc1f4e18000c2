"""What ctask is to reach, for what a run prints and for the report."""
import figures

GOALS = {"limit": ("at least", 0.95), "celery": ("at least", 9), "broker": ("at most", 1.02),
         "own_cpu_us": ("at most", 15), "p50": ("at most", 1.15), "p99": ("at most", 1.5),
         "celery_p50": ("at most", 0.1), "map": ("at least", 1000000), "talk": ("at least", 0.97),
         "pool": ("at least", 8), "drain": ("at least", 0.95), "children": ("at least", 0.9),
         "handle_bytes": ("at most", 128), "parent_kib": ("at most", 3 * 1024),
         "child_kib": ("at most", 700), "start_ms": ("at most", 20),
         "wakeups_per_s": ("at most", 1)}


def judge(goal, found):
    """Found: a spread, or one figure."""
    way, bound = GOALS[goal]
    if isinstance(found, (int, float)):
        found = {"median": found, "low": found, "high": found}
    return figures.verdict(found, **{way.replace(" ", "_"): bound})


def told(goal, found):
    """As "at least 0.95: reached"."""
    way, bound = GOALS[goal]
    return "%s %s: %s" % (way, format(bound, ","), judge(goal, found))
