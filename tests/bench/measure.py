"""What a slice cost, by role: CPU time and context switches of processes, the machine's own account.

A role is a list of pids. CPU time is the kernel's clock of each process, in nanoseconds, with all its
threads; work of the loopback network is charged to whoever sends, so compare sums. Linux only,
standard library only.
"""
import glob
import os
import re
import time

TICK = os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """CPU time of a process; None if it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)
    except OSError:
        return None


def switches(pid):
    """Its context switches so far: (voluntary, involuntary)."""
    total = [0, 0]
    for path in glob.glob("/proc/%d/task/*/status" % pid):
        try:
            with open(path) as f:
                text = f.read()
        except OSError:
            continue
        for i, kind in enumerate(("voluntary", "nonvoluntary")):
            total[i] += int(re.search(r"^%s_ctxt_switches:\s+(\d+)" % kind, text, re.M).group(1))
    return tuple(total)


def children(pid):
    """All processes below one."""
    found = []
    for path in glob.glob("/proc/%d/task/*/children" % pid):
        try:
            with open(path) as f:
                pids = [int(p) for p in f.read().split()]
        except OSError:
            continue
        for p in pids:
            found += [p] + children(p)
    return found


def tree(pid):
    return [pid] + children(pid)


def memory_kib(pid, what="Pss"):
    """Pss or Rss; None if this user may not look or the process is gone."""
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            return int(re.search(r"^%s:\s+(\d+) kB" % what, f.read(), re.M).group(1))
    except OSError:
        return None


def machine_ticks():
    """Of all cores: busy and stolen time since boot, in seconds."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, soft, steal = (int(n) for n in f.readline().split()[1:9])
    return (user + nice + system + irq + soft) / TICK, steal / TICK


class Snapshot:
    """The state of all roles at one moment; `later - earlier` is what happened between."""

    def __init__(self, roles):
        self.when = time.monotonic()
        self.busy, self.stolen = machine_ticks()
        self.own = time.process_time()
        self.cpu = {role: {p: cpu_ns(p) for p in pids} for role, pids in roles.items()}
        self.switched = {role: {p: switches(p) for p in pids} for role, pids in roles.items()}

    def __sub__(self, before):
        seconds = self.when - before.when
        cpu, switched = {}, {}
        for role, pids in self.cpu.items():
            both = [p for p in pids if pids[p] is not None and before.cpu[role].get(p) is not None]
            cpu[role] = sum(pids[p] - before.cpu[role][p] for p in both) / 1e9
            switched[role] = [sum(self.switched[role][p][i] - before.switched[role][p][i]
                                  for p in both) for i in (0, 1)]
        cores = seconds * os.cpu_count()
        ours = sum(cpu.values()) + self.own - before.own
        return {"seconds": seconds, "cpu": cpu, "switched": switched,
                "used": sum(cpu.values()) / cores,
                "foreign": max(0.0, (self.busy - before.busy - ours) / cores),
                "stolen": (self.stolen - before.stolen) / cores}
