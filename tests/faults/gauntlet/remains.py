"""What a run leaves behind: queues, processes, connections, and workers that have grown."""
from judge import Judge

RSS_GROWTH = 4096       # KiB


class Remains(Judge):
    def end(self):
        e = self.e
        self.demand("done", e.one("done"), "the run did not come to its end")
        self.none_of("never", [x["text"] for x in e.all("never")], "waits that were given up")
        queues = e.one("queues", {"messages": {"?": 1}})["messages"]
        full = {q: n for q, n in queues.items()
                if n and not q.endswith(".dead") and not q.startswith(("ctask.reply.", "probe-")) and
                q != "ctask.undelivered"}
        self.none_of("queues", full, "queues that are not empty")
        replies = sum(q.startswith("ctask.reply.") for q in queues)
        # One of a producer that moved away from a lost node goes when its expiry is over, as does that of
        # one that ended when the broker was down or in alarm, or as that began: it hears no goodbye.
        most = len(e.killed_producers) + len(e.all("node-down")) + \
            sum(x["status"] == 0 and e.bad.touch(x["at"], x["at"] + 1) for x in e.all("producer-exit"))
        self.figure("replies", replies, "reply queues left, at most one a producer or node that was lost",
                    "<= %d" % most)
        self.demand("replies", replies <= most, "%d reply queues left" % replies)
        self.none_of("processes", ["%s %d" % (what, pid) for pid, what in
                                   e.one("processes", {"left": [[0, "?"]]})["left"]],
                     "processes left")
        self.none_of("orphans", [p for x in e.all("orphans") for p in x["pids"]],
                     "children that outlived their parent by a second")
        connections = e.one("connections", {"count": -1})["count"]
        self.figure("connections", connections, "connections left", "0")
        self.demand("connections", connections == 0, "%d connections left" % connections)
        self.exits()
        self.resources()

    def exits(self):
        """A worker ends by a kill, with 69 while there is no broker, and with 0 when told to."""
        e = self.e
        killed = {x["pid"] for x in e.all("parent-kill", "producer-kill")}
        odd = ["%s %d: %s" % (x["what"], x["pid"], x["status"]) for x in
               e.all("worker-exit", "producer-exit")
               if x["status"] not in (0, 69) and not (x["status"] == -9 and x["pid"] in killed)]
        odd += ["worker %d left: %s" % (x["number"], x["status"]) for x in e.all("worker-left")
                if x["status"] != 0]
        self.none_of("exits", odd, "processes that ended by themselves")

    def resources(self):
        e = self.e
        fresh = [x for x in e.all("resources") if x["when"] == "fresh"]
        end = [x for x in e.all("resources") if x["when"] == "end"]
        self.demand("resources", fresh and len(end) == e.run["workers"], "not all were measured")
        if not fresh or not end:
            return
        grown = max(x["rss"] for x in end) - max(x["rss"] for x in fresh)
        fds = max(x["fds"] for x in end) - max(x["fds"] for x in fresh)
        self.figure("rss", grown, "KiB that the largest worker grew by", "<= %d" % RSS_GROWTH)
        self.figure("fds", fds, "descriptors more than at the start", "<= 0")
        self.demand("rss", grown <= RSS_GROWTH, "a worker grew by %d KiB" % grown)
        self.demand("fds", fds <= 0, "a worker has %d descriptors more" % fds)
