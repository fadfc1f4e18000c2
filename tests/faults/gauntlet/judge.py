"""What a check says: a figure, a demand on it, a violation. Nothing is known here of gauntlets."""


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def name(task):
    return "%016x" % task


class Judge:
    """What is found: figures, and what of them is not as it has to be."""

    def __init__(self, evidence):
        self.e = evidence
        self.figures = []     # (name, value, what is demanded or "")
        self.violations = []  # (check, text)
        self.values = {}
        self.times = evidence.run["times"]  # judged only in runs that are long enough for them

    def figure(self, key, value, text, demand=""):
        self.values[key] = round(value, 4) if isinstance(value, float) else value
        shown = "%.3f" % value if isinstance(value, float) else str(value)
        self.figures.append((text, shown, demand))

    def demand(self, key, good, text):
        if not good:
            self.violations.append((key, text))

    def limit(self, key, good, demand, text):
        """A demand on times or speed. Returns what the report says of it."""
        self.demand(key, good or not self.times, text)
        return demand if self.times else demand + ", not judged"

    def none_of(self, key, found, text):
        """A figure that has to be 0; some of what was found is shown."""
        found = sorted(found)
        self.figure(key, len(found), text, "0")
        shown = " ".join(name(x) if isinstance(x, int) else str(x) for x in found[:5])
        self.demand(key, not found, "%d %s: %s" % (len(found), text, shown))
