"""What ctask is to reach, for what a run prints and for the report."""
import figures

GOALS = {"limit": ("at least", 0.95), "celery": ("at least", 9), "broker": ("at most", 1.02),
         "own_cpu_us": ("at most", 15), "p50": ("at most", 1.15), "p99": ("at most", 1.5),
         "celery_p50": ("at most", 0.1), "map": ("at least", 1000000), "talk": ("at least", 0.97),
         "pool": ("at least", 8), "drain": ("at least", 0.95), "children": ("at least", 0.9)}


def judge(goal, found):
    way, bound = GOALS[goal]
    return figures.verdict(found, **{way.replace(" ", "_"): bound})


def told(goal, found):
    """As "at least 0.95: reached"."""
    way, bound = GOALS[goal]
    return "%s %s: %s" % (way, format(bound, ","), judge(goal, found))
