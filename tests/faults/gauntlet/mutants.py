"""Mutants: small faults put into the product, each of which the gauntlet has to see.

    mutants.py check          they all fit the source as it is (a lint)
    mutants.py run [NAME..]   builds and runs them, prints who was caught and by which rules

A mutant is a file of mutants/: why it is one; `run:` TASKS FAULTS [LONGER], as short a gauntlet as
suffices, whose tasks take LONGER times as long as usual; `rules:` those of check.py that may catch
it; then for each edit `--- FILE`, a text that is in it once, `+++` and what is there instead. The same
gauntlet runs without the mutant, too: a rule that breaks then catches nobody. Exit status 1: a mutant
survived, or does not fit, or a gauntlet breaks a rule without any."""
import collections
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "../../.."))
MUTANTS = os.path.join(HERE, "mutants")
COPIED = ["CMakeLists.txt", "lib", "worker", "producer", "tasks", "tests", "dev", "broker-config"]
TARGETS = ["ctask-worker", "gauntlet_producer", "gauntlet.so"]
TRIES = 2  # chance may spare it once
GIVE_UP = "12"

Mutant = collections.namedtuple("Mutant", "name why tasks faults longer rules edits")


class Unfit(Exception):
    pass


def read(name):
    with open(os.path.join(MUTANTS, name + ".mutant")) as f:
        head, *edits = re.split(r"^--- ", f.read(), flags=re.M)
    why, run, rules = head.splitlines()[:3]
    _, tasks, faults, longer = (run + " 1").split()[:4]
    parts = []
    for edit in edits:
        old, new = re.split(r"^\+\+\+\n", edit, flags=re.M)
        path, old = old.split("\n", 1)
        parts.append((path, old, new))
    return Mutant(name, why, tasks, faults, longer, set(rules.split()[1:]), parts)


def names():
    return sorted(f[:-len(".mutant")] for f in os.listdir(MUTANTS) if f.endswith(".mutant"))


def mutated(mutant, root):
    """{path: text} of its files."""
    files = {}
    for path, old, new in mutant.edits:
        text = files.get(path)
        if text is None:
            with open(os.path.join(root, path)) as f:
                text = f.read()
        if text.count(old) != 1:
            raise Unfit("%s: %s has %d times, and not once:\n%s" % (
                mutant.name, path, text.count(old), old))
        files[path] = text.replace(old, new)
    return files


def check():
    bad = 0
    for name in names():
        try:
            mutated(read(name), ROOT)
        except (Unfit, OSError, ValueError) as e:
            print("mutants/%s.mutant does not fit the source any more: make the edit in it do what "
                  "its first line says.\n%s" % (name, e))
            bad = 1
    return bad


# ---- Running them

class Copy:
    """A copy of the tree. What a mutant touches is compiled for it, and again for the next one."""

    def __init__(self, directory):
        self.tree, self.build = os.path.join(directory, "tree"), os.path.join(directory, "build")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(self.tree)
        for name in COPIED:
            source, target = os.path.join(ROOT, name), os.path.join(self.tree, name)
            (shutil.copytree if os.path.isdir(source) else shutil.copy2)(source, target)
        self.clean = {}  # by gauntlet and seed: the rules that it breaks without any mutant
        self.run("cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "--log-level=NOTICE")

    def run(self, *command, **more):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", **more)
        if done.returncode and not more:
            raise RuntimeError("%s:\n%s" % (" ".join(command), done.stdout))
        return done

    def compile(self):
        self.run("cmake", "--build", self.build, "--target", *TARGETS)

    def write(self, files):
        for path, text in files.items():
            with open(os.path.join(self.tree, path), "w") as f:
                f.write(text)

    def gauntlet(self, mutant, seed):
        """The rules that were broken; None if the run could not be judged."""
        env = dict(os.environ, CTASK_BUILD=self.build, CTASK_BIN=os.path.join(self.build, "bin"),
                   CTASK_GAUNTLET_FAULTS=mutant.faults, CTASK_GAUNTLET_GIVE_UP=GIVE_UP,
                   CTASK_GAUNTLET_LONGER=mutant.longer, CTASK_GAUNTLET_CALM="500")
        env.pop("CTASK_GAUNTLET_REPORT", None)
        done = self.run("sh", os.path.join(self.tree, "tests/faults/gauntlet/gauntlet.sh"),
                        os.path.join(self.build, "gauntlet"), mutant.tasks, str(seed), env=env)
        found = set(re.findall(r"^VIOLATION (\w+):", done.stdout, re.M))
        return found if done.returncode < 2 else None

    def breaks_anyway(self, mutant, seed):
        key = mutant.tasks, mutant.faults, mutant.longer, str(seed)
        if key not in self.clean:
            self.compile()
            broken = self.clean[key] = self.gauntlet(mutant, seed)
            if broken is None:
                raise RuntimeError("without a mutant, %s could not be judged" % " ".join(key))
            if broken:
                print("without a mutant, %s breaks %s" % (
                    " ".join(key), ", ".join(sorted(broken))), flush=True)
        return self.clean[key]


def broken_by(copy, mutant, seed):
    with_fault = mutated(mutant, copy.tree)
    without = {}
    for path in with_fault:
        with open(os.path.join(copy.tree, path)) as f:
            without[path] = f.read()
    copy.write(with_fault)
    try:
        copy.compile()
        return copy.gauntlet(mutant, seed)
    finally:
        copy.write(without)


def caught(copy, mutant):
    """The rules that broke, and whether one of them is its own."""
    for seed in range(1, TRIES + 1):
        broken = broken_by(copy, mutant, seed)
        if broken and broken & mutant.rules - copy.breaks_anyway(mutant, seed):
            return broken, True
    return broken, False


def run(wanted):
    if check():
        return 1
    mutants = [read(name) for name in wanted or names()]  # of the tree that is copied
    copy = Copy(os.path.join(os.environ["CTASK_BUILD"], "mutants"))
    survived = 0
    for mutant in mutants:
        broken, good = caught(copy, mutant)
        survived += not good
        rules = "no verdict" if broken is None else ", ".join(
            sorted(broken & mutant.rules) + sorted(broken - mutant.rules))
        print("%-26s %-9s %s" % (mutant.name, "caught" if good else "SURVIVED", rules), flush=True)
    print("mutants: %d survived" % survived)
    return int(survived > 0 or any(copy.clean.values()))


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1:] == ["check"] else run(sys.argv[2:]))
