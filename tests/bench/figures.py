"""Medians, ratios and how far they can be trusted."""
import random
import statistics


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def spread(values):
    """The middle of the ratios and a 95 % interval of it, by resampling the rounds; the same for the
    same numbers."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    dice = random.Random(1)
    middles = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(2000))
    return {"median": statistics.median(values), "low": middles[50], "high": middles[-51],
            "rounds": len(values)}


def ratios(above, below):
    """The spread of above/below, round by round."""
    return spread([a / b for a, b in zip(above, below) if a and b])


def resolution(pair):
    """What an A/A pair says about this run: no difference below this share is one."""
    return max(abs(pair["low"] - 1), abs(pair["high"] - 1)) if pair else None


def verdict(found, at_least=None, at_most=None):
    """Whether a figure with a spread is on the right side of a bound."""
    if not found:
        return "not measured"
    if at_least is not None:
        reached, clear = found["median"] >= at_least, found["low"] >= at_least
        missed = found["high"] < at_least
    else:
        reached, clear = found["median"] <= at_most, found["high"] <= at_most
        missed = found["low"] > at_most
    return "reached" if clear else "missed" if missed else \
        "reached, within the spread" if reached else "missed, within the spread"


def show(found, form="%.3f"):
    if not found:
        return "-"
    return ("%s [%s, %s]" % (form, form, form)) % (found["median"], found["low"], found["high"])
